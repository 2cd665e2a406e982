//! `lf-lua repl`: what is typed runs as a call of the script, and may wait.

use crate::engine::Source;
use crate::options::EngineArgs;
use crate::program::{Built, build, read};
use crate::tester::server_args;
use anyhow::Context;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Reads, runs and prints until the end of the input.
pub(crate) fn run(script: Option<&Path>, engine: &EngineArgs) -> anyhow::Result<u8> {
    // Only its owner can enter the directory: whoever reaches the socket runs code here.
    let directory = tempfile::Builder::new().prefix("lf-lua-").tempdir().context("cannot make a directory")?;
    let socket = directory.path().join("console");
    let mut source = match script {
        Some(path) => read(path, engine)?,
        None => Source {
            path: PathBuf::from("stdin"),
            text: Vec::new(),
            lua_path: engine.lua_path.clone(),
            untrusted: engine.untrusted,
            console: None,
            compat: None,
        },
    };
    source.console = Some(format!("unix:{}", socket.display()));
    let Built { server, .. } = build(&server_args(), engine, source, false)?;
    for address in server.addresses().iter().filter(|address| !address.to_string().starts_with("unix:/")) {
        println!("listening {address}");
    }
    let running = server.start()?;
    let stream = UnixStream::connect(&socket).context("cannot reach the VM")?;
    let outcome = converse(stream);
    let _ = running.stop();
    outcome.map(|()| 0)
}

fn converse(mut stream: UnixStream) -> anyhow::Result<()> {
    let mut editor = DefaultEditor::new().context("cannot read from the terminal")?;
    let mut code = String::new();
    loop {
        let line = match editor.readline(if code.is_empty() { "> " } else { ">> " }) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                code.clear();
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error).context("cannot read what is typed"),
        };
        code.push_str(&line);
        if code.trim().is_empty() {
            code.clear();
            continue;
        }
        let answer = ask(&mut stream, code.as_bytes()).context("the VM does not answer")?;
        let (kind, text) = answer.split_at_checked(1).unwrap_or_default();
        if kind == "+" {
            code.push('\n');
            continue;
        }
        let _ = editor.add_history_entry(code.as_str());
        code.clear();
        match kind {
            "!" => eprintln!("{text}"),
            _ if text.is_empty() => {}
            _ => println!("{text}"),
        }
    }
}

fn ask(stream: &mut UnixStream, code: &[u8]) -> std::io::Result<String> {
    let len = u32::try_from(code.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    stream.write_all(&len.to_be_bytes())?;
    stream.write_all(code)?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut answer = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
