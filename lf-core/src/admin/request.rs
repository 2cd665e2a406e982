//! Requests of the admin pages: a head without a body, one to a connection.

use crate::codec::{Codec, Decoded, FrameError};

/// A head at most, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header fields at most.
const FIELDS_MAX: usize = 64;

pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
}

pub(crate) struct Get;

impl Codec for Get {
    type Frame<'a> = Request<'a>;
    type State = ();

    fn decode<'a>(&self, (): &mut (), input: &'a [u8], _examined: usize) -> Result<Decoded<Request<'a>>, FrameError> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(input) {
            Ok(httparse::Status::Complete(consumed)) => {
                let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
                Ok(Decoded::Frame { frame: Request { method, target }, consumed })
            }
            Ok(httparse::Status::Partial) if input.len() >= HEAD_BYTES_MAX => {
                Err(FrameError::TooLarge { bytes: input.len() as u64, limit: HEAD_BYTES_MAX })
            }
            Ok(httparse::Status::Partial) => Ok(Decoded::Partial { examined: 0, needed: input.len() + 1 }),
            Err(_) => Err(FrameError::Malformed("not an HTTP/1.1 request")),
        }
    }

    fn encode(&self, _frame: Request<'_>, _out: &mut Vec<u8>) -> Result<(), FrameError> {
        Err(FrameError::Unwritable("the admin pages send no requests"))
    }
}
