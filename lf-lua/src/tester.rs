//! `lf-lua test`: runs tests of scripts, each file with servers of its own.

use crate::engine::{Event, Report, Source, Tests};
use crate::options::EngineArgs;
use crate::program::{Built, build, read};
use anyhow::{Context, bail};
use lf_core::cli::ServerArgs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

const SUFFIX: &str = "_test.lua";

/// Runs the tests in a directory, or in one file; 1 if any has failed.
pub(crate) fn run(path: &Path, engine: &EngineArgs) -> anyhow::Result<u8> {
    let files = if path.is_dir() { files_in(path)? } else { vec![path.to_owned()] };
    if files.is_empty() {
        bail!("{}: no tests here; their files are called NAME{SUFFIX}", path.display());
    }
    let (mut passed, mut failed) = (0, 0);
    for file in files {
        let reports = run_file(&file, engine).with_context(|| format!("{}", file.display()))?;
        for report in reports {
            match report {
                Report::Passed { name } => {
                    passed += 1;
                    println!("ok     {name}");
                }
                Report::Failed { name, why } => {
                    failed += 1;
                    println!("FAILED {name}\n       {}", why.replace('\n', "\n       "));
                }
                Report::End => {}
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(u8::from(failed > 0 || passed == 0))
}

fn files_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<_> = paths.into_iter().filter(|path| path.to_string_lossy().ends_with(SUFFIX)).collect();
    files.sort();
    Ok(files)
}

/// The script beside a file of tests, if there is one.
fn script_of(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    let path = file.with_file_name(format!("{name}.lua"));
    path.is_file().then_some(path)
}

/// The server's options as they are when nothing is said, but small.
pub(crate) fn server_args() -> ServerArgs {
    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        server: ServerArgs,
    }
    let only = <Only as clap::Parser>::parse_from(["lf-lua", "--groups", "1", "--workers", "1"]);
    only.server
}

fn run_file(file: &Path, engine: &EngineArgs) -> anyhow::Result<Vec<Report>> {
    let text = std::fs::read(file).context("cannot read it")?;
    let source = match script_of(file) {
        Some(script) => read(&script, engine)?,
        // Tests of functions need no server; one that nobody talks to lets them wait.
        None => Source {
            path: file.to_owned(),
            text: b"lf.tcp { listen = '127.0.0.1:0', handler = function() end }".to_vec(),
            lua_path: engine.lua_path.clone(),
            untrusted: engine.untrusted,
            console: None,
            compat: None,
        },
    };
    let Built { server, current, .. } = build(&server_args(), engine, source, true)?;
    let script = current.load_full();
    let addresses = server.addresses().iter().map(ToString::to_string);
    let servers =
        script.definitions.iter().map(|definition| definition.kind.label().to_owned()).zip(addresses).collect();
    let running = server.start()?;
    let (report, reports) = channel();
    let name = file.display().to_string();
    if let Some(vm) = script.vms().next() {
        vm.post(Event::Test(Tests { name, text, servers, report }));
    }
    let reports = reports.into_iter().take_while(|report| *report != Report::End).collect();
    let _ = running.stop();
    Ok(reports)
}
