//! What must hold whatever bytes come. The fuzz targets call it, and so do tests of lf-core: those on kept inputs, and those
//! that look at a codec by itself.
#![allow(dead_code, reason = "every target and every test uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

pub(crate) mod chunked;
pub(crate) mod http;
pub(crate) mod request;
pub(crate) mod websocket;

/// Cuts `input` into pieces of these sizes, over and over; a 0 stands for all the rest.
fn pieces<'a>(mut input: &'a [u8], sizes: &[u8]) -> Vec<&'a [u8]> {
    let mut sizes = sizes.iter().map(|size| usize::from(*size)).cycle();
    let mut pieces = Vec::new();
    while !input.is_empty() {
        let (piece, rest) = match sizes.next() {
            Some(size @ 1..) if size < input.len() => input.split_at(size),
            Some(_) | None => (input, &[][..]),
        };
        pieces.push(piece);
        input = rest;
    }
    pieces
}
