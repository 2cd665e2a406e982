//! Clients that others have written get along with the codec: curl and Python's `http.client`.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
mod http_site;

use common::{Host, Mode, in_every_mode, pattern};
use http_site::serve;
use lf_core::codec::Http;
use lf_core::codec::http::Limits;
use lf_core::{Address, Count};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

fn big() -> Http {
    Http::new(Limits { body_bytes: 8_000_000, ..Limits::default() })
}

fn address(host: &Host) -> SocketAddr {
    match host.address() {
        Address::Tcp(address) => address,
        Address::Unix(_) | Address::Abstract(_) | Address::Inherited(_) => panic!("the site is on TCP"),
    }
}

/// Runs a client with that input; what it wrote, or `None` if it is not there.
fn run(program: &str, args: &[String], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    let command = command.args(args).env("no_proxy", "*").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: there is no {program}");
            return None;
        }
        Err(error) => panic!("{program}: {error}"),
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {:?}", String::from_utf8_lossy(&output.stdout));
    Some(output.stdout)
}

fn curl(host: &Host, args: &str, paths: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut all: Vec<String> = ["-q", "-s", "-S", "--max-time", "20"].iter().map(ToString::to_string).collect();
    all.extend(args.split_whitespace().map(str::to_owned));
    all.extend(paths.iter().map(|path| format!("http://{}{path}", address(host))));
    run("curl", &all, input)
}

fn assert_curl(mode: Mode, args: &str, paths: &[&str], input: &[u8], expected: &[u8]) -> Option<Host> {
    let (host, _) = serve(mode, big());
    let got = curl(&host, args, paths, input)?;
    assert!(got == expected, "curl {args} {paths:?}: {:?}", String::from_utf8_lossy(&got[..got.len().min(500)]));
    Some(host)
}

#[test]
fn curl_gets_several_pages_over_one_connection() {
    in_every_mode(|mode| {
        let paths = ["/hello", "/stream", "/status?v=204", "/hello"];
        let Some(host) = assert_curl(mode, "", &paths, b"", b"helloone two threehello") else { return };
        assert_eq!(host.count(Count::Accepted), 1);
    });
}

#[test]
fn curl_asks_for_heads_and_speaks_the_older_version() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, big());
        let Some(head) = curl(&host, "-I", &["/hello"], b"") else { return };
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nContent-Length: 5\r\n"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        assert_curl(mode, "--http1.0", &["/hello", "/stream"], b"", b"helloone two three");
    });
}

#[test]
fn curl_uploads_with_a_length_in_chunks_and_after_being_told_to_go_on() {
    let body = pattern(3_000_000);
    in_every_mode(|mode| {
        // From its standard input it uploads in chunks, and over a megabyte it waits to be told to go on.
        assert_curl(mode, "-T -", &["/accept"], &body, &body);
        assert_curl(mode, "-X POST --data-binary @-", &["/accept"], &body, &body);
        assert_curl(mode, "--data-binary @- -H Expect:", &["/echo"], &body, &body);
        assert_curl(mode, "--data-binary @- -H Transfer-Encoding:chunked", &["/accept"], &body, &body);
        assert_curl(mode, "--data-binary @- --http1.0", &["/echo"], &body, &body);
        let expect = "--data-binary @- -H Expect:100-continue --expect100-timeout 15";
        assert_curl(mode, expect, &["/accept"], b"small", b"small");
    });
}

#[test]
fn curl_reads_an_answer_that_comes_before_its_upload_is_through() {
    let body = pattern(3_000_000);
    in_every_mode(|mode| {
        assert_curl(mode, "--data-binary @- -H Expect:", &["/early"], &body, b"hello");
        assert_curl(mode, "--data-binary @- -H Expect:100-continue", &["/early"], &body, b"hello");
    });
}

const PYTHON: &str = r#"
import http.client, sys
c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20)
def ask(method, path, body=None, headers={}, **more):
    c.request(method, path, body, headers, **more)
    answer = c.getresponse()
    return answer, answer.read()
c.connect()
sock = c.sock
for i in range(50):
    answer, body = ask("GET", "/hello")
    assert (answer.status, answer.version, body) == (200, 11, b"hello"), (answer.status, body)
    answer, body = ask("HEAD", "/hello")
    assert (answer.status, answer.getheader("content-length"), body) == (200, "5", b""), body
    answer, body = ask("GET", "/stream")
    assert (answer.chunked, body) == (True, b"one two three"), body
    answer, body = ask("POST", "/echo", b"x" * 100_000)
    assert body == b"x" * 100_000
    answer, body = ask("PUT", "/echo", (b"piece %d " % n for n in range(100)), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    assert body == b"".join(b"piece %d " % n for n in range(100)), body
    answer, body = ask("GET", "/status?v=204")
    assert (answer.status, body) == (204, b"")
assert c.sock is sock, "the connection was lost"
answer, body = ask("GET", "/close")
assert answer.will_close and body == b"bye"
answer, body = ask("GET", "/panic")
assert answer.status == 500 and answer.will_close
answer, body = ask("POST", "/echo", headers={"Transfer-Encoding": "gzip"})
assert answer.status == 501, answer.status
print("fine", end="")
"#;

#[test]
fn python_keeps_one_connection_for_all_it_asks() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, big());
        let address = address(&host);
        let args = ["-c".to_owned(), PYTHON.to_owned(), address.ip().to_string(), address.port().to_string()];
        let Some(output) = run("python3", &args, b"") else { return };
        assert_eq!(String::from_utf8_lossy(&output), "fine");
    });
}
