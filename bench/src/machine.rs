//! Where and when figures were taken: a number without its machine says nothing.

use crate::pin::cpu_count;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

/// The surroundings of a run.
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    pub(crate) date: String,
    pub(crate) command: String,
    /// Name and version of what took part.
    pub(crate) versions: Vec<String>,
}

impl Machine {
    /// Looks around. What cannot be found out is "unknown".
    pub(crate) fn look(lf_echo: Option<&Path>) -> Self {
        let system = rustix::system::uname();
        let mut versions = vec![format!("lf-bench {}", env!("CARGO_PKG_VERSION"))];
        versions.extend(lf_echo.and_then(version_of));
        Machine {
            cpu: cpu_model(),
            cpus: cpu_count(),
            memory_bytes: crate::account::memory_bytes(),
            kernel: format!(
                "{} {} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy(),
                system.machine().to_string_lossy()
            ),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: command_line(),
            versions,
        }
    }

    /// One line for the terminal.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} x {}, {} memory, {}; {}",
            self.cpus,
            self.cpu,
            crate::table::bytes(self.memory_bytes as f64),
            self.kernel,
            self.versions.join(", ")
        )
    }
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| "unknown CPU".to_owned(), |(_, name)| name.trim().to_owned())
}

/// The arguments, with the executable's name but not its place.
fn command_line() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}

fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
