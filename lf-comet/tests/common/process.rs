//! A process whose output can be watched while it runs.

use super::{PATIENCE, comes_true, until};
use parking_lot::Mutex;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Takes out of a command's environment what lf-comet would read, and proxies, which clients would use for loopback too.
pub(crate) fn quiet(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let lower = name.to_string_lossy().to_ascii_lowercase();
        if lower.starts_with("lf_") || lower.ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command
}

/// Says why a test does not run. With `LF_TEST_ALL` set, nothing may be skipped.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("LF_TEST_ALL").is_none(), "LF_TEST_ALL is set, but {why}");
    println!("skipped: {why}");
}

/// Whether a program is there to be run; says so if not.
pub(crate) fn is_installed(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// A running process, killed when dropped.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

fn collect(mut from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut piece = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            into.lock().extend_from_slice(&piece[..count]);
        }
    })
}

impl Process {
    /// Starts it, with its three streams in our hands.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (output, errors) = (Arc::default(), Arc::default());
        let readers =
            vec![collect(child.stdout.take().unwrap(), &output), collect(child.stderr.take().unwrap(), &errors)];
        let input = child.stdin.take();
        Self { child, input, output, errors, readers }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input.
    pub(crate) fn say(&mut self, text: impl AsRef<[u8]>) {
        self.input.as_mut().unwrap().write_all(text.as_ref()).unwrap();
    }

    /// Ends its standard input.
    pub(crate) fn hang_up(&mut self) {
        self.input = None;
    }

    /// What it has written so far.
    pub(crate) fn output(&self) -> Vec<u8> {
        self.output.lock().clone()
    }

    /// Looks at what it has written from some byte on.
    pub(crate) fn output_from<T>(&self, from: usize, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&self.output.lock()[from..])
    }

    /// The lines that it has written so far, as far as they are whole.
    pub(crate) fn lines(&self) -> Vec<String> {
        let output = self.output.lock();
        let whole = output.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        String::from_utf8_lossy(&output[..whole]).lines().map(str::to_owned).collect()
    }

    /// What it has written to standard error so far.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.errors.lock()).into_owned()
    }

    /// Waits until its output fulfils a condition.
    pub(crate) fn await_output(&self, what: &str, mut holds: impl FnMut(&[u8]) -> bool) {
        if !comes_true(PATIENCE, || holds(&self.output.lock())) {
            let output = self.output();
            panic!("in vain until {what}: it said {:?} and {}", String::from_utf8_lossy(&output), self.errors());
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end; its output is whole then.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
