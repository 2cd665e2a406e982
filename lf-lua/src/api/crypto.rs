//! Digests, encodings and random bytes: `lf.md5` and its kin, `lf.base64`, `lf.hex`, `lf.escape_uri`, `lf.uuid`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use mlua::{BorrowedBytes, Lua, Table};
use sha1::Sha1;
use sha2::Sha256;

/// Random bytes of one call.
const RANDOM_BYTES_MAX: usize = 1 << 20;

/// Takes base64 of both alphabets' own kind with or without padding.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Puts digests, encodings and random bytes into `lf`.
///
/// # Errors
///
/// If the VM has no memory left.
pub fn install(lua: &Lua, lf: &Table) -> mlua::Result<()> {
    install_base64(lua, lf)?;
    install_digests(lua, lf)?;
    install_hex(lua, lf)?;
    lf.set(
        "random_bytes",
        lua.create_function(|lua, count: usize| {
            if count > RANDOM_BYTES_MAX {
                return Ok(Err(format!("{count} random bytes at once; at most {RANDOM_BYTES_MAX} are given")));
            }
            let mut bytes = vec![0; count];
            Ok(match getrandom::fill(&mut bytes) {
                Ok(()) => Ok(lua.create_string(&bytes)?),
                Err(error) => Err(format!("no random bytes: {error}")),
            })
        })?,
    )?;
    lf.set("uuid", lua.create_function(|_, ()| Ok(uuid().map_err(|error| format!("no random bytes: {error}"))))?)
}

fn install_base64(lua: &Lua, lf: &Table) -> mlua::Result<()> {
    let base64 = lua.create_table()?;
    base64.set("encode", lua.create_function(|_, bytes: BorrowedBytes| Ok(STANDARD.encode(bytes)))?)?;
    base64.set("encode_url", lua.create_function(|_, bytes: BorrowedBytes| Ok(URL_SAFE_NO_PAD.encode(bytes)))?)?;
    for (name, engine) in [("decode", STANDARD), ("decode_url", URL_SAFE)] {
        let decode = move |lua: &Lua, text: BorrowedBytes| {
            Ok(match engine.decode(text) {
                Ok(bytes) => Ok(lua.create_string(bytes)?),
                Err(error) => Err(format!("not base64: {error}")),
            })
        };
        base64.set(name, lua.create_function(decode)?)?;
    }
    lf.set("base64", base64)
}

/// A digest, or an authentication code under a key.
#[derive(Clone, Copy)]
enum Algorithm {
    Md5,
    Sha1,
    Sha256,
}

impl Algorithm {
    const ALL: [(&'static str, Self); 3] = [("md5", Self::Md5), ("sha1", Self::Sha1), ("sha256", Self::Sha256)];

    fn named(name: &[u8]) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(known, _)| known.as_bytes() == name);
        found.map(|(_, algorithm)| algorithm).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            format!("no algorithm '{name}'; there are md5, sha1 and sha256")
        })
    }

    /// Calls `with` with the digest of `bytes`.
    fn digest<T>(self, bytes: &[u8], with: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Md5 => with(&Md5::digest(bytes)),
            Self::Sha1 => with(&Sha1::digest(bytes)),
            Self::Sha256 => with(&Sha256::digest(bytes)),
        }
    }

    /// Calls `with` with the authentication code (RFC 2104) of `bytes`.
    fn authenticate<T>(self, key: &[u8], bytes: &[u8], with: impl FnOnce(&[u8]) -> T) -> Option<T> {
        Some(match self {
            Self::Md5 => with(&Hmac::<Md5>::new_from_slice(key).ok()?.chain_update(bytes).finalize().into_bytes()),
            Self::Sha1 => with(&Hmac::<Sha1>::new_from_slice(key).ok()?.chain_update(bytes).finalize().into_bytes()),
            Self::Sha256 => {
                with(&Hmac::<Sha256>::new_from_slice(key).ok()?.chain_update(bytes).finalize().into_bytes())
            }
        })
    }
}

fn install_digests(lua: &Lua, lf: &Table) -> mlua::Result<()> {
    for (name, algorithm) in Algorithm::ALL {
        let in_hex = move |_: &Lua, bytes: BorrowedBytes| Ok(algorithm.digest(&bytes, hex));
        lf.set(name, lua.create_function(in_hex)?)?;
        let plain = move |lua: &Lua, bytes: BorrowedBytes| algorithm.digest(&bytes, |digest| lua.create_string(digest));
        lf.set(format!("{name}_bin"), lua.create_function(plain)?)?;
    }
    lf.set(
        "hmac",
        lua.create_function(|_, (name, key, bytes): (BorrowedBytes, BorrowedBytes, BorrowedBytes)| {
            Ok(Algorithm::named(&name).map(|algorithm| algorithm.authenticate(&key, &bytes, hex)))
        })?,
    )?;
    lf.set(
        "hmac_bin",
        lua.create_function(|lua, (name, key, bytes): (BorrowedBytes, BorrowedBytes, BorrowedBytes)| {
            let algorithm = match Algorithm::named(&name) {
                Ok(algorithm) => algorithm,
                Err(refusal) => return Ok(Err(refusal)),
            };
            algorithm.authenticate(&key, &bytes, |code| lua.create_string(code)).transpose().map(Ok)
        })?,
    )?;
    lf.set("crc32", lua.create_function(|_, bytes: BorrowedBytes| Ok(crc32fast::hash(&bytes)))?)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(HEX[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &[u8]) -> Result<Vec<u8>, String> {
    if !text.len().is_multiple_of(2) {
        return Err(format!("not hexadecimal: {} digits, an odd number", text.len()));
    }
    let digit = |at: usize| {
        let wrong = || format!("not hexadecimal: byte {:#04x} at character {}", text[at], at + 1);
        char::from(text[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or_else(wrong)
    };
    (0..text.len()).step_by(2).map(|at| Ok(digit(at)? << 4 | digit(at + 1)?)).collect()
}

fn install_hex(lua: &Lua, lf: &Table) -> mlua::Result<()> {
    lf.set("hex", lua.create_function(|_, bytes: BorrowedBytes| Ok(hex(&bytes)))?)?;
    lf.set(
        "unhex",
        lua.create_function(|lua, text: BorrowedBytes| {
            unhex(&text)
                .map(|bytes| lua.create_string(bytes))
                .map_or_else(|refusal| Ok(Err(refusal)), |bytes| bytes.map(Ok))
        })?,
    )
}

/// A random identifier of version 4 (RFC 9562).
fn uuid() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = hex(&bytes);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    Ok(text)
}
