//! Changes subscriptions until it is killed, and tells what it does: "THREAD + a>b a>c" before it adds, "THREAD -" likewise,
//! and "THREAD ." once that is answered. The tests kill it.
//!
//! Usage: `subscriptions_writer DIR SEED`

use lf_comet::names::Names;
use lf_comet::subscriptions::{Options, Subscriptions};
use std::io::Write;
use std::sync::Arc;
use std::thread;

/// More than one, so that commits are shared.
const THREADS: u64 = 3;
/// So few that the log is folded all the time.
const LOG_CHANGES_MAX: u64 = 32;

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // Who killed this process does not listen any more.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

fn change(subscriptions: &Subscriptions<u64>, thread: u64, mut random: u64) -> anyhow::Result<()> {
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    loop {
        let adds = below(5) < 3;
        // Subscribers are the thread's own, sources are everybody's.
        let count = 1 + below(5);
        let pairs: Vec<_> = (0..count).map(|_| (format!("{thread}-{}", below(20)), below(30).to_string())).collect();
        let text: Vec<_> = pairs.iter().map(|(one, other)| format!("{one}>{other}")).collect();
        tell(&format!("{thread} {} {}\n", if adds { '+' } else { '-' }, text.join(" ")));
        let pairs: Vec<_> = pairs.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
        if adds { subscriptions.add(&pairs) } else { subscriptions.remove(&pairs) }?;
        tell(&format!("{thread} .\n"));
    }
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(dir), Some(seed)) = (args.next(), args.next()) else { anyhow::bail!("usage: DIR SEED") };
    let seed: u64 = seed.parse()?;
    let options = Options::new(dir).log_changes_max(LOG_CHANGES_MAX);
    let subscriptions = Subscriptions::open_with(&options, Arc::new(Names::default()), &mut |_, _| ())?;
    thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| {
            let subscriptions = &subscriptions;
            scope.spawn(move || change(subscriptions, thread, seed * THREADS + thread))
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
    })
}
