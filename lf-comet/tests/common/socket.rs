//! A WebSocket client that shows every frame.

use super::wire::Wire;
use std::net::SocketAddr;

/// The example of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// What asks for an upgrade, as lines of a header.
pub(crate) fn upgrade_fields() -> String {
    format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n")
}

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) wire: Wire,
}

impl Socket {
    pub(crate) fn open(to: SocketAddr, target: &str) -> Self {
        Self::on(Wire::connect(to), target, "")
    }

    /// Upgrades a connection; `fields` are more lines of the header.
    #[track_caller]
    pub(crate) fn on(mut wire: Wire, target: &str, fields: &str) -> Self {
        wire.ask("GET", target, "1.1", &(upgrade_fields() + fields));
        let head = wire.head();
        assert_eq!(head.status(), 101, "{}", head.0);
        assert_eq!(head.field("sec-websocket-accept"), Some(ACCEPT));
        Self { wire }
    }

    /// The next frame: its kind and payload. None of the server's is in pieces or masked.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        let [first, length] = self.wire.bytes(2).try_into().unwrap();
        assert_eq!(first & 0xf0, 0x80, "a whole frame without extensions");
        let length = match length {
            126 => usize::from(u16::from_be_bytes(self.wire.bytes(2).try_into().unwrap())),
            127 => usize::try_from(u64::from_be_bytes(self.wire.bytes(8).try_into().unwrap())).unwrap(),
            length => usize::from(length),
        };
        (first & 0xf, self.wire.bytes(length))
    }

    /// Sends a short frame, masked.
    pub(crate) fn say(&mut self, kind: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        assert!(length < 126, "a short frame");
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut frame = vec![0x80 | kind, 0x80 | length];
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.wire.say(frame);
    }

    /// The next frame that is no ping; pings are answered on the way.
    #[track_caller]
    pub(crate) fn message(&mut self) -> (u8, Vec<u8>) {
        loop {
            let (kind, payload) = self.frame();
            if kind != PING {
                return (kind, payload);
            }
            self.say(PONG, &payload);
        }
    }
}

/// A close frame's payload.
pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}
