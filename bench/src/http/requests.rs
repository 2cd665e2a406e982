//! What is asked, byte for byte, and what every answer must be.

use crate::cli::HttpArgs;
use crate::load::{Fault, Target};
use crate::random::Random;
use anyhow::{Context, Result, bail};
use memchr::memmem::Finder;
use std::fs;
use std::path::Path;

/// Each path keeps latencies of its own.
const PATHS_MAX: usize = 64;
/// A body that is sent; it stands in memory once for each path.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A path with its whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) weight: u32,
    bytes: Vec<u8>,
}

/// What an answer must be.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    status: Option<u16>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Any,
    Contains(Box<Finder<'static>>),
    Is(Vec<u8>),
}

/// All requests of a run.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    pub(crate) method: String,
    pub(crate) pages: Vec<Page>,
    pub(crate) body_bytes: usize,
    pub(crate) expected: Expected,
    weights: u32,
}

impl Requests {
    /// # Errors
    /// If an option makes no sense as HTTP, or a file cannot be read.
    pub(crate) fn of(args: &HttpArgs) -> Result<Self> {
        let body = match (args.body, args.body_file.as_deref()) {
            (Some(bytes), _) if bytes > BODY_BYTES_MAX => bail!("--body {bytes}: at most {BODY_BYTES_MAX} bytes"),
            (Some(bytes), _) => Some(vec![b'x'; bytes]),
            (None, Some(path)) => Some(read("--body-file", path)?),
            (None, None) => None,
        };
        let method = args.method.clone().unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
        if !is_token(&method) {
            bail!("--method {method:?}: no method; give a word, as in GET");
        }
        let headers = headers_of(args, body.as_deref())?;
        let default = ["/".to_owned()];
        let given = if args.paths.is_empty() { &default[..] } else { &args.paths };
        if given.len() > PATHS_MAX {
            bail!("--path: {} of them; at most {PATHS_MAX}", given.len());
        }
        let page = |text: &String| -> Result<Page> {
            let (weight, path) = weighted(text)?;
            let mut bytes = format!("{method} {path} HTTP/1.1\r\n{headers}\r\n").into_bytes();
            bytes.extend_from_slice(body.as_deref().unwrap_or_default());
            Ok(Page { path: path.to_owned(), weight, bytes })
        };
        let pages = given.iter().map(page).collect::<Result<Vec<Page>>>()?;
        let weights = pages.iter().try_fold(0_u32, |sum, page| sum.checked_add(page.weight));
        let weights =
            weights.filter(|sum| *sum > 0).context("--path: the weights add up to nothing, or to too much")?;
        let body_bytes = body.map_or(0, |body| body.len());
        Ok(Requests { method, pages, body_bytes, expected: Expected::of(args)?, weights })
    }

    /// `GET` of pages by their weights, each of which must say `body`.
    pub(crate) fn get(pages: &[(u32, &str)], body: &str) -> Self {
        let page = |(weight, path): &(u32, &str)| Page {
            path: (*path).to_owned(),
            weight: *weight,
            bytes: format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes(),
        };
        Requests {
            method: "GET".to_owned(),
            pages: pages.iter().map(page).collect(),
            body_bytes: 0,
            expected: Expected { status: Some(200), body: Body::Is(body.as_bytes().to_vec()) },
            weights: pages.iter().map(|(weight, _)| weight).sum(),
        }
    }

    /// Which page is asked for next.
    pub(crate) fn choose(&self, random: &mut Random) -> usize {
        if self.pages.len() == 1 {
            return 0;
        }
        let mut left = random.below(self.weights);
        let chosen = self.pages.iter().position(|page| {
            let is_here = left < page.weight;
            left = left.saturating_sub(page.weight);
            is_here
        });
        chosen.unwrap_or(0)
    }

    pub(crate) fn bytes(&self, page: usize) -> &[u8] {
        &self.pages[page].bytes
    }

    /// Whether answers have no bodies.
    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

impl Expected {
    fn of(args: &HttpArgs) -> Result<Self> {
        let body = match (&args.expect_contains, &args.expect_body, args.expect_body_file.as_deref()) {
            (Some(text), _, _) => Body::Contains(Box::new(Finder::new(text).into_owned())),
            (_, Some(text), _) => Body::Is(text.clone().into_bytes()),
            (_, _, Some(path)) => Body::Is(read("--expect-body-file", path)?),
            (None, None, None) => Body::Any,
        };
        Ok(Expected { status: args.expect_status, body })
    }

    /// What is wrong with an answer, if anything is.
    pub(crate) fn fault(&self, status: u16, body: &[u8]) -> Option<Fault> {
        if !self.status.map_or((200..400).contains(&status), |expected| status == expected) {
            return Some(Fault::Status);
        }
        let is_right = match &self.body {
            Body::Any => true,
            Body::Contains(finder) => finder.find(body).is_some(),
            Body::Is(expected) => body == expected,
        };
        (!is_right).then_some(Fault::Mismatch)
    }
}

/// The lines of the head, with those that nobody gave and every request needs.
fn headers_of(args: &HttpArgs, body: Option<&[u8]>) -> Result<String> {
    let mut lines = String::new();
    for header in &args.headers {
        match header.split_once(':') {
            Some((name, value)) if is_token(name) && !value.contains(['\r', '\n', '\0']) => {
                lines.push_str(&format!("{name}: {}\r\n", value.trim()));
            }
            _ => bail!("--header {header:?}: no header; give NAME: VALUE"),
        }
    }
    let is_given = |wanted: &str| {
        args.headers
            .iter()
            .any(|header| header.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case(wanted)))
    };
    if is_given("content-length") || is_given("transfer-encoding") {
        bail!("--header: the length of a body is told by --body or --body-file");
    }
    if !is_given("host") {
        let host = match &args.target {
            Target::Tcp(address) => address.to_string(),
            Target::Unix(_) => "localhost".to_owned(),
        };
        lines.insert_str(0, &format!("Host: {host}\r\n"));
    }
    if let Some(body) = body {
        lines.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    if args.short && !is_given("connection") {
        lines.push_str("Connection: close\r\n");
    }
    Ok(lines)
}

/// `9:/hello`, or `/hello` with a weight of 1.
fn weighted(text: &str) -> Result<(u32, &str)> {
    let (weight, path) = match text.split_once(':') {
        Some((weight, path)) if !text.starts_with('/') => (weight.parse().ok(), path),
        _ => (Some(1), text),
    };
    match weight {
        Some(weight) if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) => Ok((weight, path)),
        _ => bail!("--path {text:?}: give PATH or WEIGHT:PATH, as in /hello or 9:/hello, without blanks"),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("{option} {}: cannot be read", path.display()))?;
    if bytes.len() > BODY_BYTES_MAX {
        bail!("{option} {}: {} bytes, at most {BODY_BYTES_MAX}", path.display(), bytes.len());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn requests(options: &[&str]) -> Result<Requests> {
        let Cli { command: Some(Command::Http(args)), .. } =
            Cli::parse_from([&["lf-bench", "http", "--target", "127.0.0.1:80"], options].concat())
        else {
            panic!("http is a command")
        };
        Requests::of(&args)
    }

    fn text(options: &[&str]) -> String {
        String::from_utf8(requests(options).unwrap().bytes(0).to_vec()).unwrap()
    }

    #[test]
    fn a_request_has_what_http_wants_and_what_was_given() {
        assert_eq!(text(&[]), "GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n");
        assert_eq!(
            text(&["--path", "/a?b=1:2", "-H", "host:x", "-H", "Accept:  y ", "--short"]),
            "GET /a?b=1:2 HTTP/1.1\r\nhost: x\r\nAccept: y\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(text(&["--body", "3"]), "POST / HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Length: 3\r\n\r\nxxx");
        assert!(text(&["--method", "PUT", "--body", "0"]).starts_with("PUT / "));
    }

    #[test]
    fn what_is_no_http_is_refused_and_named() {
        for options in [
            &["--path", "hello"][..],
            &["--path", "9:hello"],
            &["--path", "x:/hello"],
            &["--path", "/a b"],
            &["--path", "0:/"],
            &["--header", "no colon"],
            &["--header", "a b: c"],
            &["--header", "Content-Length: 7"],
            &["--method", "GET /"],
            &["--body-file", "/nonexistent/file"],
        ] {
            let error = format!("{:#}", requests(options).unwrap_err());
            assert!(error.contains(options[0]), "{options:?}: {error}");
        }
    }

    #[test]
    fn paths_are_chosen_by_their_weights() {
        let requests = requests(&["--path", "90:/a", "--path", "10:/b", "--path", "0:/c"]).unwrap();
        let (mut random, mut chosen) = (Random::new(1), [0_u32; 3]);
        (0..10_000).for_each(|_| chosen[requests.choose(&mut random)] += 1);
        assert!((8800..9200).contains(&chosen[0]) && chosen[2] == 0, "{chosen:?}");
        assert_eq!(requests.pages.iter().map(|page| page.path.as_str()).collect::<Vec<&str>>(), ["/a", "/b", "/c"]);
    }

    #[test]
    fn an_answer_is_judged_by_its_status_and_its_body() {
        let fault =
            |options: &[&str], status, body: &str| requests(options).unwrap().expected.fault(status, body.as_bytes());
        assert_eq!((fault(&[], 204, ""), fault(&[], 404, "")), (None, Some(Fault::Status)));
        assert_eq!(fault(&["--expect-status", "404"], 404, "gone"), None);
        assert_eq!(fault(&["--expect-contains", "lo"], 200, "hello"), None);
        assert_eq!(fault(&["--expect-contains", "ol"], 200, "hello"), Some(Fault::Mismatch));
        assert_eq!(fault(&["--expect-body", "hello"], 200, "hello"), None);
        assert_eq!(fault(&["--expect-body", "hello"], 200, "hello "), Some(Fault::Mismatch));
    }
}
