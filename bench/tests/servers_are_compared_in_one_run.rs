//! `lf-bench compare` and the tour's report.

mod common;

use common::{Reference, bench, json, number, stderr, stdout};

const BRIEFLY: [&str; 6] = ["--rounds", "2", "--duration", "100ms", "--warmup", "30ms"];

#[test]
fn built_in_servers_and_one_of_the_user_are_measured_in_interleaved_rounds() {
    let own = format!("mine={} serve floor --listen {{addr}} --die-with-parent", env!("CARGO_BIN_EXE_lf-bench"));
    let args = ["compare", "--server", "floor", "--server", "kernel", "--cmd", &own, "--baseline", "kernel", "--json"];
    let output = bench(&[&args[..], &BRIEFLY].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json(&output);
    let servers = report["servers"].as_array().unwrap();
    let names: Vec<&str> = servers.iter().map(|server| server["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["floor", "kernel", "mine"]);
    for server in servers {
        assert_eq!(server["rounds"].as_array().unwrap().len(), 2);
        let rate = &server["requests_per_second"];
        assert!(number(&rate["min"]) > 0.0 && number(&rate["min"]) <= number(&rate["median"]));
        common::assert_no_errors(server);
    }
    assert_eq!(number(&servers[1]["ratio_to_baseline"]["median"]), 1.0);
}

#[test]
fn a_person_gets_a_table_with_ratios_and_bars() {
    let args = ["compare", "--server", "floor", "--server", "tokio", "--mode", "short", "--connections", "8"];
    let output = bench(&[&args[..], &BRIEFLY].concat());
    let text = stdout(&output);
    for part in ["floor", "tokio", "/ floor", "1.00", "█", "p99.9", "switches", "RSS"] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

#[test]
fn a_comparison_can_be_drawn_into_a_file() {
    let path = std::env::temp_dir().join(format!("lf-drawing-{}.svg", std::process::id()));
    let place = path.display().to_string();
    let output =
        bench(&[&["compare", "--server", "floor", "--server", "kernel", "--svg", &place], &BRIEFLY[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let drawing = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(drawing.starts_with("<svg style=") && drawing.contains("xmlns"), "{drawing}");
    assert!(drawing.contains("floor") && drawing.contains("kernel"), "{drawing}");
}

#[test]
fn a_baseline_that_does_not_take_part_is_refused_with_the_remedy() {
    let output = bench(&["compare", "--server", "floor", "--baseline", "tokio"]);
    let words = stderr(&output);
    assert!(!output.status.success());
    assert!(words.contains("--baseline tokio") && words.contains("--server tokio"), "{words}");
}

#[test]
fn the_tour_writes_a_page_that_needs_no_network() {
    let directory = std::env::temp_dir().join(format!("lf-report-{}", std::process::id()));
    let place = directory.display().to_string();
    let args = ["tour", "--server", "floor", "--server", "kernel", "--idle", "100", "--report", &place];
    let output = bench(&[&args[..], &["--rounds", "1", "--duration", "80ms"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let page = std::fs::read_to_string(directory.join("index.html")).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(stdout(&output).contains(&format!("report: {place}/index.html")));
    assert_eq!(page.matches("<svg").count(), 3 * 4 + 2, "four drawings for each mode and two of memory");
    assert_eq!(page.matches("</svg>").count(), page.matches("<svg").count());
    for part in ["floor", "kernel", "Linux ", "lf-bench tour", "prefers-color-scheme", "polyline"] {
        assert!(page.contains(part), "{part:?} is missing");
    }
    let outside = page.matches("http").count() - page.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(outside, 0, "nothing is loaded from elsewhere");
}

#[test]
fn a_server_pid_that_is_gone_is_named() {
    let server = Reference::start("floor").unwrap();
    let pid = server.pid();
    drop(server);
    let other = Reference::start("floor").unwrap();
    let output = common::run("long", &other.target, &["--server-pid", &pid]);
    let words = stderr(&output);
    assert!(!output.status.success());
    assert!(words.contains(&format!("--server-pid {pid}")), "{words}");
}

const PUSH_BRIEFLY: [&str; 4] = ["--subscribers", "60", "--push-rate", "500"];

#[test]
fn push_servers_are_compared_in_three_contests_and_every_message_is_checked() {
    let args = ["compare", "--comet", "--server", "push-loop", "--json"];
    let output = bench(&[&args[..], &BRIEFLY, &PUSH_BRIEFLY].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json(&output);
    let contests = report["contests"].as_array().unwrap();
    assert_eq!(contests.len(), 3);
    for contest in contests {
        let rounds = contest["series"][0]["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 2, "{contest}");
        for round in rounds {
            assert_eq!(number(&round["subscribers"]), 60.0);
            assert!(number(&round["server"]["deliveries_per_cpu_second"]) > 0.0, "{round}");
            assert_eq!(number(&round["verdicts"]["missing"]), 0.0, "{round}");
        }
    }
}

#[test]
fn nchan_is_compared_with_the_bare_loop_or_said_not_to_be_installed() {
    let path = std::env::temp_dir().join(format!("lf-push-{}.svg", std::process::id()));
    let place = path.display().to_string();
    let args = ["compare", "--comet", "--server", "nchan", "--server", "push-loop", "--svg", &place];
    let output = bench(&[&args[..], &BRIEFLY, &PUSH_BRIEFLY].concat());
    if !output.status.success() {
        let words = stderr(&output);
        assert!(words.contains("apt-get install nginx-light libnginx-mod-nchan"), "{words}");
        return;
    }
    let text = stdout(&output);
    for part in ["(a) one id", "(b) one id", "(c) 60 ids", "nchan / push-loop: ", "all in order", "RSS each"] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
    let drawing = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(drawing.contains("nchan (c)") && drawing.contains("push-loop (a)"), "{drawing}");
}

#[test]
fn a_push_server_that_is_not_there_is_named_with_the_remedy() {
    let args = ["compare", "--comet", "--server", "lf-comet", "--lf-comet", "/nonexistent/lf-comet"];
    let words = stderr(&bench(&args));
    assert!(words.contains("--lf-comet /nonexistent/lf-comet") && words.contains("cargo build"), "{words}");
}
