//! A block of rows, and its changes.

use std::ops::Range;

/// Rows of a block; the unit of what is merged, and of what is written.
pub(super) const BLOCK_ROWS: u32 = 1 << BLOCK_BITS;
pub(super) const BLOCK_BITS: u32 = 8;

/// Changes that are kept beside the cells: a sixteenth of their memory at most, in a small block some more ...
const CELLS_PER_CHANGE: usize = 32;
const CHANGES_MIN: usize = 32;
/// ... in a big one as many as are quick to search and to shift.
const CHANGES_MAX: usize = 4096;

/// Rows of ascending numbers (cells) in one array, and beside it what was changed since the array was made. A change is there
/// only if it makes a difference: one that adds is never in the array, one that removes always.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Where the cells of each row end; nothing if there are no cells.
    ends: Box<[u32]>,
    cells: Box<[u32]>,
    /// Ascending by row and cell.
    changes: Vec<Change>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    cell: u32,
    row: u8,
    is_there: bool,
}

const _: () = assert!(size_of::<Change>() == 8);

impl Change {
    fn key(&self) -> (u8, u32) {
        (self.row, self.cell)
    }
}

impl Block {
    /// A block whose row `n` ends where `ends[n]` says. Cells of a row have to ascend.
    pub(super) fn new(ends: Box<[u32]>, cells: Box<[u32]>) -> Self {
        let ends = if cells.is_empty() { Box::default() } else { ends };
        Self { ends, cells, changes: Vec::new() }
    }

    /// Whether something is in a row.
    pub(super) fn contains(&self, row: u8, cell: u32) -> bool {
        match self.changes.binary_search_by_key(&(row, cell), Change::key) {
            Ok(found) => self.changes[found].is_there,
            Err(_) => self.cells_of(row).binary_search(&cell).is_ok(),
        }
    }

    /// How many cells a row has.
    pub(super) fn count(&self, row: u8) -> usize {
        let changes = self.changes_of(row);
        let added = changes.iter().filter(|change| change.is_there).count();
        self.cells_of(row).len() + added - (changes.len() - added)
    }

    /// Puts a cell into a row or takes it out; `false` if it is so already.
    pub(super) fn set(&mut self, row: u8, cell: u32, is_there: bool) -> bool {
        match self.changes.binary_search_by_key(&(row, cell), Change::key) {
            Ok(found) if self.changes[found].is_there == is_there => false,
            Ok(found) => {
                self.changes.remove(found);
                true
            }
            Err(place) => {
                let differs = self.cells_of(row).binary_search(&cell).is_ok() != is_there;
                if differs {
                    self.changes.insert(place, Change { cell, row, is_there });
                }
                differs
            }
        }
    }

    /// Whether the changes should become cells.
    pub(super) fn is_due(&self) -> bool {
        self.changes.len() > (self.cells.len() / CELLS_PER_CHANGE).clamp(CHANGES_MIN, CHANGES_MAX)
    }

    /// The same rows without changes.
    pub(super) fn merged(&self) -> Self {
        let added = self.changes.iter().filter(|change| change.is_there).count();
        let mut cells = Vec::with_capacity(self.cells.len() + added - (self.changes.len() - added));
        let ends = (0..=u8::MAX).map(|row| {
            self.copy(row, None, usize::MAX, &mut cells);
            end(cells.len())
        });
        let ends = ends.collect();
        Self::new(ends, cells.into())
    }

    /// Appends up to `max` cells of a row to `out`: the first ones after `after`.
    pub(super) fn copy(&self, row: u8, after: Option<u32>, max: usize, out: &mut Vec<u32>) {
        let is_passed = |cell: u32| after.is_some_and(|after| cell <= after);
        let (cells, changes) = (self.cells_of(row), self.changes_of(row));
        let mut cells = &cells[cells.partition_point(|cell| is_passed(*cell))..];
        let changes = &changes[changes.partition_point(|change| is_passed(change.cell))..];
        let enough = out.len().saturating_add(max);
        for change in changes {
            let (before, rest) = cells.split_at(cells.partition_point(|cell| *cell < change.cell));
            out.extend(before.iter().take(enough - out.len()));
            if out.len() == enough {
                return;
            }
            cells = if change.is_there {
                out.push(change.cell);
                rest
            } else {
                // What is removed is there.
                &rest[1..]
            };
        }
        out.extend(cells.iter().take(enough - out.len()));
    }

    /// All cells of a block without changes, row by row.
    pub(super) fn rows(&self) -> impl DoubleEndedIterator<Item = (u8, &[u32])> {
        debug_assert!(self.changes.is_empty(), "these rows have changes");
        (0..=u8::MAX).map(|row| (row, self.cells_of(row)))
    }

    fn cells_of(&self, row: u8) -> &[u32] {
        if self.ends.is_empty() {
            return &[];
        }
        let row = usize::from(row);
        let begin = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.cells[begin..self.ends[row] as usize]
    }

    fn changes_of(&self, row: u8) -> &[Change] {
        let Range { start, end } = self.changes.partition_point(|change| change.row < row)
            ..self.changes.partition_point(|change| change.row <= row);
        &self.changes[start..end]
    }
}

/// A place in an array of cells.
///
/// # Panics
/// If 256 ids have 2^32 subscriptions, which would take 16 GB.
pub(super) fn end(cells: usize) -> u32 {
    u32::try_from(cells).expect("less than 2^32 subscriptions of 256 ids")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn row(block: &Block, row: u8, after: Option<u32>, max: usize) -> Vec<u32> {
        let mut out = vec![7];
        block.copy(row, after, max, &mut out);
        out.split_off(1)
    }

    #[test]
    fn changes_are_bounded_by_merging() {
        let mut block = Block::default();
        let mut longest = 0;
        for cell in 0..200_000 {
            block.set(3, cell, true);
            longest = longest.max(block.changes.len());
            if block.is_due() {
                block = block.merged();
            }
        }
        assert_eq!(block.count(3), 200_000);
        assert!(longest <= CHANGES_MAX + 1, "{longest}");
        assert!(block.changes.len() <= CHANGES_MAX);
    }

    proptest! {
        #[test]
        fn a_block_with_changes_reads_like_a_set(
            steps in prop::collection::vec((0u8..4, 0u32..40, any::<bool>(), 0u8..20), 1..400),
            after in prop::option::of(0u32..40),
            max in 0usize..50,
        ) {
            let mut block = Block::default();
            let mut model = BTreeSet::new();
            for (at, cell, is_there, merge) in steps {
                // The last row as well as the first ones.
                let at = at.wrapping_sub(1);
                let differs = if is_there { model.insert((at, cell)) } else { model.remove(&(at, cell)) };
                prop_assert_eq!(block.set(at, cell, is_there), differs);
                if merge == 0 {
                    block = block.merged();
                }
                prop_assert_eq!(block.contains(at, cell), is_there);
            }
            for at in [255, 0, 1, 2, 3] {
                let cells: Vec<_> = model.iter().filter(|(row, _)| *row == at).map(|(_, cell)| *cell).collect();
                prop_assert_eq!(block.count(at), cells.len());
                prop_assert_eq!(row(&block, at, None, usize::MAX), &cells[..]);
                let page = cells.into_iter().filter(|cell| after.is_none_or(|after| *cell > after)).take(max);
                prop_assert_eq!(row(&block, at, after, max), page.collect::<Vec<_>>());
            }
            prop_assert_eq!(block.merged().rows().map(|(_, cells)| cells.len()).sum::<usize>(), model.len());
        }
    }
}
