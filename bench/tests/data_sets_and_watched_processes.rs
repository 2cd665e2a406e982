//! `lf-bench graph` and `lf-bench memory`.

mod common;

use common::{Reference, bench, stderr, stdout};
use std::collections::HashSet;
use std::path::PathBuf;

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("lf-{}-{name}", std::process::id()))
}

#[test]
fn a_graph_is_a_line_per_edge_the_same_for_a_seed_in_a_file_and_on_standard_output() {
    let path = temporary("friends.txt");
    let args = ["graph", "--users", "500", "--edges", "4", "--seed", "7", "--first", "1000", "--quiet"];
    let printed = stdout(&bench(&args));
    let output = bench(&[&args[..], &["--output", path.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let written = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(printed, written);
    let edges: HashSet<(u32, u32)> = printed
        .lines()
        .map(|line| {
            let (a, b) = line.split_once(' ').unwrap();
            (a.parse().unwrap(), b.parse().unwrap())
        })
        .collect();
    assert_eq!((edges.len(), printed.lines().count()), (10 + 495 * 4, 10 + 495 * 4));
    assert!(edges.iter().all(|(a, b)| a > b && (1000..1500).contains(a) && (1000..1500).contains(b)));
    let both = stdout(&bench(&[&args[..], &["--both"]].concat()));
    assert_eq!(both.lines().count(), 2 * edges.len());
}

#[test]
fn a_process_is_watched_into_a_table_and_a_drawing() {
    let server = Reference::start("floor").unwrap();
    let (csv, svg) = (temporary("memory.csv"), temporary("memory.svg"));
    let pid = server.pid();
    let args = ["memory", "--pid", &pid, "--interval", "20ms", "--duration", "100ms"];
    let files = ["--output", csv.to_str().unwrap(), "--svg", svg.to_str().unwrap()];
    let output = bench(&[&args[..], &files].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let table = std::fs::read_to_string(&csv).unwrap();
    let drawing = std::fs::read_to_string(&svg).unwrap();
    std::fs::remove_file(&csv).unwrap();
    std::fs::remove_file(&svg).unwrap();
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(header[..2], ["seconds", "rss_bytes"]);
    let rows: Vec<Vec<f64>> =
        lines.map(|line| line.split(',').map(|field| field.parse().unwrap_or(-1.0)).collect()).collect();
    assert_eq!(rows.len(), 6, "{table}");
    assert!(rows.iter().all(|row| row.len() == header.len() && row[1] > 0.0), "{table}");
    assert!(rows.windows(2).all(|pair| pair[1][0] > pair[0][0]), "{table}");
    assert!(drawing.starts_with("<svg") && drawing.contains("RSS"), "{drawing}");
}

#[test]
fn the_end_of_the_process_ends_the_watch_and_a_process_that_never_was_is_an_error() {
    let server = Reference::start("floor").unwrap();
    let pid = server.pid();
    let mut watch = std::process::Command::new(env!("CARGO_BIN_EXE_lf-bench"))
        .args(["memory", "--pid", &pid, "--interval", "10ms", "--duration", "1h"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut rows = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    assert!(rows.next().unwrap().unwrap().starts_with("seconds,") && rows.next().unwrap().unwrap().contains(','));
    drop(server);
    assert!(rows.count() < 1000 && watch.wait().unwrap().success());
    let words = stderr(&bench(&["memory", "--pid", &pid]));
    assert!(words.contains(&format!("--pid {pid}")) && words.contains("running"), "{words}");
}
