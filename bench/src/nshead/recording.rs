//! Captured requests: a file of whole frames, one after the other.

use super::BODY_BYTES_MAX;
use crate::wire::nshead::{HEADER_BYTES, Header, wrong_magic};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A file of frames, checked and in memory.
#[derive(Debug)]
pub(crate) struct Recording {
    bytes: Vec<u8>,
    frames: Vec<Recorded>,
}

/// Where a frame lies, and whose it is.
#[derive(Clone, Debug)]
struct Recorded {
    at: Range<usize>,
    log_id: u32,
}

impl Recording {
    /// # Errors
    /// If the file cannot be read, has no frame, or one that is damaged; the offset of that is named.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("--replay {}: cannot be read", path.display()))?;
        Recording::of(bytes).with_context(|| format!("--replay {}", path.display()))
    }

    fn of(bytes: Vec<u8>) -> Result<Self> {
        let mut frames = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let (header, end) =
                frame_at(&bytes, at).with_context(|| format!("frame {} at offset {at}", frames.len() + 1))?;
            frames.push(Recorded { at: at..end, log_id: header.log_id });
            at = end;
        }
        if frames.is_empty() {
            bail!("no frame in it; a file that --capture has written has some");
        }
        Ok(Recording { bytes, frames })
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// The frame of this number, and its `log_id`.
    pub(crate) fn frame(&self, number: usize) -> (&[u8], u32) {
        let Recorded { at, log_id } = &self.frames[number];
        (&self.bytes[at.clone()], *log_id)
    }

    /// The body of the frame of this number.
    pub(crate) fn body(&self, number: usize) -> &[u8] {
        &self.frame(number).0[HEADER_BYTES..]
    }
}

/// The header of the frame that begins there, and where the frame ends.
fn frame_at(bytes: &[u8], at: usize) -> Result<(Header, usize)> {
    let rest = &bytes[at..];
    let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else {
        bail!("{} bytes are left, a header has {HEADER_BYTES}: the file is cut off", rest.len());
    };
    let header = match Header::parse(header) {
        Ok(header) => header,
        Err(found) => bail!("{}: not nshead, or damaged before here", wrong_magic(found)),
    };
    let length = header.body_len as usize;
    if length > BODY_BYTES_MAX {
        bail!("a body of {length} bytes, more than {BODY_BYTES_MAX}: damaged");
    }
    if length > rest.len() {
        bail!("a body of {length} bytes is declared and {} are left: the file is cut off", rest.len());
    }
    Ok((header, at + HEADER_BYTES + length))
}

/// A file that takes every request which is made.
pub(crate) struct Capture {
    path: PathBuf,
    file: Mutex<Result<BufWriter<File>, io::Error>>,
}

impl Capture {
    /// # Errors
    /// If the file cannot be made.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("--capture {}: cannot be written", path.display()))?;
        Ok(Capture { path: path.to_path_buf(), file: Mutex::new(Ok(BufWriter::new(file))) })
    }

    /// Takes a frame. The first error ends the capture; [`Capture::finish`] tells of it.
    pub(crate) fn write(&self, frame: &[u8]) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(writer) = &mut *file
            && let Err(error) = writer.write_all(frame)
        {
            *file = Err(error);
        }
    }

    /// # Errors
    /// If a frame could not be written.
    pub(crate) fn finish(&self) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = match &mut *file {
            Ok(writer) => writer.flush(),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        flushed.with_context(|| format!("--capture {}: is not complete", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(log_id: u32, body: &[u8]) -> Vec<u8> {
        let body_len = u32::try_from(body.len()).unwrap();
        let mut bytes = Header { log_id, body_len, ..Header::default() }.to_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    fn error_of(bytes: Vec<u8>) -> String {
        format!("{:#}", Recording::of(bytes).unwrap_err())
    }

    #[test]
    fn frames_are_found_one_after_the_other() {
        let recording = Recording::of([frame(7, b"hello"), frame(8, b""), frame(9, b"x")].concat()).unwrap();
        assert_eq!(recording.len(), 3);
        assert_eq!(recording.frame(0), (&frame(7, b"hello")[..], 7));
        assert_eq!((recording.body(1), recording.body(2)), (&b""[..], &b"x"[..]));
    }

    #[test]
    fn a_bad_frame_is_named_by_its_number_its_offset_and_its_fault() {
        let sound = frame(1, b"hello");
        let mut spoilt = frame(2, b"x");
        spoilt[25] = 0;
        let error = error_of([&sound[..], &spoilt].concat());
        assert!(error.starts_with("frame 2 at offset 41: the magic number is 0xfb700094"), "{error}");
        let error = error_of([&sound[..], &sound[..20]].concat());
        assert!(error.contains("frame 2 at offset 41: 20 bytes are left"), "{error}");
        let error = error_of([&sound[..], &sound[..39]].concat());
        assert!(error.contains("a body of 5 bytes is declared and 3 are left"), "{error}");
        let mut huge = frame(3, b"");
        huge[35] = 0xff;
        assert!(error_of(huge).contains("more than 67108864"));
        assert!(error_of(Vec::new()).contains("no frame"));
    }
}
