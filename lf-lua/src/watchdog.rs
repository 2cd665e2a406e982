//! Ends calls that run for longer than they may.

use crate::engine::{Host, Watch};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks: a call is ended this much late at most, and a server at rest is woken this often.
const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(50);
/// A script that has not failed this long after it should have, has led its driver astray.
const ASTRAY: Duration = Duration::from_millis(40);
/// A call that goes on this long after it should have failed is inside C, where nothing can end it.
const STUCK: Duration = Duration::from_secs(1);

/// A run that was seen going on.
struct Seen {
    run: u64,
    since: Instant,
    told: bool,
}

/// Starts the watchdog.
pub(crate) fn start(host: &Arc<Host>) -> io::Result<()> {
    let budget = host.limits.budget;
    let host = Arc::clone(host);
    std::thread::Builder::new().name("lf-lua-watchdog".into()).spawn(move || watch(&host, budget))?;
    Ok(())
}

fn watch(host: &Host, budget: Duration) {
    let mut seen: HashMap<u64, Seen> = HashMap::new();
    let look = if budget.is_zero() { LOOK_MAX } else { (budget / 20).clamp(LOOK_MIN, LOOK_MAX) };
    loop {
        std::thread::sleep(look);
        let now = Instant::now();
        host.bury_retired();
        if budget.is_zero() {
            continue;
        }
        let watches = host.watches();
        seen.retain(|number, _| watches.iter().any(|watch| watch.number == *number));
        for watch in &watches {
            look_at(watch, &mut seen, now, budget);
        }
    }
}

fn look_at(watch: &Watch, seen: &mut HashMap<u64, Seen>, now: Instant, budget: Duration) {
    let Some(run) = watch.run() else {
        seen.remove(&watch.number);
        return;
    };
    let seen = seen.entry(watch.number).or_insert(Seen { run, since: now, told: false });
    if seen.run != run {
        *seen = Seen { run, since: now, told: false };
    }
    let took = now - seen.since;
    if took < budget {
        return;
    }
    // Again at each look: the signal may have come between two instructions that matter.
    watch.interrupt(run, took >= budget + ASTRAY);
    if took >= budget + STUCK && !seen.told {
        seen.told = true;
        tracing::error!(
            vm = watch.number,
            group = watch.group,
            "a call has used up its time ({budget:?}) and cannot be ended: it is inside C, perhaps in a library or a system call"
        );
    }
}
