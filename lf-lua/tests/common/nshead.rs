//! An nshead client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What a header says, as it is on the wire.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) id: u16,
    pub(crate) version: u16,
    pub(crate) log_id: u32,
    pub(crate) provider: [u8; 16],
    pub(crate) magic: u32,
    pub(crate) reserved: u32,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(log_id: u32, body: &[u8]) -> Self {
        let provider = *b"test\0\0\0\0\0\0\0\0\0\0\0\0";
        Self { id: 1, version: 2, log_id, provider, magic: 0xfb70_9394, reserved: 0, body: body.to_vec() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.id.to_le_bytes());
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.log_id.to_le_bytes());
        bytes.extend(self.provider);
        bytes.extend(self.magic.to_le_bytes());
        bytes.extend(self.reserved.to_le_bytes());
        bytes.extend(u32::try_from(self.body.len()).unwrap().to_le_bytes());
        bytes.extend(&self.body);
        bytes
    }

    pub(crate) fn read(from: &mut impl Read) -> Self {
        let mut head = [0; 36];
        from.read_exact(&mut head).unwrap();
        let u16_at = |at: usize| u16::from_le_bytes(head[at..at + 2].try_into().unwrap());
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let mut body = vec![0; u32_at(32) as usize];
        from.read_exact(&mut body).unwrap();
        Self {
            id: u16_at(0),
            version: u16_at(2),
            log_id: u32_at(4),
            provider: head[8..24].try_into().unwrap(),
            magic: u32_at(24),
            reserved: u32_at(28),
            body,
        }
    }

    pub(crate) fn provider_text(&self) -> String {
        String::from_utf8_lossy(&self.provider).trim_end_matches('\0').to_owned()
    }
}

/// A connection.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, frame: &Frame) {
        self.0.write_all(&frame.bytes()).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Frame {
        Frame::read(&mut self.0)
    }

    pub(crate) fn call(&mut self, frame: &Frame) -> Frame {
        self.send(frame);
        self.receive()
    }
}
