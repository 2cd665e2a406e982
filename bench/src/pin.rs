//! CPUs of the generator and of the servers.

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Two sets of CPUs. Threads and processes inherit the set of the thread that starts them.
pub(crate) struct Pins {
    client: CpuSet,
    server: CpuSet,
}

impl Pins {
    /// `CLIENT_CPUS:SERVER_CPUS`, each a list as in `0,2-3`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || format!("--pin {text:?}: give CLIENT_CPUS:SERVER_CPUS, as in 0:1 or 0,1:2-3");
        let (client, server) = text.split_once(':').with_context(wrong)?;
        Ok(Pins { client: cpus(client).with_context(wrong)?, server: cpus(server).with_context(wrong)? })
    }

    /// Before servers are started.
    pub(crate) fn as_server(&self) -> Result<()> {
        sched_setaffinity(None, &self.server).context("--pin: the servers' CPUs do not exist or are not allowed here")
    }

    /// Before the generator is started.
    pub(crate) fn as_client(&self) -> Result<()> {
        sched_setaffinity(None, &self.client).context("--pin: the client's CPUs do not exist or are not allowed here")
    }
}

/// CPUs that this process may run on.
pub(crate) fn cpu_count() -> u32 {
    sched_getaffinity(None).map_or(1, |set| set.count())
}

fn cpus(list: &str) -> Result<CpuSet> {
    let mut set = CpuSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse()?, last.trim().parse()?);
        if first > last || last >= CpuSet::MAX_CPU {
            bail!("no CPU range: {part}");
        }
        (first..=last).for_each(|cpu| set.set(cpu));
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_of_cpus_are_read_and_nonsense_names_the_form() {
        let pins = Pins::parse("0,2:4-6").unwrap();
        assert_eq!((pins.client.count(), pins.server.count()), (2, 3));
        for text in ["0", "a:b", "3-1:0", "0:9999"] {
            assert!(Pins::parse(text).err().unwrap().to_string().contains("CLIENT_CPUS:SERVER_CPUS"));
        }
    }
}
