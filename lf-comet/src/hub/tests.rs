use super::*;

fn hub() -> Hub {
    let names = Arc::new(Names::default());
    let options = HubOptions { history: HistoryLimits::default(), fanout: FanoutLimits::default(), disconnects: true };
    Hub::new(Arc::clone(&names), Subscriptions::in_memory(names), &options, Arc::default())
}

fn to(id: &str) -> Destination<'_> {
    Destination { id, direct: false }
}

/// Whether a message to `id` goes to a connection that does `meanwhile` while its recipients are looked up.
fn reaches(hub: &Hub, id: &str, login: Login, meanwhile: impl FnOnce()) -> bool {
    let _lookup = hub.stream.look_up();
    let before = hub.stream.events();
    let mut audience = hub.audience(hub.names.number(id), false);
    meanwhile();
    let stream = hub.stream.lock();
    hub.stream.since(&stream, before).unwrap().for_each(|event| hub.follow(*event, to(id), &mut audience));
    assert_eq!(audience.len(), usize::from(audience.contains(login)));
    audience.contains(login)
}

#[test]
fn a_connection_that_polls_for_somebody_else_meanwhile_is_not_mistaken() {
    let hub = hub();
    let login = Login { token: Token::from_bits(7), encoding: Encoding::Poll };
    let log_in = |ids: &[&str]| hub.login(ids, login.token, login.encoding, None).ids;
    let log_out = |ids: &[u32]| hub.logout(ids, login.token, login.encoding);
    let first = log_in(&["a"]);
    let mut second = Vec::new();
    assert!(!reaches(&hub, "a", login, || {
        log_out(&first);
        second = log_in(&["b"]);
    }));
    assert!(reaches(&hub, "a", login, || {
        log_out(&second);
        second = log_in(&["c", "a"]);
    }));
    assert!(reaches(&hub, "a", login, || ()));
    log_out(&second);
    assert!(hub.names.is_empty());
}

#[test]
fn a_hub_that_is_closed_takes_no_message() {
    let hub = hub();
    let publish = || hub.publish(to("a"), Arc::from(&b"x"[..]), None, &mut None);
    assert_eq!(publish(), Some(0));
    hub.close(Duration::ZERO);
    assert_eq!(publish(), None);
    assert_eq!(hub.stats().published.get(), 1);
}
