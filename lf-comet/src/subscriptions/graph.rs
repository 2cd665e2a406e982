//! Who follows whom, in memory, in both directions.

use super::block::{BLOCK_BITS, BLOCK_ROWS, Block, end};
use crate::names::Shelves;
use parking_lot::{RwLock, RwLockUpgradableReadGuard};
use std::sync::atomic::{AtomicU64, Ordering};

/// One direction: each number's row of others. Many read, one at a time changes.
#[derive(Debug)]
pub(super) struct Adjacency {
    blocks: Shelves<RwLock<Block>>,
}

/// A number's block and its row in it.
fn place(number: u32) -> (u32, u8) {
    (number >> BLOCK_BITS, number.to_le_bytes()[0])
}

impl Adjacency {
    fn new() -> Self {
        Self { blocks: Shelves::new() }
    }

    fn read<R: Default>(&self, number: u32, act: impl FnOnce(&Block, u8) -> R) -> R {
        let (index, row) = place(number);
        self.blocks.get(index).map_or_else(R::default, |block| act(&block.read(), row))
    }

    pub(super) fn contains(&self, number: u32, other: u32) -> bool {
        self.read(number, |block, row| block.contains(row, other))
    }

    pub(super) fn count(&self, number: u32) -> usize {
        self.read(number, Block::count)
    }

    /// Appends up to `max` of a number's others after `after` to `out`, in ascending order.
    pub(super) fn copy(&self, number: u32, after: Option<u32>, max: usize, out: &mut Vec<u32>) {
        self.read(number, |block, row| block.copy(row, after, max, out));
    }

    /// The block as it is now, without changes.
    pub(super) fn block(&self, index: u32) -> Block {
        self.blocks.get(index).map_or_else(Block::default, |block| block.read().merged())
    }

    fn set(&self, number: u32, other: u32, is_there: bool) -> bool {
        let (index, row) = place(number);
        let block = self.blocks.get_or_make(index, RwLock::default);
        let differs = block.write().set(row, other, is_there);
        // Others read the old cells while the new ones are made.
        let old = block.upgradable_read();
        if old.is_due() {
            let new = old.merged();
            *RwLockUpgradableReadGuard::upgrade(old) = new;
        }
        differs
    }

    fn put(&self, index: u32, block: Block) {
        *self.blocks.get_or_make(index, RwLock::default).write() = block;
    }
}

/// Both directions. A change is made in one and then in the other; who reads in between sees it half made.
#[derive(Debug)]
pub(super) struct Graph {
    /// Whom each number follows.
    pub(super) sources: Adjacency,
    /// Who follows each number.
    pub(super) subscribers: Adjacency,
    edges: AtomicU64,
}

impl Graph {
    pub(super) fn new() -> Self {
        Self { sources: Adjacency::new(), subscribers: Adjacency::new(), edges: AtomicU64::new(0) }
    }

    /// A graph of these blocks of sources.
    pub(super) fn of(blocks: Vec<(u32, Block)>) -> Self {
        let graph = Self::new();
        for (index, block) in transpose(&blocks) {
            graph.subscribers.put(index, block);
        }
        let mut edges = 0;
        for (index, block) in blocks {
            edges += block.rows().map(|(_, cells)| cells.len() as u64).sum::<u64>();
            graph.sources.put(index, block);
        }
        graph.edges.store(edges, Ordering::Relaxed);
        graph
    }

    pub(super) fn edges(&self) -> u64 {
        self.edges.load(Ordering::Relaxed)
    }

    /// Whether a number follows anybody or is followed.
    pub(super) fn is_used(&self, number: u32) -> bool {
        self.degree(number) > 0
    }

    /// How many follow a number, and how many it follows.
    pub(super) fn degree(&self, number: u32) -> usize {
        self.sources.count(number) + self.subscribers.count(number)
    }

    /// One caller at a time.
    pub(super) fn set(&self, subscriber: u32, source: u32, is_there: bool) {
        let differs = self.sources.set(subscriber, source, is_there);
        self.subscribers.set(source, subscriber, is_there);
        if differs && is_there {
            self.edges.fetch_add(1, Ordering::Relaxed);
        } else if differs {
            self.edges.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The other direction of blocks without changes: counts first, so that everything is allocated once and in its size.
fn transpose(blocks: &[(u32, Block)]) -> Vec<(u32, Block)> {
    let cells = || blocks.iter().flat_map(|(_, block)| block.rows()).flat_map(|(_, cells)| cells);
    let Some(highest) = cells().max() else { return Vec::new() };
    let mut ends = vec![0u32; ((highest >> BLOCK_BITS) as usize + 1) * BLOCK_ROWS as usize];
    cells().for_each(|cell| ends[*cell as usize] += 1);
    let mut turned = Vec::new();
    for ends in ends.chunks_exact_mut(BLOCK_ROWS as usize) {
        let mut total = 0;
        for row in ends.iter_mut() {
            total += *row as usize;
            *row = end(total);
        }
        turned.push((Box::<[u32]>::from(&*ends), vec![0u32; total].into_boxed_slice()));
    }
    drop(ends);
    // From the last row to the first, so that an end becomes the beginning of its row, and rows ascend.
    let mut order: Vec<_> = blocks.iter().collect();
    order.sort_unstable_by_key(|(index, _)| std::cmp::Reverse(*index));
    for (index, block) in order {
        for (row, cells) in block.rows().rev() {
            for cell in cells {
                let (other, place) = place(*cell);
                let (ends, rows) = &mut turned[other as usize];
                let end = &mut ends[usize::from(place)];
                *end -= 1;
                rows[*end as usize] = (index << BLOCK_BITS) | u32::from(row);
            }
        }
    }
    let blocks = turned.into_iter().map(|(mut ends, cells)| {
        ends.rotate_left(1);
        if let Some(last) = ends.last_mut() {
            *last = end(cells.len());
        }
        Block::new(ends, cells)
    });
    (0..).zip(blocks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn rows(adjacency: &Adjacency, numbers: impl Iterator<Item = u32>) -> BTreeSet<(u32, u32)> {
        let mut found = BTreeSet::new();
        for number in numbers {
            let mut row = Vec::new();
            adjacency.copy(number, None, usize::MAX, &mut row);
            assert!(row.is_sorted());
            assert_eq!(adjacency.count(number), row.len());
            found.extend(row.into_iter().map(|other| (number, other)));
        }
        found
    }

    proptest! {
        #[test]
        fn both_directions_agree_with_a_set_of_edges(
            base in prop::collection::btree_set((0u32..2000, 0u32..2000), 0..300),
            steps in prop::collection::vec((0u32..2000, 0u32..2000, any::<bool>()), 0..300),
        ) {
            let first = Graph::new();
            base.iter().for_each(|(subscriber, source)| first.set(*subscriber, *source, true));
            let graph = Graph::of((0..8).map(|index| (index, first.sources.block(index))).collect());
            let mut model = base;
            for (subscriber, source, is_there) in steps {
                graph.set(subscriber, source, is_there);
                if is_there { model.insert((subscriber, source)) } else { model.remove(&(subscriber, source)) };
            }
            prop_assert_eq!(graph.edges(), model.len() as u64);
            prop_assert_eq!(rows(&graph.sources, 0..2048), model.clone());
            let turned: BTreeSet<_> = model.into_iter().map(|(subscriber, source)| (source, subscriber)).collect();
            prop_assert_eq!(rows(&graph.subscribers, 0..2048), turned);
        }
    }

    #[test]
    fn readers_see_every_old_edge_while_new_ones_are_merged() {
        const OLD: u32 = 2000;
        let graph = Graph::new();
        // Even numbers are there from the beginning, odd ones come meanwhile.
        (0..OLD).for_each(|number| graph.set(number * 2, 1, true));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..OLD).for_each(|number| graph.set(number * 2 + 1, 1, true)));
            let mut is_over = false;
            while !is_over {
                is_over = writer.is_finished();
                let mut found = Vec::new();
                let mut after = None;
                while {
                    graph.subscribers.copy(1, after, 300, &mut found);
                    after != found.last().copied()
                } {
                    after = found.last().copied();
                }
                assert!(found.is_sorted());
                assert_eq!(found.iter().filter(|number| *number % 2 == 0).count(), OLD as usize);
            }
        });
        assert_eq!(graph.subscribers.count(1), 2 * OLD as usize);
    }
}
