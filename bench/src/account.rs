//! What a server process has used, read from `/proc` from outside.
//!
//! CPU comes from the nanoseconds of `task/*/schedstat`; the 10 ms ticks of `stat` only split it into
//! user and system, and bound it from below when threads have ended in between.

use anyhow::{Context, Result};
use rustix::param::{clock_ticks_per_second, page_size};
use serde::Serialize;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const NS_PER_SECOND: u64 = 1_000_000_000;
/// `utime` in `/proc/PID/stat`, numbered as in proc(5); `stime` follows.
const USER_FIELD: usize = 14;
/// `cutime`, before `cstime`.
const CHILDREN_USER_FIELD: usize = 16;

/// One thread's totals.
#[derive(Clone, Copy, Debug, Default)]
struct Task {
    cpu_ns: u64,
    switches: u64,
}

/// A process's totals at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    at: Instant,
    tasks: HashMap<u32, Task>,
    user_ns: u64,
    system_ns: u64,
    rss_bytes: u64,
}

impl Account {
    /// Reads the account of `pid`.
    ///
    /// # Errors
    /// If there is no such process, or it belongs to another user.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let root = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(root.join("stat"))
            .with_context(|| format!("--server-pid {pid}: no such process; give the pid of the running server"))?;
        let (user_ns, system_ns) = ticks_of(&stat).with_context(|| format!("/proc/{pid}/stat has another form"))?;
        let mut tasks = HashMap::new();
        let listed = fs::read_dir(root.join("task")).with_context(|| format!("threads of process {pid}"))?;
        for entry in listed.flatten() {
            let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A thread that ends while it is looked at is skipped.
            if let Some(task) = task_of(&entry.path()) {
                tasks.insert(tid, task);
            }
        }
        let rss_bytes = Resident::of(&root).rss_bytes;
        Ok(Account { at: Instant::now(), tasks, user_ns, system_ns, rss_bytes })
    }

    pub(crate) fn rss_bytes(&self) -> u64 {
        self.rss_bytes
    }

    /// CPU of the living threads, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        self.tasks.values().map(|task| task.cpu_ns).sum()
    }
}

/// What a process used between two accounts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Use {
    /// CPU seconds per second, 1.0 = a whole core.
    pub(crate) cores: f64,
    pub(crate) requests_per_cpu_second: f64,
    pub(crate) cpu_us_per_request: f64,
    pub(crate) user_us_per_request: f64,
    pub(crate) system_us_per_request: f64,
    pub(crate) switches_per_request: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) threads: usize,
}

impl Use {
    /// The difference of two accounts, over `requests` requests.
    pub(crate) fn between(from: &Account, to: &Account, requests: u64) -> Self {
        let before = |tid: &u32| from.tasks.get(tid).copied().unwrap_or_default();
        let spent = |tid: &u32, task: &Task| task.cpu_ns.saturating_sub(before(tid).cpu_ns);
        let mut cpu_ns: u64 = to.tasks.iter().map(|(tid, task)| spent(tid, task)).sum();
        let user_ns = to.user_ns.saturating_sub(from.user_ns);
        let system_ns = to.system_ns.saturating_sub(from.system_ns);
        if from.tasks.keys().any(|tid| !to.tasks.contains_key(tid)) {
            cpu_ns = cpu_ns.max(user_ns + system_ns);
        }
        let switches: u64 = to.tasks.iter().map(|(tid, task)| task.switches.saturating_sub(before(tid).switches)).sum();
        let requests = float(requests).max(1.0);
        let cpu_us = float(cpu_ns) / 1e3;
        let user_share = float(user_ns) / float(user_ns + system_ns).max(1.0);
        Use {
            cores: cpu_us / 1e6 / (to.at - from.at).as_secs_f64().max(1e-9),
            requests_per_cpu_second: requests / (cpu_us / 1e6).max(1e-9),
            cpu_us_per_request: cpu_us / requests,
            user_us_per_request: cpu_us * user_share / requests,
            system_us_per_request: cpu_us * (1.0 - user_share) / requests,
            switches_per_request: float(switches) / requests,
            rss_bytes: to.rss_bytes,
            threads: to.tasks.len(),
        }
    }
}

fn task_of(path: &Path) -> Option<Task> {
    let schedstat = fs::read_to_string(path.join("schedstat")).ok()?;
    let cpu_ns = schedstat.split_ascii_whitespace().next()?.parse().ok()?;
    let status = fs::read_to_string(path.join("status")).ok()?;
    let switches = status
        .lines()
        .filter(|line| line.contains("voluntary_ctxt_switches"))
        .filter_map(|line| line.rsplit('\t').next()?.trim().parse::<u64>().ok())
        .sum();
    Some(Task { cpu_ns, switches })
}

/// User and system nanoseconds of the whole process, ended threads included.
fn ticks_of(stat: &str) -> Option<(u64, u64)> {
    ticks_at(stat, USER_FIELD)
}

/// The nanoseconds in two fields of `/proc/PID/stat`, of which the first has this number.
fn ticks_at(stat: &str, field: usize) -> Option<(u64, u64)> {
    // The name in parentheses may hold anything; the fields after it are numbered from 3.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(field - 3);
    let tick_ns = NS_PER_SECOND / clock_ticks_per_second().max(1);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user * tick_ns, system * tick_ns))
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resident {
    pub(crate) rss_bytes: u64,
    /// Shared pages are divided among who shares them; `None` where that cannot be read.
    pub(crate) pss_bytes: Option<u64>,
}

impl Resident {
    /// Of the process in this directory of `/proc`. `smaps_rollup` is exact; `statm`, where that is not
    /// allowed, lags by some pages per CPU.
    pub(crate) fn of(root: &Path) -> Self {
        let rollup = fs::read_to_string(root.join("smaps_rollup")).unwrap_or_default();
        let pss_bytes = kilobytes_of(&rollup, "Pss:").map(|kilobytes| kilobytes * 1024);
        if let Some(kilobytes) = kilobytes_of(&rollup, "Rss:") {
            return Resident { rss_bytes: kilobytes * 1024, pss_bytes };
        }
        let statm = fs::read_to_string(root.join("statm")).unwrap_or_default();
        let pages: u64 = statm.split_ascii_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
        Resident { rss_bytes: pages * page_size() as u64, pss_bytes }
    }
}

/// Kernel slab in bytes: sockets, epoll entries and the like, of the whole machine.
pub(crate) fn slab_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kilobytes_of(&text, "Slab:").unwrap_or(0) * 1024
}

/// CPU that the whole machine has used since it started, what a hypervisor took from it included.
pub(crate) fn machine_cpu() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    busy_of(text.lines().next().unwrap_or_default())
}

/// CPU of the processes that this one has started and that have ended.
pub(crate) fn children_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (user_ns, system_ns) = ticks_at(&stat, CHILDREN_USER_FIELD).unwrap_or_default();
    Duration::from_nanos(user_ns + system_ns)
}

/// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal, in ticks.
fn busy_of(line: &str) -> Duration {
    let ticks = line.split_ascii_whitespace().skip(1).take(8).enumerate();
    let is_idle = |index: usize| index == 3 || index == 4;
    let busy: u64 = ticks.filter(|(index, _)| !is_idle(*index)).filter_map(|(_, n)| n.parse::<u64>().ok()).sum();
    Duration::from_nanos(busy * (NS_PER_SECOND / clock_ticks_per_second().max(1)))
}

/// Memory of the machine.
pub(crate) fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kilobytes_of(&text, "MemTotal:").unwrap_or(0) * 1024
}

/// The number in the line that begins with `name`.
pub(crate) fn kilobytes_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Waits until the process uses no CPU any more, at most `patience`.
pub(crate) fn wait_quiet(pid: u32, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    let mut last = u64::MAX;
    while Instant::now() < deadline {
        let now = Account::of(pid)?.cpu_ns();
        // Below 1 % of a core: a monitor or a timer may still tick.
        if now.saturating_sub(last) < 1_000_000 && last != u64::MAX {
            return Ok(());
        }
        last = now;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of a run are far below 2^53")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(at: Instant, tasks: &[(u32, u64, u64)], ticks: (u64, u64)) -> Account {
        let tasks = tasks.iter().map(|(tid, cpu_ns, switches)| (*tid, Task { cpu_ns: *cpu_ns, switches: *switches }));
        Account { at, tasks: tasks.collect(), user_ns: ticks.0, system_ns: ticks.1, rss_bytes: 4096 }
    }

    #[test]
    fn use_is_the_difference_per_request_split_by_ticks() {
        let start = Instant::now();
        let from = account(start, &[(1, 1_000, 5)], (0, 0));
        let to = account(start + Duration::from_secs(1), &[(1, 501_000, 15), (2, 500_000, 10)], (250_000, 750_000));
        let used = Use::between(&from, &to, 100);
        assert!((used.cpu_us_per_request - 10.0).abs() < 1e-9);
        assert!((used.user_us_per_request - 2.5).abs() < 1e-9);
        assert!((used.system_us_per_request - 7.5).abs() < 1e-9);
        assert!((used.switches_per_request - 0.2).abs() < 1e-9);
        assert!((used.requests_per_cpu_second - 100_000.0).abs() < 1e-6);
    }

    #[test]
    fn threads_that_ended_are_made_good_from_the_ticks_of_the_process() {
        let start = Instant::now();
        let from = account(start, &[(1, 0, 0), (2, 0, 0)], (0, 0));
        let to = account(start + Duration::from_secs(1), &[(1, 10_000_000, 0)], (20_000_000, 30_000_000));
        assert!((Use::between(&from, &to, 1).cpu_us_per_request - 50_000.0).abs() < 1e-6);
    }

    #[test]
    fn this_process_has_an_account_and_a_missing_one_is_an_error_with_the_remedy() {
        let own = Account::of(std::process::id()).unwrap();
        assert!(own.rss_bytes() > 0 && own.cpu_ns() > 0);
        let error = Account::of(u32::MAX).unwrap_err().to_string();
        assert!(error.contains("--server-pid 4294967295") && error.contains("running server"), "{error}");
    }

    #[test]
    fn the_machine_is_busy_with_all_but_idling_and_waiting_for_disks() {
        assert_eq!(busy_of("cpu  10 1 20 9999 9999 2 3 4 7 7"), Duration::from_millis(400));
    }

    #[test]
    fn a_process_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 20 30 40 50";
        assert_eq!(ticks_of(stat), Some((200_000_000, 300_000_000)));
        assert_eq!(ticks_at(stat, CHILDREN_USER_FIELD), Some((400_000_000, 500_000_000)));
    }
}
