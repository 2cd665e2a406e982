//! The command line of lf-echo: help, precedence of the settings, exit codes, and what it says on standard output.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Program, is_installed, lf_echo};
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn run(arguments: &[&str]) -> Output {
    lf_echo().args(arguments).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_names_defaults_units_environment_and_exit_codes() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "[default: 127.0.0.1:9876]",
        "[default: one per core]",
        "[default: 1ms]",
        "[default: 300s]",
        "in bytes",
        "in microseconds",
        "LF_ECHO_GROUPS",
        "TOML",
        "Exit codes: 0 drained; 1 could not start; 2 wrong usage; 3 connections were cut",
        "--groups 1",
    ] {
        assert!(flat.contains(expected), "{expected:?} is not in {text}");
    }
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn wrong_usage_exits_with_2_and_names_what_is_wrong() {
    for (arguments, named) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["--groups", "many"], "many"),
        (&["--trigger", "sometimes"], "oneshot"),
        (&["--idle", "soon"], "--idle"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(errors(&output).contains(named), "{}", errors(&output));
    }
}

#[test]
fn what_cannot_be_started_exits_with_1_and_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, named) in [
        (&["--listen", &taken][..], &taken[..]),
        (&["--listen", "nonsense"], "HOST:PORT"),
        (&["--listen", "fd:0"], "LISTEN_FDS"),
        (&["--listen", "127.0.0.1:0", "--groups", "0"], "from 1 to 1024"),
        (&["--listen", "127.0.0.1:0", "--max-connections", "1000000000"], "ulimit -Hn"),
        (&["--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"], "loopback"),
        (&["--config", "/no/such/file"], "/no/such/file"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", errors(&output));
        assert!(errors(&output).contains(named), "{arguments:?}: {}", errors(&output));
    }
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("echo.toml");
    let name = |what: &str| format!("unix:{}", dir.path().join(what).display());
    std::fs::write(&file, format!("listen = [{:?}]\nframe = \"raw\"\ngroups = 1\n", name("file"))).unwrap();
    let start = |environment: bool, argument: bool| {
        let mut command = lf_echo();
        command.arg("--config").arg(&file);
        if environment {
            command.env("LF_ECHO_LISTEN", name("environment"));
        }
        if argument {
            command.args(["--listen", &name("argument")]);
        }
        Program::spawn(command, 1).said[0].clone()
    };
    assert_eq!(start(false, false), format!("listening {}", name("file")));
    assert_eq!(start(true, false), format!("listening {}", name("environment")));
    assert_eq!(start(true, true), format!("listening {}", name("argument")));
}

#[test]
fn an_unknown_key_of_the_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("echo.toml");
    std::fs::write(&file, "gruops = 3\n").unwrap();
    let output = lf_echo().arg("--config").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("gruops") && errors(&output).contains("echo.toml"), "{}", errors(&output));
    std::fs::write(&file, "groups = {\n").unwrap();
    let output = lf_echo().arg("--config").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("cannot parse"), "{}", errors(&output));
}

#[test]
fn every_address_is_said_on_a_line_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let mut command = lf_echo();
    command.args(["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--admin", "127.0.0.1:0"]);
    command.arg("--listen").arg(format!("unix:{}", path.display()));
    let program = Program::spawn(command, 4);
    assert!(program.said[1].starts_with("listening [::1]:"));
    assert_eq!(program.said[2], format!("listening unix:{}", path.display()));
    let admin = program.said[3].strip_prefix("admin ").unwrap();
    let mut client = Client::connect(admin.parse().unwrap());
    client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(client.rest().ends_with(b"ok\n"));
    program.connect().exchange(b"hello\n");
    assert!(UnixStream::connect(&path).is_ok());
    program.end();
    assert!(!path.exists());
}

#[test]
fn every_framing_echoes() {
    let nshead =
        [&[1, 0, 2, 0, 3, 0, 0, 0][..], &[b'p'; 16], &[0x94, 0x93, 0x70, 0xfb], &[0; 4], &[2, 0, 0, 0], b"hi"].concat();
    for (frame, bytes) in
        [("line", &b"hi\r\n\n"[..]), ("raw", b"hi"), ("len32", &[0, 0, 0, 2, b'h', b'i']), ("nshead", &nshead)]
    {
        let program = Program::start(&["--frame", frame]);
        program.connect().exchange(bytes);
        program.end();
    }
}

#[test]
fn a_prefix_asks_for_work_or_for_blocking() {
    for (prefix, arguments) in [
        ("@work=100000;", &[][..]),
        ("@block=100000;", &[]),
        ("@block=100000;", &["--announce"]),
        ("", &["--work-us", "100000"]),
        ("", &["--block-us", "100000"]),
    ] {
        let program = Program::start(arguments);
        let began = Instant::now();
        program.connect().exchange(format!("{prefix}hi\n").as_bytes());
        assert!(began.elapsed() >= Duration::from_millis(100), "{prefix} {arguments:?}");
    }
    let program = Program::start(&[]);
    // What looks like a prefix but is none is a message like any other.
    program.connect().exchange(b"@block=x;\n@work\n@@\n");
}

#[test]
fn a_listening_socket_of_the_service_manager_is_adopted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // As a service manager does it: descriptor 3, and the process id of what becomes lf-echo.
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --listen fd:0 --groups 1 3<&0 </dev/null";
    let mut command = common::quiet(Command::new("sh"));
    command.args(["-c", script, env!("CARGO_BIN_EXE_lf-echo")]).stdin(OwnedFd::from(listener));
    let program = Program::spawn(command, 1);
    assert_eq!(program.address(), address);
    program.connect().exchange(b"hello\n");
    program.end();
}

#[test]
fn two_processes_share_a_port() {
    let one = Program::start(&["--reuse-port"]);
    let mut command = lf_echo();
    command.args(["--listen", &one.address().to_string(), "--reuse-port", "--groups", "1"]);
    let two = Program::spawn(command, 1);
    let address = one.address();
    one.end();
    Client::connect(address).exchange(b"the other one is there\n");
    two.end();
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_after_the_user_timeout() {
    let program = Program::start(&["--frame", "raw", "--user-timeout", "200ms", "--write-stall", "0s"]);
    let mut client = program.connect();
    client.stream.set_write_timeout(Some(common::PATIENCE)).unwrap();
    let error = loop {
        if let Err(error) = client.stream.write_all(&[b'x'; 1 << 16]) {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
}

#[test]
fn with_few_descriptors_the_server_takes_as_many_connections_as_it_can_keep() {
    if !is_installed("bash") {
        return;
    }
    let mut command = common::quiet(Command::new("bash"));
    let script = "ulimit -n 60; exec \"$0\" --listen 127.0.0.1:0 --groups 1";
    command.args(["-c", script, env!("CARGO_BIN_EXE_lf-echo")]);
    let program = Program::spawn(command, 1);
    let mut clients: Vec<_> = (0..100).map(|_| program.connect()).collect();
    let served = clients.iter_mut().filter_map(|client| {
        use std::io::Read;
        let mut answer = [0; 3];
        client.stream.write_all(b"hi\n").ok()?;
        client.stream.read_exact(&mut answer).ok()
    });
    let served = served.count();
    assert!((10..60).contains(&served), "{served} were served");
    drop(clients);
    program.end();
}
