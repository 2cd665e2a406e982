//! Compiled expressions of a VM, the last used ones.

use regex::bytes::{Regex, RegexBuilder};
use std::collections::HashMap;
use std::sync::Arc;

/// Expressions that are kept compiled.
const ENTRIES_MAX: usize = 256;

/// A compiled expression, and the tables of its automaton, each: `\pL{200}` would take megabytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) regex: Regex,
    /// Named groups with their numbers.
    pub(super) names: Vec<(String, usize)>,
}

#[derive(Debug)]
struct Entry {
    compiled: Arc<Compiled>,
    used: u64,
}

/// Expressions by options and text.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Vec<u8>, Entry>,
    key: Vec<u8>,
    clock: u64,
}

impl Cache {
    /// The compiled form of an expression, or what is wrong with it.
    pub(super) fn get(&mut self, regex: &[u8], options: &[u8]) -> Result<Arc<Compiled>, String> {
        self.clock += 1;
        self.key.clear();
        self.key.extend_from_slice(options);
        self.key.push(0);
        self.key.extend_from_slice(regex);
        if let Some(entry) = self.entries.get_mut(&self.key) {
            entry.used = self.clock;
            return Ok(Arc::clone(&entry.compiled));
        }
        let compiled = Arc::new(compile(regex, options)?);
        if self.entries.len() >= ENTRIES_MAX {
            self.forget_one();
        }
        let entry = Entry { compiled: Arc::clone(&compiled), used: self.clock };
        self.entries.insert(self.key.clone(), entry);
        Ok(compiled)
    }

    /// Compiling takes far longer than looking for the entry that was used the longest time ago.
    fn forget_one(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.entries.remove(&key);
        }
    }
}

fn compile(regex: &[u8], options: &[u8]) -> Result<Compiled, String> {
    let text = std::str::from_utf8(regex).map_err(|error| format!("a regular expression is to be UTF-8: {error}"))?;
    let mut builder = RegexBuilder::new(text);
    builder.unicode(false).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX);
    for option in options {
        match option {
            b'i' => builder.case_insensitive(true),
            b'm' => builder.multi_line(true),
            b's' => builder.dot_matches_new_line(true),
            b'x' => builder.ignore_whitespace(true),
            b'u' => builder.unicode(true),
            // Compiled and kept compiled it is anyway.
            b'j' | b'o' => &mut builder,
            other => {
                let option = char::from(*other);
                return Err(format!("no option '{option}' of regular expressions; there are i, m, s, x, u, j and o"));
            }
        };
    }
    let regex = builder.build().map_err(|error| {
        if let regex::Error::CompiledTooBig(limit) = error {
            return format!(
                "a regular expression of more than {limit} bytes compiled; repeat less, or match less at once"
            );
        }
        error.to_string()
    })?;
    let names = regex.capture_names().enumerate().filter_map(|(index, name)| Some((name?.to_owned(), index))).collect();
    Ok(Compiled { regex, names })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_expression_is_forgotten() {
        let mut cache = Cache::default();
        let first = cache.get(b"a", b"").unwrap();
        for number in 1..ENTRIES_MAX {
            cache.get(format!("b{number}").as_bytes(), b"").unwrap();
        }
        assert!(Arc::ptr_eq(&first, &cache.get(b"a", b"").unwrap()), "still there");
        cache.get(b"one more", b"").unwrap();
        assert_eq!(cache.entries.len(), ENTRIES_MAX);
        assert!(Arc::ptr_eq(&first, &cache.get(b"a", b"").unwrap()), "used lately");
        assert!(!cache.entries.contains_key(&b"\0b1"[..]), "used the longest time ago");
    }

    #[test]
    fn options_tell_expressions_apart() {
        let mut cache = Cache::default();
        assert!(!cache.get(b"a", b"").unwrap().regex.is_match(b"A"));
        assert!(cache.get(b"a", b"i").unwrap().regex.is_match(b"A"));
    }
}
