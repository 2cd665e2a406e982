//! A data set of friends: a Barabasi-Albert graph as an edge list.
//!
//! Newcomers prefer whom many know: a node's chance of a new edge is its share of all edge ends. The ends are
//! not listed; the source of an edge follows from its number, so only targets are kept: four bytes an edge.

use crate::cli::GraphArgs;
use crate::progress::Progress;
use crate::random::Random;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufWriter, Write};

const BUFFER_BYTES: usize = 1 << 20;
/// Edges per step of the progress bar.
const STEP: u64 = 1 << 16;
/// Edges of a newcomer; more would make the search for a new one among them slow.
const EDGES_MAX: u32 = 1000;

/// The graph as it grows: a clique of `edges + 1` nodes, then each node with `edges` different friends among
/// those before it. Nodes are numbered from 0.
pub(crate) struct Graph {
    users: u32,
    edges: u32,
    /// Of the edges after the clique, in their order.
    targets: Vec<u32>,
    random: Random,
}

impl Graph {
    /// # Errors
    /// If there are not enough users for the clique, or edges are out of bounds.
    pub(crate) fn new(users: u32, edges: u32, seed: u64) -> Result<Self> {
        if edges == 0 || edges > EDGES_MAX {
            bail!("--edges {edges}: give 1 to {EDGES_MAX}");
        }
        if users <= edges {
            bail!(
                "--users {users}: the first {} users all know each other; give --users {} or more",
                edges + 1,
                edges + 1
            );
        }
        let targets = Vec::with_capacity(usize::try_from(u64::from(users - edges - 1) * u64::from(edges))?);
        Ok(Graph { users, edges, targets, random: Random::new(seed) })
    }

    /// How many edges there will be.
    pub(crate) fn count(&self) -> u64 {
        self.clique() + u64::from(self.users - self.edges - 1) * u64::from(self.edges)
    }

    fn clique(&self) -> u64 {
        u64::from(self.edges) * u64::from(self.edges + 1) / 2
    }

    /// Grows to the end, and gives each edge once, the newcomer first.
    ///
    /// # Errors
    /// If `each` fails.
    pub(crate) fn grow(mut self, mut each: impl FnMut(u32, u32) -> Result<()>) -> Result<()> {
        for source in 1..=self.edges {
            (0..source).try_for_each(|target| each(source, target))?;
        }
        for source in self.edges + 1..self.users {
            let first = self.targets.len();
            while self.targets.len() < first + self.edges as usize {
                let target = self.end_of_any_edge(first);
                if !self.targets[first..].contains(&target) {
                    self.targets.push(target);
                    each(source, target)?;
                }
            }
        }
        Ok(())
    }

    /// One of the two ends of one of the edges up to the newcomer's own, all ends alike.
    fn end_of_any_edge(&mut self, grown: usize) -> u32 {
        let (clique, edges) = (self.clique(), self.edges);
        let end = self.random.below_wide(2 * (clique + grown as u64));
        if end < 2 * clique {
            // Each node of the clique has `edges` ends in it.
            return u32::try_from(end / u64::from(edges)).unwrap_or(0);
        }
        // As many as `targets` has, which is an index.
        let index = usize::try_from((end - 2 * clique) / 2).unwrap_or(0);
        if end.is_multiple_of(2) { self.targets[index] } else { self.source_of(index) }
    }

    fn source_of(&self, index: usize) -> u32 {
        self.edges + 1 + u32::try_from(index / self.edges as usize).unwrap_or(0)
    }
}

/// `lf-bench graph`.
pub(crate) fn run(args: &GraphArgs) -> Result<()> {
    let graph = Graph::new(args.users, args.edges, args.seed)?;
    if args.first.checked_add(args.users - 1).is_none() {
        bail!("--first {}: with --users {} ids would pass {}", args.first, args.users, u32::MAX);
    }
    let progress = Progress::new(graph.count(), args.quiet);
    let (users, count) = (args.users, graph.count());
    let begun = std::time::Instant::now();
    match &args.output {
        Some(path) => {
            progress.note(format!("edges into {}", path.display()));
            let file = File::create(path).with_context(|| format!("--output {}: cannot be written", path.display()))?;
            write(graph, args, file, &progress).with_context(|| format!("--output {}", path.display()))?;
        }
        None => write(graph, args, std::io::stdout().lock(), &progress).context("standard output")?,
    }
    drop(progress);
    if !args.quiet {
        eprintln!("{count} edges of {users} users in {:.1} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

fn write(graph: Graph, args: &GraphArgs, to: impl Write, progress: &Progress) -> Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, to);
    let mut count = 0;
    graph.grow(|source, target| {
        let (source, target) = (args.first + source, args.first + target);
        writeln!(out, "{source} {target}")?;
        if args.both {
            writeln!(out, "{target} {source}")?;
        }
        count += 1;
        if count % STEP == 0 {
            progress.advance(STEP);
        }
        Ok(())
    })?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn edges(users: u32, edges: u32, seed: u64) -> Vec<(u32, u32)> {
        let mut all = Vec::new();
        Graph::new(users, edges, seed)
            .unwrap()
            .grow(|source, target| {
                all.push((source, target));
                Ok(())
            })
            .unwrap();
        all
    }

    fn degrees(users: u32, edges: &[(u32, u32)]) -> Vec<u32> {
        let mut degrees = vec![0; users as usize];
        for (a, b) in edges {
            degrees[*a as usize] += 1;
            degrees[*b as usize] += 1;
        }
        degrees
    }

    #[test]
    fn no_edge_comes_twice_and_none_leads_to_itself() {
        let all = edges(3000, 7, 1);
        assert_eq!(all.len() as u64, Graph::new(3000, 7, 1).unwrap().count());
        let distinct: HashSet<(u32, u32)> = all.iter().map(|(a, b)| (*a.min(b), *a.max(b))).collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|(source, target)| target < source && *source < 3000));
    }

    #[test]
    fn every_user_has_the_least_degree_and_a_few_have_very_many() {
        let (users, each) = (20_000, 5);
        let mut degrees = degrees(users, &edges(users, each, 2));
        degrees.sort_unstable();
        assert_eq!(degrees[0], each);
        // The degrees of a Barabasi-Albert graph fall off as k^-3: P(degree >= k) = m(m+1) / k(k+1).
        for (k, tolerance) in [(10_u32, 0.1), (30, 0.15), (100, 0.35)] {
            let share = degrees.iter().filter(|degree| **degree >= k).count() as f64 / f64::from(users);
            let expected = f64::from(each * (each + 1)) / f64::from(k * (k + 1));
            assert!((share / expected - 1.0).abs() < tolerance, "degree {k}: {share} is not near {expected}");
        }
        assert!(degrees[degrees.len() - 1] > 20 * degrees[degrees.len() / 2], "no hub");
    }

    #[test]
    fn a_seed_makes_one_graph_and_another_seed_another() {
        assert_eq!(edges(500, 3, 9), edges(500, 3, 9));
        assert_ne!(edges(500, 3, 9), edges(500, 3, 10));
    }

    #[test]
    fn the_least_graph_is_a_clique() {
        assert_eq!(edges(4, 3, 0), [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]);
    }

    #[test]
    fn too_few_users_name_the_limit_and_the_remedy() {
        let error = Graph::new(15, 15, 0).err().unwrap().to_string();
        assert!(error.contains("--users 15") && error.contains("--users 16"), "{error}");
        assert!(Graph::new(10, 0, 0).is_err());
    }
}
