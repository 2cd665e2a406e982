//! An array that grows, and whose elements never move.

use std::fmt;
use std::sync::OnceLock;

const SHELVES: usize = 1 << 12;
const PER_SHELF: usize = 1 << 12;

type Shelf<T> = Box<[OnceLock<Box<T>>]>;

/// Elements under indices below 2^24, each made when it is first asked for. A reference stays good while others are made.
pub(crate) struct Shelves<T> {
    shelves: Box<[OnceLock<Shelf<T>>]>,
}

fn cells<T>(count: usize) -> Box<[OnceLock<T>]> {
    std::iter::repeat_with(OnceLock::new).take(count).collect()
}

/// Every index from 0 to `2^24 - 1` has its place; callers derive theirs from a `u32` by a shift of eight or more.
fn place(index: u32) -> (usize, usize) {
    let index = index as usize;
    (index / PER_SHELF, index % PER_SHELF)
}

impl<T> Shelves<T> {
    pub(crate) fn new() -> Self {
        Self { shelves: cells(SHELVES) }
    }

    /// The element, if there is one.
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (shelf, cell) = place(index);
        Some(self.shelves.get(shelf)?.get()?[cell].get()?)
    }

    /// The element; `make` makes it if there is none.
    pub(crate) fn get_or_make(&self, index: u32, make: impl FnOnce() -> T) -> &T {
        let (shelf, cell) = place(index);
        self.shelves[shelf].get_or_init(|| cells(PER_SHELF))[cell].get_or_init(|| Box::new(make()))
    }

    /// All elements with their indices, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let shelves = (0..).zip(&self.shelves).filter_map(|(shelf, cells)| Some((shelf, cells.get()?)));
        shelves.flat_map(|(shelf, cells)| {
            let first: u32 = shelf * (1 << 12);
            (first..).zip(cells).filter_map(|(index, cell)| Some((index, cell.get()?.as_ref())))
        })
    }
}

impl<T> fmt::Debug for Shelves<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Shelves({})", self.iter().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_made_once_and_stay_where_they_are() {
        let shelves = Shelves::new();
        let first: *const u32 = shelves.get_or_make(5, || 50);
        for index in [0, 4095, 4096, 70_000, (1 << 24) - 1] {
            assert_eq!(shelves.get(index), None);
            assert_eq!(*shelves.get_or_make(index, || index), index);
        }
        assert!(std::ptr::eq(shelves.get_or_make(5, || 51), first));
        let all: Vec<_> = shelves.iter().map(|(index, value)| (index, *value)).collect();
        let last = (1 << 24) - 1;
        assert_eq!(all, [(0, 0), (5, 50), (4095, 4095), (4096, 4096), (70_000, 70_000), (last, last)]);
    }
}
