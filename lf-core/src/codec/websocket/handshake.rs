//! The opening handshake (RFC 6455, section 4.2): what a request must say, and the key that answers it.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest, Sha1};
use std::fmt;

/// What every server appends to the key (section 1.3), so that an answer shows that it was meant.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only version that was ever standardised.
const VERSION: &[u8] = b"13";

/// Bytes of a key before base64.
const KEY_BYTES: usize = 16;

/// Some clients make up the characters of their keys, and leave bits in the last one that mean nothing.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The value of `Sec-WebSocket-Accept`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AcceptKey([u8; 28]);

impl AcceptKey {
    /// As it stands in the header.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for AcceptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for AcceptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AcceptKey({self})")
    }
}

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Another method.
    #[error("a WebSocket is asked for with GET")]
    Method,
    /// HTTP/1.0.
    #[error("a WebSocket needs HTTP/1.1")]
    HttpVersion,
    /// A request that asks for no WebSocket.
    #[error("here is a WebSocket only: `Upgrade: websocket` and `Connection: Upgrade` are missing")]
    NoUpgrade,
    /// Another version of the protocol, or none.
    #[error("this server speaks version 13 of the WebSocket protocol")]
    Version,
    /// No key, several, or one that is not base64 of 16 bytes.
    #[error("`Sec-WebSocket-Key` must be the base64 of 16 bytes, once")]
    Key,
}

impl HandshakeError {
    /// The HTTP status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::NoUpgrade | Self::Version => 426,
            Self::HttpVersion | Self::Key => 400,
        }
    }

    /// Headers that the answer must have.
    #[must_use]
    pub const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Method => &[("Allow", "GET")],
            Self::NoUpgrade | Self::Version => {
                &[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
            }
            Self::HttpVersion | Self::Key => &[],
        }
    }
}

/// The answer to a key; `None` if it is not base64 of 16 bytes.
#[must_use]
pub fn accept_key(sec_websocket_key: &[u8]) -> Option<AcceptKey> {
    // The decoder wants room for 3 bytes per 4 characters.
    let mut key = [0; 18];
    if BASE64.decode_slice(sec_websocket_key, &mut key).ok()? != KEY_BYTES {
        return None;
    }
    let hash = Sha1::new().chain_update(sec_websocket_key).chain_update(GUID).finalize();
    let mut accept = [0; 28];
    BASE64.encode_slice(hash, &mut accept).ok()?;
    Some(AcceptKey(accept))
}

/// Looks whether a request of HTTP/1.`version_minor` becomes a WebSocket. `header` gives the values of all the headers with
/// a name, which is asked for in lower case. `Host`, `Origin` and who may come at all are the caller's business.
///
/// # Errors
/// If it does not; the error says with which status and headers to answer.
pub fn check_handshake<'h, I>(
    method: &str,
    version_minor: u8,
    header: impl Fn(&str) -> I,
) -> Result<AcceptKey, HandshakeError>
where
    I: IntoIterator<Item = &'h [u8]>,
{
    if method != "GET" {
        return Err(HandshakeError::Method);
    }
    if version_minor < 1 {
        return Err(HandshakeError::HttpVersion);
    }
    let has = |name, token: &[u8]| tokens(header(name)).any(|found| found.eq_ignore_ascii_case(token));
    if !has("upgrade", b"websocket") || !has("connection", b"upgrade") {
        return Err(HandshakeError::NoUpgrade);
    }
    if only(header("sec-websocket-version")) != Some(VERSION) {
        return Err(HandshakeError::Version);
    }
    only(header("sec-websocket-key")).and_then(accept_key).ok_or(HandshakeError::Key)
}

/// The first subprotocol of those that the client offers, in the values of `Sec-WebSocket-Protocol`, that is `supported`: the
/// client lists them in the order of its preference. With `None` the answer has no such header.
#[must_use]
pub fn choose_subprotocol<'h, 's>(
    offered: impl IntoIterator<Item = &'h [u8]>,
    supported: &[&'s str],
) -> Option<&'s str> {
    tokens(offered).find_map(|token| supported.iter().find(|name| name.as_bytes() == token)).copied()
}

/// The members of a list that may be spread over several headers.
fn tokens<'h>(values: impl IntoIterator<Item = &'h [u8]>) -> impl Iterator<Item = &'h [u8]> {
    values.into_iter().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// The value of a header that may come once.
fn only<'h>(values: impl IntoIterator<Item = &'h [u8]>) -> Option<&'h [u8]> {
    let mut values = values.into_iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_has_the_answer_of_the_rfc() {
        let accept = accept_key(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(accept.as_bytes(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(
            format!("{accept} {accept:?}"),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo= AcceptKey(s3pPLMBiTxaQ9kYGzzhZRbK+xOo=)"
        );
        assert!(accept_key(b"dGhlIHNhbXBsZSBub25jZf==").is_some(), "bits that mean nothing do no harm");
        let long = "A".repeat(1000);
        for key in ["", "AA==", "SGVsbG8sIHdvcmxkIQ==", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ==A", &long] {
            assert_eq!(accept_key(key.as_bytes()), None, "{key}");
        }
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25j\xff\xff=="), None);
    }

    /// The answer to a request with these headers.
    fn handshake(method: &str, minor: u8, headers: &[(&str, &str)]) -> Result<String, HandshakeError> {
        let find = |name: &str| -> Vec<&[u8]> {
            headers.iter().filter(|(found, _)| *found == name).map(|(_, value)| value.as_bytes()).collect()
        };
        check_handshake(method, minor, find).map(|accept| accept.to_string())
    }

    #[test]
    fn a_handshake_needs_all_its_headers_in_any_case_and_order() {
        let good = [
            ("connection", "keep-alive, UPGRADE"),
            ("sec-websocket-version", " 13 "),
            ("upgrade", "h2c"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(handshake("GET", 1, &good).as_deref(), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));

        let with = |name: &str, value: &'static str| {
            let mut headers = good.to_vec();
            headers.retain(|(found, _)| *found != name);
            headers.extend(good.iter().find(|(found, _)| *found == name).map(|(name, _)| (*name, value)));
            handshake("GET", 1, &headers).unwrap_err()
        };
        assert_eq!(handshake("POST", 1, &good), Err(HandshakeError::Method));
        assert_eq!(handshake("get", 1, &good), Err(HandshakeError::Method));
        assert_eq!(handshake("GET", 0, &good), Err(HandshakeError::HttpVersion));
        assert_eq!(with("upgrade", "websockets"), HandshakeError::NoUpgrade);
        assert_eq!(with("connection", "keep-alive"), HandshakeError::NoUpgrade);
        assert_eq!(with("sec-websocket-version", "8"), HandshakeError::Version);
        assert_eq!(with("sec-websocket-version", "13, 8"), HandshakeError::Version);
        assert_eq!(with("sec-websocket-key", "short"), HandshakeError::Key);
        for (without, expected) in [
            ("upgrade", HandshakeError::NoUpgrade),
            ("connection", HandshakeError::NoUpgrade),
            ("sec-websocket-version", HandshakeError::Version),
            ("sec-websocket-key", HandshakeError::Key),
        ] {
            let rest: Vec<_> = good.into_iter().filter(|(name, _)| *name != without).collect();
            assert_eq!(handshake("GET", 1, &rest), Err(expected), "without {without}");
        }
        let twice = [&good[..], &good[5..]].concat();
        assert_eq!(handshake("GET", 1, &twice), Err(HandshakeError::Key));
    }

    #[test]
    fn a_refused_handshake_names_status_and_remedy() {
        let names = |error: HandshakeError| error.headers().iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert_eq!(HandshakeError::Version.status(), 426);
        assert!(HandshakeError::Version.headers().contains(&("Sec-WebSocket-Version", "13")));
        assert_eq!(HandshakeError::NoUpgrade.status(), 426);
        assert!(HandshakeError::NoUpgrade.headers().contains(&("Upgrade", "websocket")));
        assert_eq!((HandshakeError::Method.status(), names(HandshakeError::Method)), (405, vec!["Allow"]));
        assert_eq!((HandshakeError::Key.status(), names(HandshakeError::Key)), (400, vec![]));
        assert_eq!(HandshakeError::HttpVersion.status(), 400);
    }

    #[test]
    fn the_first_subprotocol_of_the_client_that_the_server_knows_is_chosen() {
        let offered: [&[u8]; 2] = [b"soap, chat.v2", b"chat.v1 ,x"];
        assert_eq!(choose_subprotocol(offered, &["chat.v1", "chat.v2"]), Some("chat.v2"));
        assert_eq!(choose_subprotocol(offered, &["x"]), Some("x"));
        assert_eq!(choose_subprotocol(offered, &["SOAP", "chat"]), None);
        assert_eq!(choose_subprotocol(Vec::<&[u8]>::new(), &["x"]), None);
    }
}
