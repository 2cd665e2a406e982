//! Admission and settings: who is let in, who is refused and counted, and what cannot be set.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Echo, Host, any_port, in_every_mode, until};
use lf_core::codec::Line;
use lf_core::{Address, Builder, Count, Error, OutputLimits, Promotion, Rebalance, Refusal, Server, Timeouts};
use std::time::{Duration, Instant};

fn say(client: &mut Client, line: &str) {
    client.send(format!("{line}\n").as_bytes());
    assert_eq!(client.line(), line);
}

#[test]
fn one_connection_over_the_maximum_is_refused_until_somebody_leaves() {
    in_every_mode(|mode| {
        let host = Host::start(mode.builder().max_connections(3).listen(any_port(), Line::default(), Echo));
        let mut inside: Vec<_> = (0..3).map(|_| host.connect()).collect();
        inside.iter_mut().for_each(|client| say(client, "in"));
        host.connect().expect_end();
        assert_eq!(host.stats().refused(Refusal::MaxConnections), 1);
        inside.pop();
        host.until_connected(2);
        inside.push(host.connect());
        inside.iter_mut().for_each(|client| say(client, "in again"));
        let stats = host.stats();
        assert_eq!(stats.count(Count::Accepted), 5);
        assert_eq!(stats.closed_total(), 1);
    });
}

#[test]
fn an_address_has_its_own_maximum() {
    in_every_mode(|mode| {
        let dir = tempfile::tempdir().unwrap();
        let path = Address::Unix(dir.path().join("socket"));
        let builder = mode.builder().max_per_address(2).listen(any_port(), Line::default(), Echo);
        let host = Host::start(builder.listen(path.clone(), Line::default(), Echo));
        let connect = |from| Client::connect_from(from, &host.address());
        let mut inside: Vec<_> = ["127.0.0.2", "127.0.0.2", "127.0.0.3"].map(connect).into();
        inside.iter_mut().for_each(|client| say(client, "in"));
        connect("127.0.0.2").expect_end();
        assert_eq!(host.stats().refused(Refusal::MaxPerAddress), 1);
        // Peers without an address are not limited by it.
        let mut unix: Vec<_> = (0..4).map(|_| Client::connect(&path)).collect();
        unix.iter_mut().for_each(|client| say(client, "in, too"));
        drop(inside.remove(0));
        host.until_connected(6);
        say(&mut connect("127.0.0.2"), "in again");
    });
}

#[test]
fn more_connections_a_second_than_allowed_wait_and_are_served_later() {
    in_every_mode(|mode| {
        let host = Host::start(mode.builder().accepts_per_second(50).listen(any_port(), Line::default(), Echo));
        let began = Instant::now();
        let mut clients: Vec<_> = (0..30).map(|_| host.connect()).collect();
        clients.iter_mut().for_each(|client| say(client, "at last"));
        // A burst of a tenth of a second's worth goes at once, the others take a fiftieth of a second each.
        assert!(began.elapsed() >= Duration::from_millis(20 * (30 - 6)), "{:?}", began.elapsed());
        assert!(host.count(Count::AcceptThrottles) > 0);
        assert_eq!(host.count(Count::Accepted), 30);
    });
}

fn listening() -> Builder {
    Server::builder().listen(any_port(), Line::default(), Echo)
}

fn error_of(builder: Builder) -> Error {
    match builder.build() {
        Ok(_) => panic!("it was built"),
        Err(error) => error,
    }
}

#[test]
fn more_connections_than_descriptors_is_an_error_that_names_limit_and_remedy() {
    let error = error_of(listening().groups(1).max_connections(1 << 30));
    let Error::Descriptors { wanted, limit, reserved, reachable, .. } = &error else { panic!("{error}") };
    assert_eq!((*wanted, limit - reserved), (1 << 30, *reachable));
    let text = error.to_string();
    assert!(text.contains("max_connections = 1073741824") && text.contains(&limit.to_string()), "{text}");
    assert!(text.contains(&reachable.to_string()) && text.contains("ulimit -Hn"), "{text}");
    let reachable = *reachable;
    assert_eq!(listening().groups(1).max_connections(reachable).build().unwrap().max_connections(), reachable);
    assert_eq!(listening().groups(1).build().unwrap().max_connections(), reachable);
}

#[test]
fn settings_out_of_range_are_errors_that_name_them() {
    let output = OutputLimits::default();
    let timeouts = Timeouts::default();
    let zero = Some(Duration::ZERO);
    let cases: Vec<(&str, Builder)> = vec![
        ("groups", listening().groups(0)),
        ("groups", listening().groups(1025)),
        ("workers", listening().workers(0)),
        ("workers_max", listening().workers(5).workers_max(4)),
        ("batch_events", listening().batch_events(0)),
        ("batch_events", listening().batch_events(2000)),
        ("tick", listening().tick(Duration::from_micros(1))),
        ("tick", listening().tick(Duration::from_secs(2))),
        ("max_connections", listening().max_connections(0)),
        ("max_per_address", listening().max_per_address(0)),
        ("accepts_per_second", listening().accepts_per_second(0)),
        ("rebalance", listening().rebalance(Rebalance::Margin { percent: 0 })),
        ("output.high", listening().output_limits(OutputLimits { high: 0, ..output })),
        ("output.high", listening().output_limits(OutputLimits { max: 10, ..output })),
        ("output.low", listening().output_limits(OutputLimits { low: output.high, ..output })),
        ("first_byte", listening().timeouts(Timeouts { first_byte: zero, ..timeouts })),
        ("frame", listening().timeouts(Timeouts { frame: zero, ..timeouts })),
        ("idle", listening().timeouts(Timeouts { idle: zero, ..timeouts })),
        ("write_stall", listening().timeouts(Timeouts { write_stall: Some(Duration::MAX), ..timeouts })),
    ];
    for (setting, builder) in cases {
        let error = error_of(builder);
        let Error::Setting { name, remedy, .. } = &error else { panic!("{setting}: {error}") };
        assert!(name.starts_with(setting), "{name} instead of {setting}");
        assert!(error.to_string().contains(remedy) && !remedy.is_empty(), "{error}");
    }
}

#[test]
fn rebalancing_without_a_leader_to_watch_is_an_error() {
    let builder = listening().rebalance(Rebalance::Margin { percent: 20 });
    assert!(matches!(error_of(builder.promotion(Promotion::Kernel)), Error::Setting { name: "rebalance", .. }));
}

#[test]
fn a_server_that_listens_nowhere_is_an_error() {
    assert!(matches!(error_of(Server::builder()), Error::NoListener));
}

#[test]
fn a_refused_connection_costs_no_descriptor() {
    in_every_mode(|mode| {
        let host = Host::start(mode.builder().max_connections(1).listen(any_port(), Line::default(), Echo));
        let mut inside = host.connect();
        say(&mut inside, "in");
        let before = common::open_descriptors();
        for _ in 0..100 {
            host.connect().expect_end();
        }
        until("nothing was kept", || common::open_descriptors() == before);
        assert_eq!(host.stats().refused(Refusal::MaxConnections), 100);
        say(&mut inside, "still in");
    });
}
