//! The pages, in a browser.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::Program;
use common::chromium::{Chromium, Tab};
use common::packages;
use serde_json::{Value, json};

/// What the panels of the demo page show as messages, panel by panel.
const MESSAGES: &str = "[...document.querySelectorAll('.panel')].map((panel) => \
                        [...panel.querySelectorAll('.log .message span')].map((span) => span.textContent))";

/// What the panels of the demo page say about their connections.
const SAYINGS: &str =
    "[...document.querySelectorAll('.log .said span, .log .lost span')].map((span) => span.textContent)";

/// The four ways in which the demo page can listen.
const TRANSPORTS: [&str; 4] = ["sse", "websocket", "ndjson", "poll"];

fn await_messages(browser: &mut Chromium, tab: &Tab, expected: &Value) {
    let what = format!("the panels show {expected}");
    browser.until(tab, &what, &format!("JSON.stringify({MESSAGES}) === JSON.stringify({expected})"));
}

fn await_states(browser: &mut Chromium, tab: &Tab, state: &str) {
    let shown = "[...document.querySelectorAll('.panel .state')].map((state) => state.textContent)";
    browser.until(tab, &format!("all panels are {state}"), &format!("{shown}.every((shown) => shown === '{state}')"));
}

#[test]
fn the_demo_page_shows_messages_over_every_transport() {
    let Some(mut browser) = Chromium::start() else { return };
    // Polls are away between two answers: what comes then is remembered for them.
    let program = Program::start(&["--history", "10"]);
    let panels: Vec<_> = TRANSPORTS.iter().map(|transport| format!("{transport}:123")).collect();
    let tab = browser.open(&program.url(&format!("/#{}", panels.join("&"))));
    await_states(&mut browser, &tab, "connected");
    program.await_connected("123", 4);

    assert_eq!(program.send("123", "hello"), 4);
    await_messages(&mut browser, &tab, &json!([["hello"], ["hello"], ["hello"], ["hello"]]));
    let markup = "<b>two</b>\nlines, \u{2603}";
    program.send("123", markup);
    program.send("123", b"\xff\x00".as_slice());
    let all = json!(["hello", markup, "2 bytes, in base64: /wA="]);
    await_messages(&mut browser, &tab, &json!([all, all, all, all]));
    assert_eq!(browser.complaints, Vec::<String>::new());
    program.end();
}

#[test]
fn the_demo_page_comes_back_and_misses_nothing_that_is_remembered() {
    let Some(mut browser) = Chromium::start() else { return };
    let program = Program::start(&["--history", "10", "--retry", "200ms"]);
    let tab = browser.open(&program.url("/#sse:1&websocket:2&ndjson:3"));
    await_states(&mut browser, &tab, "connected");
    for id in ["1", "2", "3"] {
        program.send(id, "before");
    }
    await_messages(&mut browser, &tab, &json!([["before"], ["before"], ["before"]]));
    for id in ["1", "2", "3"] {
        assert_eq!(program.kick(id), 1);
        program.send(id, "meanwhile");
    }
    for id in ["1", "2", "3"] {
        program.await_connected(id, 1);
        program.send(id, "after");
    }
    let all = json!(["before", "meanwhile", "after"]);
    await_messages(&mut browser, &tab, &json!([all, all, all]));
    let sayings = browser.eval(&tab, SAYINGS).to_string();
    assert_eq!(sayings.matches("connected again, goes on after").count(), 3, "{sayings}");
    assert!(!sayings.contains("lost:"), "{sayings}");
    assert_eq!(program.counter("resumed"), 3);
    program.end();
}

#[test]
fn the_demo_page_says_that_something_is_lost() {
    let Some(mut browser) = Chromium::start() else { return };
    let program = Program::start(&["--retry", "200ms"]);
    let panels: Vec<_> = TRANSPORTS.iter().map(|transport| format!("{transport}:{transport}")).collect();
    let tab = browser.open(&program.url(&format!("/#{}", panels.join("&"))));
    await_states(&mut browser, &tab, "connected");
    for id in TRANSPORTS {
        program.await_connected(id, 1);
        program.send(id, "before");
    }
    await_messages(&mut browser, &tab, &json!([["before"], ["before"], ["before"], ["before"]]));
    browser.eval(&tab, "document.querySelectorAll('.panel form').forEach((form) => form.requestSubmit())");
    for id in TRANSPORTS {
        program.await_connected(id, 0);
        assert_eq!(program.send(id, "nobody is there"), 0);
    }
    browser.eval(&tab, "document.querySelectorAll('.panel form').forEach((form) => form.requestSubmit())");
    let lost = "document.querySelectorAll('.log .lost').length === 4";
    browser.until(&tab, "every panel says that something is lost", lost);
    program.end();
}

#[test]
fn the_demo_page_names_the_commands_to_try() {
    let Some(mut browser) = Chromium::start() else { return };
    let program = Program::start(&[]);
    let tab = browser.open(&program.url("/#websocket:alice"));
    await_states(&mut browser, &tab, "connected");
    let port = program.control().port();
    browser.eval(&tab, &format!("port.value = '{port}'; port.dispatchEvent(new Event('input'))"));
    let command = browser.eval(&tab, "document.querySelector('#commands code').textContent");
    assert_eq!(command, json!(format!("curl -d hello http://127.0.0.1:{port}/send/alice")));
    // It does what it says.
    let said = std::process::Command::new("sh").args(["-c", command.as_str().unwrap()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "{\"delivered\":1}\n");
    await_messages(&mut browser, &tab, &json!([["hello"]]));
    program.end();
}

/// A figure of the status page: the text of the card with that title.
fn card(title: &str) -> String {
    format!(
        "[...document.querySelectorAll('section')].find((card) => card.querySelector('h2')?.textContent === '{title}').innerText"
    )
}

#[test]
fn the_status_page_shows_live_figures() {
    let Some(mut browser) = Chromium::start() else { return };
    let mut program = Program::start(&[]);
    let subscribers = browser.open(&program.url("/#sse:1&sse:1&websocket:1&ndjson:1"));
    program.await_connected("1", 4);
    let tab = browser.open(&program.control_url("/status"));
    browser.until(&tab, "the server serves", "document.querySelector('#state').textContent === 'serving'");
    let connections = card("Connections");
    browser.until(&tab, "four connections are shown", &format!("/^4$/m.test({connections})"));
    let legend = "[...document.querySelectorAll('#legend li')].map((item) => item.textContent).join()";
    let shares = format!("{legend} === 'test0,stream0,ndjson1,sse2,poll0,websocket1'");
    browser.until(&tab, "they are counted by transport", &shares);
    browser.until(&tab, "the title tells it", "document.title === '4 connected – lf-comet'");

    for round in 0..100 {
        program.send("1", format!("message {round}"));
    }
    let peak = |title: &str| format!("Number({}.match(/peak ([\\d.,]+)/)[1].replaceAll(',', ''))", card(title));
    let flow = format!("{} > 0 && {} > {}", peak("Messages in"), peak("Deliveries out"), peak("Messages in"));
    browser.until(&tab, "messages and deliveries were seen", &flow);
    let total = "[...document.querySelectorAll('tbody tr')].map((row) => row.innerText).find((row) => row.startsWith('published'))";
    browser.until(&tab, "the counter is there", &format!("/\\b100$/.test({total}.trim())"));
    browser.until(&tab, "memory is there", &format!("/\\d (KiB|MiB)/.test({})", card("Memory")));
    let reasons =
        "[...document.querySelector('table').querySelectorAll('tbody th span')].map((cell) => cell.textContent).sort()";
    assert_eq!(browser.eval(&tab, reasons), json!(["disconnected", "full", "newest", "oldest"]));
    let drawn = "[...document.querySelectorAll('path.line')].every((line) => line.getAttribute('d').includes('L'))";
    browser.until(&tab, "the lines are drawn", drawn);

    let counts = format!("{MESSAGES}.map((panel) => panel.length).join()");
    browser.until(&subscribers, "each subscriber has all messages", &format!("{counts} === '100,100,100,100'"));
    program.signal("KILL");
    program.wait();
    let lost = "document.querySelector('#state').textContent === 'no answer from the server'";
    browser.until(&tab, "the page says that nobody answers", lost);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn the_status_page_shows_the_past_at_once_and_the_moment_pointed_at() {
    let Some(mut browser) = Chromium::start() else { return };
    let program = Program::start(&[]);
    common::until("there are some samples", || program.status()["samples"].as_array().unwrap().len() >= 4);
    let tab = browser.open(&program.control_url("/status"));
    let line = "document.querySelector('path.line')?.getAttribute('d').split('L').length >= 4";
    browser.until(&tab, "the samples are drawn", line);
    let point = "(() => { const box = document.querySelector('.plot svg').getBoundingClientRect(); \
                 document.querySelector('.plot svg').dispatchEvent(new PointerEvent('pointermove', { clientX: box.left })); \
                 return document.querySelector('#when').textContent })()";
    let when = browser.eval(&tab, point);
    assert!(when.as_str().unwrap().ends_with(" s ago"), "{when}");
    let leave = "document.querySelector('.plot svg').dispatchEvent(new PointerEvent('pointerleave')); \
                 document.querySelector('#when').textContent";
    assert_eq!(browser.eval(&tab, leave), "now");
    program.end();
}

/// The pages, with something on them.
fn both_pages(browser: &mut Chromium, program: &Program) -> [(&'static str, Tab); 2] {
    let demo = browser.open(&program.url("/#sse:1&websocket:1"));
    await_states(browser, &demo, "connected");
    program.send("1", "hello");
    await_messages(browser, &demo, &json!([["hello"], ["hello"]]));
    let status = browser.open(&program.control_url("/status"));
    browser.until(&status, "figures are shown", "document.querySelectorAll('tbody tr').length > 0");
    [("demo", demo), ("status", status)]
}

#[test]
fn the_pages_fit_a_narrow_screen_and_a_wide_one_light_and_dark() {
    let Some(mut browser) = Chromium::start() else { return };
    let program = Program::start(&[]);
    for (name, tab) in both_pages(&mut browser, &program) {
        for width in [360, 1280] {
            for (dark, background) in [(false, "rgb(244, 244, 241)"), (true, "rgb(14, 14, 13)")] {
                browser.dress(&tab, width, dark);
                let overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
                assert_eq!(browser.eval(&tab, overflow), json!(0), "{name} at {width}");
                assert_eq!(browser.eval(&tab, "getComputedStyle(document.body).backgroundColor"), background, "{name}");
                browser.picture(&tab, &format!("{name}-{width}-{}", if dark { "dark" } else { "light" }));
            }
        }
    }
    program.end();
}

fn assert_accessible(browser: &mut Chromium, tab: &Tab, what: &str) {
    let violations =
        "axe.run().then((found) => found.violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]))";
    for dark in [false, true] {
        browser.dress(tab, 1280, dark);
        assert_eq!(browser.eval(tab, violations), json!([]), "{what}, dark: {dark}");
    }
}

#[test]
fn axe_finds_nothing_that_keeps_anybody_out() {
    let Some(mut browser) = Chromium::start() else { return };
    let Some(directory) = packages::node_modules() else { return };
    let axe = std::fs::read_to_string(directory.join("axe-core/axe.min.js")).unwrap();
    let mut program = Program::start(&[]);
    let pages = both_pages(&mut browser, &program);
    for (name, tab) in &pages {
        browser.eval(tab, &format!("{axe}; true"));
        assert_accessible(&mut browser, tab, name);
    }
    program.signal("KILL");
    program.wait();
    let [(_, demo), (_, status)] = pages;
    await_states(&mut browser, &demo, "reconnecting");
    assert_accessible(&mut browser, &demo, "demo without a server");
    browser.until(&status, "the page says that nobody answers", "document.body.matches('.stale')");
    assert_accessible(&mut browser, &status, "status without a server");
}
