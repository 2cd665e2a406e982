//! Lists of servers that change: a file, a name.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod backends;
mod common;

use backends::{Backend, Caller, lines_to};
use common::until;
use lf_core::upstream::{Servers, UpstreamConfig};
use std::time::Duration;

#[test]
fn a_file_with_servers_is_followed_and_bad_content_changes_nothing() {
    let caller = Caller::new();
    let (one, two) = (Backend::echo("one"), Backend::echo("two"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("servers");
    std::fs::write(&path, format!("# the first\n{} weight=2 # twice\n\n", one.at)).unwrap();
    let be = caller.add(UpstreamConfig { servers: Servers::File(path.clone()), ..lines_to::<String>([]) });
    assert_eq!(be.servers().len(), 1);
    assert_eq!(caller.ask(&be, "x").unwrap(), "one:x");
    std::fs::write(&path, format!("{}\n{}\n", one.at, two.at)).unwrap();
    until("both are asked", || be.servers().len() == 2 && caller.ask(&be, "x").unwrap() == "two:x");
    std::fs::write(&path, "this is: no server at all\n").unwrap();
    // What comes after it says that it has been looked at.
    let polled = std::time::Instant::now();
    until("it was polled a few times", || polled.elapsed() > Duration::from_millis(200));
    assert_eq!(be.servers().len(), 2);
    std::fs::write(&path, format!("{}\n", two.at)).unwrap();
    until("one has left", || be.servers().len() == 1);
    (0..10).for_each(|_| assert_eq!(caller.ask(&be, "x").unwrap(), "two:x"));
    until("its connections are gone", || one.open() == 0);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(caller.ask(&be, "x").unwrap(), "two:x");
}

#[test]
fn a_name_is_looked_up() {
    let (caller, backend) = (Caller::new(), Backend::echo("a"));
    let config = UpstreamConfig {
        dns_refresh: Some(Duration::from_millis(20)),
        retries: 1,
        ..lines_to([format!("localhost:{}", backend.at.port())])
    };
    let be = caller.add(config);
    assert!(be.servers().iter().any(|server| server.ends_with(&format!(" {}", backend.at))), "{:?}", be.servers());
    for _ in 0..20 {
        assert_eq!(caller.ask(&be, "x").unwrap(), "a:x");
    }
    let error = caller.upstreams.add("none", lines_to(["no-such-host.invalid:80"])).unwrap_err().to_string();
    assert!(error.contains("upstream none: server \"no-such-host.invalid:80\""), "{error}");
}
