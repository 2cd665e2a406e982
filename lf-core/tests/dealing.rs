//! Which group gets a connection, and whether it stays there.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Echo, Host, Stop, any_port, in_every_mode, until, with_both_triggers};
use lf_core::codec::Line;
use lf_core::{Builder, Count, Deal, Rebalance};

fn start(builder: Builder) -> Host {
    Host::start(builder.listen(any_port(), Line::default(), Echo))
}

/// Connects one after the other, so that they are dealt in this order.
fn connect(host: &Host, count: usize) -> Vec<Client> {
    (0..count)
        .map(|_| {
            let mut client = host.connect();
            client.send(b"in\n");
            client.expect(b"in\n");
            client
        })
        .collect()
}

#[test]
fn round_robin_deals_evenly() {
    in_every_mode(|mode| {
        let host = start(mode.builder().groups(3));
        let _clients = connect(&host, 12);
        assert_eq!(host.stats().group_connections(), [4, 4, 4]);
    });
}

#[test]
fn least_connections_fills_the_gaps_that_leavers_made() {
    in_every_mode(|mode| {
        let host = start(mode.builder().groups(3).deal(Deal::LeastConnections));
        let mut clients = connect(&host, 12);
        assert_eq!(host.stats().group_connections(), [4, 4, 4]);
        // All of one group and some of another.
        let mut at = 0;
        clients.retain(|_| {
            at += 1;
            at % 3 != 0 && at % 4 != 0
        });
        host.until_connected(clients.len());
        assert_ne!(host.stats().group_connections(), [2, 2, 2]);
        clients.extend(connect(&host, 12 - clients.len()));
        assert_eq!(host.stats().group_connections(), [4, 4, 4]);
    });
}

#[test]
fn power_of_two_uses_every_group() {
    in_every_mode(|mode| {
        let host = start(mode.builder().groups(4).deal(Deal::PowerOfTwo));
        let _clients = connect(&host, 64);
        let loads = host.stats().group_connections().to_vec();
        assert_eq!(loads.iter().sum::<usize>(), 64);
        assert!(loads.iter().all(|load| (10..=22).contains(load)), "{loads:?}");
    });
}

/// Leaves all connections in one of two groups, under traffic, until `done`; every byte of it must come back.
fn with_traffic_in_one_group(host: &Host, done: impl Fn() -> bool) -> Vec<Client> {
    let mut clients = connect(host, 40);
    assert_eq!(host.stats().group_connections(), [20, 20]);
    let mut at = 0;
    clients.retain(|_| {
        at += 1;
        at % 2 == 0
    });
    host.until_connected(20);
    assert!(host.stats().group_connections().contains(&0));
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let _at_the_end = stop.at_the_end();
        let stop = &stop;
        for (number, chunk) in clients.chunks_mut(5).enumerate() {
            scope.spawn(move || {
                let mut round = 0;
                while !stop.is_set() {
                    for (i, client) in chunk.iter_mut().enumerate() {
                        // A frame and a half, so that some of it waits in user space.
                        client.send(format!("{number} {i} {round}\n{number} {i}").as_bytes());
                    }
                    for (i, client) in chunk.iter_mut().enumerate() {
                        client.expect(format!("{number} {i} {round}\n").as_bytes());
                        client.send(b" half\n");
                        client.expect(format!("{number} {i} half\n").as_bytes());
                    }
                    round += 1;
                }
            });
        }
        until("it is done", done);
    });
    for client in &mut clients {
        client.send(b"after all\n");
        client.expect(b"after all\n");
    }
    clients
}

#[test]
fn connections_move_to_the_emptier_group_and_lose_nothing_on_the_way() {
    with_both_triggers(|mode| {
        let host = start(mode.builder().groups(2).rebalance(Rebalance::Margin { percent: 20 }));
        let _clients = with_traffic_in_one_group(&host, || {
            let stats = host.stats();
            let (one, two) = (stats.group_connections()[0], stats.group_connections()[1]);
            one.abs_diff(two) <= 4
        });
        let moved = host.count(Count::Migrations);
        assert!((8..40).contains(&moved), "{moved} moved");
        // The last of them may be on its way.
        until("all are in a group", || host.stats().group_connections().iter().sum::<usize>() == 20);
        assert_eq!(host.stats().closed_total(), 20);
    });
}

#[test]
fn connections_stay_where_they_were_dealt_unless_told_otherwise() {
    in_every_mode(|mode| {
        let host = start(mode.builder().groups(2));
        let _clients = with_traffic_in_one_group(&host, || host.count(Count::Turns) > 10_000);
        assert_eq!(host.count(Count::Migrations), 0);
        assert!(host.stats().group_connections().contains(&0));
    });
}
