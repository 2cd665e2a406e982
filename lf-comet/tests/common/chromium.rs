//! A browser without a window, led over the DevTools protocol (<https://chromedevtools.github.io/devtools-protocol/>) through
//! a pipe.

use super::process::{Process, is_installed, quiet};
use super::{PATIENCE, comes_true};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// It reads commands from descriptor 3 and answers on 4.
const START: &str = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                     --disable-background-networking --disable-component-update --disable-sync --no-proxy-server \
                     --remote-debugging-pipe --user-data-dir=\"$0\" about:blank 3<&0 4>&1 0</dev/null 1>/dev/null";

/// A running Chromium, killed when dropped.
pub(crate) struct Chromium {
    process: Process,
    /// Bytes of its output that were read.
    read: usize,
    /// The number of the last command.
    last: u64,
    /// What went wrong in the pages: exceptions, violated policies.
    pub(crate) complaints: Vec<String>,
    _profile: TempDir,
}

/// A tab.
#[derive(Clone, Debug)]
pub(crate) struct Tab(String);

impl Chromium {
    /// Starts one with a fresh profile; `None` where there is no Chromium.
    pub(crate) fn start() -> Option<Self> {
        if !is_installed("chromium") {
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let mut command = quiet(Command::new("sh"));
        command.args(["-c", START]).arg(profile.path()).env("HOME", profile.path());
        let process = Process::spawn(command);
        Some(Self { process, read: 0, last: 0, complaints: Vec::new(), _profile: profile })
    }

    /// Opens a page in a tab of its own.
    pub(crate) fn open(&mut self, url: &str) -> Tab {
        let target = self.call(None, "Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", &attach)["sessionId"].clone();
        let tab = Tab(session.as_str().unwrap().to_owned());
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.call(Some(&tab), domain, &json!({}));
        }
        let went = self.call(Some(&tab), "Page.navigate", &json!({ "url": url }));
        assert!(went.get("errorText").is_none(), "{url}: {went}");
        self.until(&tab, "the page is there", "document.readyState === 'complete'");
        tab
    }

    /// The value of an expression in a page; a promise is waited for.
    pub(crate) fn eval(&mut self, tab: &Tab, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call(Some(tab), "Runtime.evaluate", &parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression in a page is true.
    pub(crate) fn until(&mut self, tab: &Tab, what: &str, expression: &str) {
        if !comes_true(PATIENCE, || self.eval(tab, expression) == Value::Bool(true)) {
            let shown = self.eval(tab, "document.body.innerText");
            panic!("in vain until {what}; the page shows {shown} and complains {:?}", self.complaints);
        }
    }

    /// Gives a tab a width, and its user a liking for light or dark.
    pub(crate) fn dress(&mut self, tab: &Tab, width: u32, dark: bool) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call(Some(tab), "Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let liking = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call(Some(tab), "Emulation.setEmulatedMedia", &liking);
    }

    /// Takes a picture of a whole page, into the build directory.
    pub(crate) fn picture(&mut self, tab: &Tab, name: &str) -> PathBuf {
        let parameters = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.call(Some(tab), "Page.captureScreenshot", &parameters);
        let png = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, answer["data"].as_str().unwrap());
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pictures");
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{name}.png"));
        std::fs::write(&path, png.unwrap()).unwrap();
        path
    }

    /// Sends a command and waits for its answer; events on the way are looked through for complaints.
    pub(crate) fn call(&mut self, tab: Option<&Tab>, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(Tab(session)) = tab {
            command["sessionId"] = json!(session);
        }
        self.process.say(format!("{command}\0"));
        loop {
            let message = self.next_message(method);
            if message["id"] == json!(self.last) {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn next_message(&mut self, method: &str) -> Value {
        let mut message = None;
        let came = comes_true(PATIENCE, || {
            message = self.process.output_from(self.read, |output| {
                let end = output.iter().position(|byte| *byte == 0)?;
                Some((end + 1, serde_json::from_slice(&output[..end]).unwrap()))
            });
            message.is_some()
        });
        assert!(came, "Chromium does not answer {method}: {}", self.process.errors());
        let (length, message) = message.unwrap();
        self.read += length;
        message
    }

    fn note(&mut self, event: &Value) {
        let entry = &event["params"]["entry"];
        let is_complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            // Failed connections are part of what is tested.
            Some("Log.entryAdded") => entry["level"] == "error" && entry["source"] != "network",
            Some(_) | None => false,
        };
        if is_complaint {
            self.complaints.push(event["params"].to_string());
        }
    }
}
