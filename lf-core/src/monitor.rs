//! Watches the leaders while there is work: one that made no progress for a tick is deposed.

use crate::baton::Sight;
use crate::config::Rebalance;
use crate::shared::Shared;
use crate::stats::Count;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Ticks without any progress after which the monitor sleeps until a leader rings.
const QUIET_TICKS: u32 = 10;
/// Ticks between two looks at how even the groups are.
const REBALANCE_TICKS: u32 = 50;

/// What was seen of a group at the last tick.
type Look = (Sight, u64);

pub(crate) struct Monitor {
    server: Arc<Shared>,
    looks: Vec<Look>,
    quiet: u32,
    ticks: u32,
}

pub(crate) fn start(server: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(server);
    server.spawn(format!("{}-monitor", server.config.name), move || Monitor::new(shared).run())
}

impl Monitor {
    fn new(server: Arc<Shared>) -> Self {
        let looks = server.groups.iter().map(|group| (group.baton.sight(), group.progress())).collect();
        Self { server, looks, quiet: 0, ticks: 0 }
    }

    fn run(mut self) {
        while !self.server.is_stopping() {
            std::thread::park_timeout(self.server.config.tick);
            let busy = self.tick();
            self.quiet = if busy { 0 } else { self.quiet + 1 };
            if self.quiet >= QUIET_TICKS {
                self.sleep();
                self.quiet = 0;
            }
        }
    }

    /// Looks at every group; answers whether anything moved or is being served.
    fn tick(&mut self) -> bool {
        let mut busy = false;
        for (group, last) in self.server.groups.iter().zip(&mut self.looks) {
            let look = (group.baton.sight(), group.progress());
            busy |= look.0.is_serving() || look != *last;
            if look == *last && look.0.is_serving() && Shared::depose(&self.server, group.index, look.0) {
                self.server.stats.outside.add(Count::Depositions, 1);
            }
            *last = look;
        }
        self.ticks = self.ticks.wrapping_add(1);
        if busy && self.ticks.is_multiple_of(REBALANCE_TICKS) {
            self.rebalance();
        }
        busy
    }

    fn sleep(&self) {
        let server = &self.server;
        // A leader that began to serve before it could hear of our sleep is seen here.
        let stay_up = || server.is_stopping() || server.groups.iter().any(|group| group.baton.sight().is_serving());
        server.bell.sleep(stay_up);
    }

    fn rebalance(&self) {
        let Rebalance::Margin { percent } = self.server.config.rebalance else { return };
        let loads: Vec<usize> =
            self.server.groups.iter().map(|group| group.connections.load(Ordering::Relaxed)).collect();
        let plan = plan(&loads, percent as usize);
        for group in &self.server.groups {
            let (to, count) =
                plan.iter().find(|(from, ..)| *from == group.index).map_or((0, 0), |(_, to, n)| (*to, *n));
            group.ask_to_shed(count, to);
        }
    }
}

/// Who should give how many connections to whom: (from, to, count).
fn plan(loads: &[usize], margin_percent: usize) -> Vec<(usize, usize, usize)> {
    let Some((to, least)) = loads.iter().copied().enumerate().min_by_key(|(_, load)| *load) else {
        return Vec::new();
    };
    let limit = least + (least * margin_percent / 100).max(1);
    let over: Vec<_> = loads.iter().copied().enumerate().filter(|(_, load)| *load > limit).collect();
    // All givers together must not make the taker the fullest.
    let share = |load: usize| (load - least) / (over.len() + 1);
    over.iter().map(|(from, load)| (*from, to, share(*load))).filter(|(.., count)| *count > 0).collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn even_groups_are_left_alone() {
        assert_eq!(plan(&[10, 11, 10], 20), []);
        assert_eq!(plan(&[0, 1], 1), []);
        assert_eq!(plan(&[], 20), []);
    }

    #[test]
    fn the_fullest_give_to_the_emptiest_without_overfilling_it() {
        assert_eq!(plan(&[100, 0], 20), [(0, 1, 50)]);
        assert_eq!(plan(&[90, 90, 0], 20), [(0, 2, 30), (1, 2, 30)]);
    }
}
