//! Servers under measurement, as processes of their own: started, found, and ended with their value.

use crate::load::{Frame, Target};
use crate::lua;
use crate::nchan;
use crate::nginx::Scratch;
use crate::reference::Shape;
use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long a server may take until it listens.
const START_PATIENCE: Duration = Duration::from_secs(10);
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// Lines of a server's standard error that an error message repeats.
const LINES_KEPT: usize = 5;

/// Built-in servers, in the order in which tables show them.
pub(crate) const BUILT_IN: [&str; 8] =
    ["lf-oneshot", "lf-edge", "lf-kernel", "floor", "oneshot", "kernel", "tokio", "io-uring"];

/// Push servers, likewise.
pub(crate) const PUSH: [&str; 3] = ["push-loop", "lf-comet", "nchan"];

/// How to start a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) name: String,
    start: Start,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Start {
    /// `lf-echo` with these options.
    Lf(&'static [&'static str]),
    /// `lf-comet` with these options.
    Comet(&'static [&'static str]),
    /// nginx with nchan.
    Nchan,
    /// `lf-lua` with a script, which may have a back end.
    Lua { script: &'static str, backend: Option<String> },
    /// nginx with its Lua module.
    NginxLua,
    /// `lf-bench serve`.
    Reference(Shape),
    /// A command line of the user's, run by `sh`.
    Command(String),
}

impl Spec {
    /// A built-in server by its name.
    pub(crate) fn built_in(name: &str) -> Result<Self> {
        let start = match name {
            "lf-oneshot" => {
                Start::Lf(&["--groups", "1", "--workers", "5", "--promotion", "adaptive", "--trigger", "oneshot"])
            }
            "lf-edge" => {
                Start::Lf(&["--groups", "1", "--workers", "5", "--promotion", "adaptive", "--trigger", "edge"])
            }
            "lf-kernel" => {
                Start::Lf(&["--groups", "2", "--workers", "5", "--promotion", "kernel", "--trigger", "oneshot"])
            }
            _ => match Shape::from_str(name, false) {
                Ok(shape) => Start::Reference(shape),
                Err(_) => bail!(
                    "--server {name}: not a built-in server; give one of {}, or --cmd '{name}=COMMAND with {{addr}}'",
                    BUILT_IN.join(", ")
                ),
            },
        };
        Ok(Spec { name: name.to_owned(), start })
    }

    /// A push server by its name.
    pub(crate) fn push(name: &str) -> Result<Self> {
        let start = match name {
            "push-loop" => Start::Reference(Shape::PushLoop),
            "lf-comet" => {
                Start::Comet(&["--groups", "1", "--workers", "5", "--fanout-threads", "1", "--store", "none"])
            }
            "nchan" => Start::Nchan,
            _ => bail!("--server {name}: not a push server; give one of {}", PUSH.join(", ")),
        };
        Ok(Spec { name: name.to_owned(), start })
    }

    /// lf-lua with the text of a script, which finds its back end in `LF_BACKEND`.
    pub(crate) fn lua(script: &'static str, backend: Option<&Target>) -> Self {
        Spec { name: "lf-lua".to_owned(), start: Start::Lua { script, backend: backend.map(Target::to_string) } }
    }

    /// nginx with its Lua module.
    pub(crate) fn nginx_lua() -> Self {
        Spec { name: "nginx+lua".to_owned(), start: Start::NginxLua }
    }

    /// The same server under another name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// A server of the user's: `NAME=COMMAND LINE with {addr}`.
    pub(crate) fn command(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((name, command)) if !name.is_empty() && (command.contains("{addr}") || command.contains("{port}")) => {
                Ok(Spec { name: name.to_owned(), start: Start::Command(command.to_owned()) })
            }
            _ => bail!("--cmd {text:?}: give NAME=COMMAND LINE with {{addr}} or {{port}} where the address belongs"),
        }
    }

    pub(crate) fn is_lf(&self) -> bool {
        matches!(self.start, Start::Lf(_) | Start::Comet(_) | Start::Lua { .. })
    }
}

/// What all servers of a run are started with.
#[derive(Clone, Debug)]
pub(crate) struct Yard {
    pub(crate) lf_echo: Option<PathBuf>,
    pub(crate) lf_comet: Option<PathBuf>,
    pub(crate) lf_lua: Option<PathBuf>,
    pub(crate) frame: Frame,
    /// More options for `lf-echo`, `lf-comet` or `lf-lua`.
    pub(crate) lf_args: Vec<String>,
}

/// A server that listens. Its process ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) target: Target,
    /// Where a push server is published to.
    pub(crate) control: Target,
    child: Child,
    /// Kept as long as the server runs.
    _scratch: Option<Scratch>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either may fail only because the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Yard {
    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// If it cannot be started, ends at once (its last words are in the error), or never listens.
    pub(crate) fn start(&self, spec: &Spec) -> Result<Running> {
        self.start_with(spec, &[]).with_context(|| format!("server {}", spec.name))
    }

    /// As [`Yard::start`], with more options for an lf server.
    pub(crate) fn start_with(&self, spec: &Spec, more: &[&str]) -> Result<Running> {
        let mut addresses = None;
        let mut scratch = None;
        let mut command = match &spec.start {
            Start::Lf(options) => {
                let mut command = without_settings(Command::new(self.find_lf_echo()?), b"LF_ECHO_");
                command.args(["--listen", "127.0.0.1:0", "--frame", &self.frame.to_string()]);
                command.args(*options).args(&self.lf_args).args(more);
                command
            }
            Start::Comet(options) => {
                let (public, control) = *addresses.insert((free_address()?, free_address()?));
                let program = find("lf-comet", self.lf_comet.as_deref())?;
                let mut command = without_settings(Command::new(program), b"LF_COMET_");
                command.args(["--listen", &public.to_string(), "--control", &control.to_string()]);
                command.args(*options).args(&self.lf_args).args(more);
                command
            }
            Start::Nchan => {
                let (public, control) = *addresses.insert((free_address()?, free_address()?));
                let nginx = nchan::find()?;
                nginx.command(scratch.insert(nginx.configure(&nchan::configuration(public, control))?))
            }
            Start::Lua { script, backend } => {
                let mut command = without_settings(Command::new(find("lf-lua", self.lf_lua.as_deref())?), b"LF_LUA_");
                let file = scratch.insert(Scratch::new("lua")?).path().join("script.lua");
                fs::write(&file, script).with_context(|| format!("script {}", file.display()))?;
                command.env("LF_LISTEN", "127.0.0.1:0").envs(backend.as_ref().map(|backend| ("LF_BACKEND", backend)));
                command.args(lua::OPTIONS).args(&self.lf_args).args(more).arg(file);
                command
            }
            Start::NginxLua => {
                let (address, _) = *addresses.insert((free_address()?, free_default()));
                let nginx = lua::nginx::find()?;
                nginx.command(scratch.insert(nginx.configure(&lua::nginx::configuration(address))?))
            }
            Start::Reference(shape) => {
                let mut command = Command::new(std::env::current_exe().context("own executable")?);
                let name = shape.to_possible_value().context("every shape has a name")?;
                command.args(["serve", name.get_name(), "--listen", "127.0.0.1:0", "--die-with-parent"]);
                command
            }
            Start::Command(line) => {
                let (address, _) = *addresses.insert((free_address()?, free_default()));
                let line = line.replace("{addr}", &address.to_string()).replace("{port}", &address.port().to_string());
                let mut command = Command::new("sh");
                // `exec`: the process that is accounted for is the server, not the shell.
                command.args(["-c", &format!("exec {line}")]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let words = Words::of(&mut child);
        // Made before the wait, so that the process also ends if the wait fails.
        let nowhere = Target::Tcp(free_default());
        let (target, control) = (nowhere.clone(), nowhere);
        let mut running = Running { name: spec.name.clone(), target, control, child, _scratch: scratch };
        let address = match addresses {
            None => words.wait_listening()?,
            Some((address, _)) => wait_accepting(address, &mut running.child, &words)?,
        };
        running.target = Target::Tcp(address);
        running.control = match addresses {
            Some((_, control)) if control.port() != 0 => {
                Target::Tcp(wait_accepting(control, &mut running.child, &words)?)
            }
            Some(_) | None => running.target.clone(),
        };
        Ok(running)
    }

    /// # Errors
    /// If what the server is started from is not there.
    pub(crate) fn is_installed(&self, spec: &Spec) -> Result<()> {
        match spec.start {
            Start::Lf(_) => self.find_lf_echo().map(drop),
            Start::Comet(_) => find("lf-comet", self.lf_comet.as_deref()).map(drop),
            Start::Nchan => nchan::find().map(drop),
            Start::Lua { .. } => find("lf-lua", self.lf_lua.as_deref()).map(drop),
            Start::NginxLua => lua::nginx::find().map(drop),
            Start::Reference(_) | Start::Command(_) => Ok(()),
        }
    }

    /// Starts all; those that the machine refuses are left out with a word about why, unless they
    /// were asked for by name.
    pub(crate) fn start_all(&self, specs: &[Spec], by_name: bool) -> Result<(Vec<Running>, Vec<String>)> {
        let (mut servers, mut skipped) = (Vec::new(), Vec::new());
        for spec in specs {
            match self.start(spec) {
                Ok(running) => servers.push(running),
                Err(error) if by_name || spec.is_lf() => return Err(error),
                Err(error) => skipped.push(format!("{} is left out: {error:#}", spec.name)),
            }
        }
        Ok((servers, skipped))
    }

    pub(crate) fn find_lf_echo(&self) -> Result<PathBuf> {
        find("lf-echo", self.lf_echo.as_deref())
    }
}

/// The file that was named, else the one beside this executable, else the one on PATH.
fn find(name: &str, given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        if path.is_file() {
            return Ok(path.to_path_buf());
        }
        bail!("--{name} {}: no such file; build it with `cargo build --release -p {name}`", path.display());
    }
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = beside.into_iter().chain(std::env::split_paths(&on_path).map(|place| place.join(name)));
    places.find(|path| path.is_file()).with_context(|| {
        format!(
            "{name} is neither beside lf-bench nor on PATH; build it with `cargo build --release -p {name}`, or give --{name} PATH"
        )
    })
}

/// Settings of the user's shell would make the figures another server's.
fn without_settings(mut command: Command, prefix: &[u8]) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(prefix) {
            command.env_remove(name);
        }
    }
    command
}

/// What a server says, read to the end so that it never waits for us.
struct Words {
    listening: Receiver<String>,
    errors: Receiver<String>,
}

impl Words {
    fn of(child: &mut Child) -> Self {
        let (out, listening) = channel();
        let (err, errors) = channel();
        if let Some(pipe) = child.stdout.take() {
            drain(pipe, out, |line| line.starts_with("listening "));
        }
        if let Some(pipe) = child.stderr.take() {
            drain(pipe, err, |_| true);
        }
        Words { listening, errors }
    }

    fn wait_listening(&self) -> Result<SocketAddr> {
        match self.listening.recv_timeout(START_PATIENCE) {
            Ok(line) => {
                let address = line.trim_start_matches("listening ").trim();
                address.parse().map_err(|_| anyhow!("it says {line:?}, which names no address"))
            }
            Err(RecvTimeoutError::Timeout) => bail!("it has not said `listening ADDRESS` for {START_PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("{}", self.last()),
        }
    }

    /// The last lines of standard error.
    fn last(&self) -> String {
        let mut lines = Vec::new();
        while let Ok(line) = self.errors.recv_timeout(Duration::from_millis(200)) {
            lines.push(line);
        }
        match lines.len() {
            0 => "it ended without a word".to_owned(),
            count => lines[count.saturating_sub(LINES_KEPT)..].join("; "),
        }
    }
}

/// Reads a pipe on a thread of its own until its end, and passes on what `wanted` picks, at most some lines.
fn drain(pipe: impl Read + Send + 'static, to: Sender<String>, wanted: fn(&str) -> bool) {
    const LINES_PASSED_MAX: usize = 1000;
    std::thread::spawn(move || {
        let mut to = Some(to);
        let mut passed = 0;
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if passed < LINES_PASSED_MAX && wanted(&line) {
                passed += 1;
                if let Some(open) = &to
                    && open.send(line).is_err()
                {
                    to = None;
                }
            }
        }
    });
}

fn wait_accepting(address: SocketAddr, child: &mut Child, words: &Words) -> Result<SocketAddr> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        if std::net::TcpStream::connect_timeout(&address, PROBE_EVERY).is_ok() {
            return Ok(address);
        }
        if let Some(status) = child.try_wait()? {
            bail!("it ended with {status}: {}", words.last());
        }
        if Instant::now() > deadline {
            bail!("it does not accept on {address} after {START_PATIENCE:?}");
        }
        std::thread::sleep(PROBE_EVERY);
    }
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).context("no free port on 127.0.0.1")
}

fn free_default() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yard() -> Yard {
        Yard { lf_echo: None, lf_comet: None, lf_lua: None, frame: Frame::Line, lf_args: Vec::new() }
    }

    #[test]
    fn every_built_in_name_is_a_server_and_others_name_the_choice() {
        for name in BUILT_IN {
            assert_eq!(Spec::built_in(name).unwrap().name, name);
        }
        let error = Spec::built_in("nginx").unwrap_err().to_string();
        assert!(error.contains("lf-oneshot") && error.contains("--cmd 'nginx="), "{error}");
    }

    #[test]
    fn a_command_needs_a_name_and_a_place_for_the_address() {
        assert_eq!(Spec::command("mine=./server --listen={addr}").unwrap().name, "mine");
        for text in ["./server {addr}", "mine=./server", "={port}"] {
            assert!(Spec::command(text).unwrap_err().to_string().contains("NAME=COMMAND"));
        }
    }

    #[test]
    fn a_command_that_ends_at_once_repeats_its_last_words() {
        let spec = Spec::command("broken=sh -c 'echo no such device >&2; exit 3' {port}").unwrap();
        let error = format!("{:#}", yard().start(&spec).unwrap_err());
        assert!(error.contains("server broken") && error.contains("no such device"), "{error}");
    }

    #[test]
    fn a_missing_lf_echo_says_how_to_build_it() {
        let yard = Yard { lf_echo: Some("/nonexistent/lf-echo".into()), ..yard() };
        let error = format!("{:#}", yard.start(&Spec::built_in("lf-edge").unwrap()).unwrap_err());
        assert!(error.contains("/nonexistent/lf-echo") && error.contains("cargo build"), "{error}");
    }
}
