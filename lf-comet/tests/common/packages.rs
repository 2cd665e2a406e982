//! Clients that others wrote, installed from their registries into the build directory, once for all tests.

use super::process::{is_installed, quiet, skip};
use std::path::PathBuf;
use std::process::Command;

/// The clients of `clients/package.json` and `clients/requirements.txt`.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// A script in `clients`.
pub(crate) fn script(name: &str) -> String {
    format!("{SCRIPTS}/{name}")
}

/// Runs `install` in a directory of its own, unless that was done before; `None` if it cannot be done.
fn installed(name: &str, manifest: &str, install: &str) -> Option<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    // Tests are processes that run side by side: one of them installs. A manifest that has changed is installed again.
    let once = format!("cmp -s '{manifest}' done || {{ {install} && cp '{manifest}' done; }}");
    let mut command = quiet(Command::new("flock"));
    let output = command.args(["lock", "sh", "-c", &once]).current_dir(&directory).output().unwrap();
    if output.status.success() {
        return Some(directory);
    }
    skip(&format!("{name} cannot be installed: {}", String::from_utf8_lossy(&output.stderr)));
    None
}

/// Where the packages for Node are; `None` without Node or its packages.
pub(crate) fn node_modules() -> Option<PathBuf> {
    if !is_installed("node") || !is_installed("npm") {
        return None;
    }
    let manifest = script("package.json");
    let install = format!("cp '{manifest}' . && npm install --no-audit --no-fund --no-package-lock --loglevel=error");
    Some(installed("node", &manifest, &install)?.join("node_modules"))
}

/// A command that runs a script of `clients` with Node; `None` without Node or its packages.
pub(crate) fn node(name: &str) -> Option<Command> {
    let mut command = quiet(Command::new("node"));
    command.arg(script(name)).env("NODE_PATH", node_modules()?);
    Some(command)
}

/// A command that runs a script of `clients` with Python; `None` without Python or its packages.
pub(crate) fn python(name: &str) -> Option<Command> {
    if !is_installed("python3") {
        return None;
    }
    let manifest = script("requirements.txt");
    let install = format!("python3 -m venv venv && venv/bin/pip install --quiet --requirement '{manifest}'");
    let directory = installed("python", &manifest, &install)?;
    let mut command = quiet(Command::new(directory.join("venv/bin/python")));
    command.args(["-u", &script(name)]);
    Some(command)
}
