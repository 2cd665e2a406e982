//! What a request tells when it is asked, without sockets.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

use lf_core::codec::http::{Incoming, Request, State};
use lf_core::codec::{Codec, Decoded, Http};

/// Asks the request whose head this is.
fn with_request<R>(head: &str, ask: impl FnOnce(&Request<'_>) -> R) -> R {
    let head = head.replace('\n', "\r\n");
    match Http::default().decode(&mut State::default(), head.as_bytes(), 0) {
        Ok(Decoded::Frame { frame: Incoming::Request(request), .. }) => ask(&request),
        other => panic!("{head:?}: {other:?}"),
    }
}

fn with_target<R>(target: &str, ask: impl FnOnce(&Request<'_>) -> R) -> R {
    with_request(&format!("GET {target} HTTP/1.1\nHost: a\n\n"), ask)
}

#[test]
fn a_path_is_what_stands_before_the_first_question_mark() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/a/b", "/a/b", None),
        ("/a?", "/a", Some("")),
        ("/a?b?c", "/a", Some("b?c")),
        ("//a", "//a", None),
        ("/%2e%2e/", "/%2e%2e/", None),
        ("http://h", "/", None),
        ("http://h/", "/", None),
        ("https://h:1/a/b?c", "/a/b", Some("c")),
        ("http://h?c/d", "/", Some("c/d")),
        ("http://[::1]:80/a", "/a", None),
    ] {
        with_target(target, |request| {
            assert_eq!((request.path(), request.query()), (path, query), "{target}");
            assert_eq!(request.target(), target);
        });
    }
}

#[test]
fn values_of_a_query_are_found_by_name_and_decoded() {
    with_target("/?a=1&b=%41%2Bc+d&a=2&c&=e&%64=f&g=%ff&h=%4&i=x=y", |request| {
        let value = |name| request.query_value(name);
        assert_eq!(value("a").as_deref(), Some("1"));
        assert_eq!(value("b").as_deref(), Some("A+c+d"));
        assert_eq!(value("c").as_deref(), Some(""));
        assert_eq!(value("").as_deref(), Some("e"));
        assert_eq!(value("d").as_deref(), Some("f"));
        assert_eq!(value("g"), None, "it is not UTF-8");
        assert_eq!(value("h").as_deref(), Some("%4"));
        assert_eq!(value("i").as_deref(), Some("x=y"));
        assert_eq!(value("A"), None, "names are case-sensitive");
    });
    with_target("/a=b", |request| assert_eq!(request.query_value("a"), None));
}

#[test]
fn fields_are_found_by_name_in_any_case_and_order() {
    let head = "GET / HTTP/1.1\nAccept: a, b\nHOST: h\nX-Raw: \u{e9}\naccept:c\nX-Empty: \n\n";
    with_request(head, |request| {
        assert_eq!(request.header("accept"), Some("a, b"));
        assert_eq!(request.headers("ACCEPT").collect::<Vec<_>>(), [&b"a, b"[..], b"c"]);
        assert_eq!(request.header("x-empty"), Some(""));
        assert_eq!((request.header("accep"), request.header("accept:"), request.header("")), (None, None, None));
        assert_eq!(request.header("X-Raw"), Some("\u{e9}"));
        assert!(request.header_has("Accept", "B") && request.header_has("Accept", "c"));
        assert!(!request.header_has("Accept", "a, b") && !request.header_has("Cookie", ""));
        let names: Vec<_> = request.fields().map(|(name, _)| name).collect();
        assert_eq!(names, ["Accept", "HOST", "X-Raw", "accept", "X-Empty"]);
        assert_eq!(request.host(), "h");
    });
}

#[test]
fn cookies_are_found_by_name_in_all_their_fields() {
    let head = "GET / HTTP/1.1\nHost: h\nCookie: a=1; bb=2 ;c=\"3\";d==4; empty=\ncookie: e=5; a=6\n\n";
    with_request(head, |request| {
        for (name, value) in [("a", "1"), ("bb", "2"), ("c", "3"), ("d", "=4"), ("empty", ""), ("e", "5")] {
            assert_eq!(request.cookie(name), Some(value), "{name}");
        }
        assert_eq!((request.cookie("b"), request.cookie("A"), request.cookie("a=1")), (None, None, None));
    });
}

#[test]
fn a_request_tells_whether_a_body_follows() {
    let ask = |lines: &str| {
        with_request(&format!("POST / HTTP/1.1\nHost: h\n{lines}\n"), |request| {
            (request.has_body(), request.content_length(), request.expects_continue())
        })
    };
    assert_eq!(ask(""), (false, None, false));
    assert_eq!(ask("Expect: 100-continue\n"), (false, None, false));
    assert_eq!(ask("Content-Length: 0\nExpect: 100-continue\n"), (false, Some(0), false));
    assert_eq!(ask("Content-Length: 007\nExpect: 100-continue\n"), (true, Some(7), true));
    assert_eq!(ask("Transfer-Encoding: chunked\n"), (true, None, false));
}
