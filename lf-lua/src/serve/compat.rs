//! Names of connections for scripts that run with `--compat`: they pass through clients and databases, so that a name has to
//! prove that it was given, and by this process.

use crate::engine::{Named, Seal};
use hmac::{Hmac, KeyInit, Mac};
use lf_core::Token;
use mlua::{Lua, LuaString, Table};
use sha2::Sha256;
use std::sync::OnceLock;

/// Hexadecimal digits of a proof: 64 bits, for names that live as long as a connection.
const PROOF_DIGITS: usize = 16;

/// Proves names; another one in each process.
struct Key([u8; 32]);

impl Key {
    fn of_process() -> mlua::Result<&'static Self> {
        static KEY: OnceLock<Key> = OnceLock::new();
        if let Some(key) = KEY.get() {
            return Ok(key);
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(mlua::Error::external)?;
        Ok(KEY.get_or_init(|| Self(key)))
    }

    fn proof(&self, bits: u64) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(&bits.to_le_bytes());
        let digest = mac.finalize().into_bytes();
        let mut proof: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        proof.truncate(PROOF_DIGITS);
        proof
    }

    fn name_of(&self, token: Token) -> String {
        let bits = token.to_bits();
        format!("{bits:x}-{}", self.proof(bits))
    }

    /// The connection with a name; `None` if this process has not given it.
    fn named(&self, name: &str) -> Option<Token> {
        let (bits, proof) = name.split_once('-')?;
        let bits = u64::from_str_radix(bits, 16).ok()?;
        // Compared as a whole: a name is spelled in one way only.
        (proof == self.proof(bits)).then(|| Token::from_bits(bits))
    }
}

/// `rt.name_of(slot, generation)` and `rt.named(name)`.
pub(crate) fn install_names(lua: &Lua, rt: &Table, seal: &Seal) -> mlua::Result<()> {
    let key = Key::of_process()?;
    let sealed = seal.clone();
    let name_of = move |_: &Lua, at: Named| Ok(sealed.joined(at).map(|token| key.name_of(token)));
    rt.set("name_of", lua.create_function(name_of)?)?;
    let seal = seal.clone();
    let named = move |_: &Lua, name: LuaString| {
        let token = key.named(&name.to_string_lossy());
        Ok(token.map(|token| seal.split(token)).unzip())
    };
    rt.set("named", lua.create_function(named)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_were_given_are_understood() {
        let (key, other) = (Key([1; 32]), Key([2; 32]));
        let token = Token::from_bits(7 << 32 | 5);
        let name = key.name_of(token);
        assert_eq!(key.named(&name), Some(token));
        assert_eq!(other.named(&name), None, "of another process");
        let (_, proof) = name.split_once('-').unwrap();
        let next = format!("{:x}-{proof}", token.to_bits() + 1);
        for forged in ["", "-", "5", "5-", "zz-00", next.as_str()] {
            assert_eq!(key.named(forged), None, "{forged}");
        }
    }
}
