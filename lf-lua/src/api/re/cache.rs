//! Compiled expressions of a VM, the last used ones.

use regex::bytes::{Regex, RegexBuilder};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use std::collections::HashMap;
use std::sync::Arc;

/// Expressions that are kept compiled.
const ENTRIES_MAX: usize = 256;

/// A compiled expression, and the tables of its automaton, each: `\pL{200}` would take megabytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// The text of an expression: a longer one takes its time to be compiled.
const TEXT_BYTES_MAX: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) regex: Regex,
    /// Named groups with their numbers.
    pub(super) names: Vec<(String, usize)>,
    /// States of its automaton, each of which a search may look at for each byte; 0 where that is not limited.
    states: u64,
}

#[derive(Debug)]
struct Entry {
    compiled: Arc<Compiled>,
    used: u64,
}

/// Expressions by options and text.
#[derive(Debug)]
pub(super) struct Cache {
    entries: HashMap<Vec<u8>, Entry>,
    key: Vec<u8>,
    clock: u64,
    /// States times bytes of a search.
    steps_max: Option<u64>,
}

impl Cache {
    pub(super) fn new(steps_max: Option<u64>) -> Self {
        Self { entries: HashMap::new(), key: Vec::new(), clock: 0, steps_max }
    }

    /// Whether a subject may be searched.
    pub(super) fn admit(&self, compiled: &Compiled, subject_bytes: usize) -> Result<(), String> {
        let (states, limit) = (compiled.states, self.steps_max.unwrap_or(u64::MAX));
        if states.saturating_mul(subject_bytes as u64) <= limit {
            return Ok(());
        }
        Err(format!(
            "a search of {subject_bytes} bytes for a regular expression of {states} states, in a script that is not trusted: \
             {} bytes at most; search less at once",
            limit / states
        ))
    }

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
        let compiled = Arc::new(compile(regex, options, self.steps_max.is_some())?);
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

/// States of an expression's automaton.
fn states(text: &str, config: syntax::Config) -> Result<u64, String> {
    let limits = thompson::Config::new().utf8(false).nfa_size_limit(Some(COMPILED_BYTES_MAX));
    let nfa = thompson::Compiler::new().syntax(config.utf8(false)).configure(limits).build(text);
    nfa.map(|nfa| nfa.states().len() as u64).map_err(|error| error.to_string())
}

fn compile(regex: &[u8], options: &[u8], counts_states: bool) -> Result<Compiled, String> {
    if regex.len() > TEXT_BYTES_MAX {
        let len = regex.len();
        return Err(format!("a regular expression of {len} bytes; {TEXT_BYTES_MAX} at most: match less at once"));
    }
    let text = std::str::from_utf8(regex).map_err(|error| format!("a regular expression is to be UTF-8: {error}"))?;
    // Compiled and kept compiled (j, o) it is anyway.
    if let Some(other) = options.iter().find(|option| !b"imsxujo".contains(option)) {
        let option = char::from(*other);
        return Err(format!("no option '{option}' of regular expressions; there are i, m, s, x, u, j and o"));
    }
    let has = |option: u8| options.contains(&option);
    let mut builder = RegexBuilder::new(text);
    builder
        .unicode(has(b'u'))
        .case_insensitive(has(b'i'))
        .multi_line(has(b'm'))
        .dot_matches_new_line(has(b's'))
        .ignore_whitespace(has(b'x'))
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX);
    let syntax = syntax::Config::new()
        .unicode(has(b'u'))
        .case_insensitive(has(b'i'))
        .multi_line(has(b'm'))
        .dot_matches_new_line(has(b's'))
        .ignore_whitespace(has(b'x'));
    let regex = builder.build().map_err(|error| {
        if let regex::Error::CompiledTooBig(limit) = error {
            return format!(
                "a regular expression of more than {limit} bytes compiled; repeat less, or match less at once"
            );
        }
        error.to_string()
    })?;
    let names = regex.capture_names().enumerate().filter_map(|(index, name)| Some((name?.to_owned(), index))).collect();
    let states = if counts_states { states(text, syntax)? } else { 0 };
    Ok(Compiled { regex, names, states })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_expression_is_forgotten() {
        let mut cache = Cache::new(None);
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
    fn a_search_of_too_many_steps_is_refused_and_names_what_may_be_searched() {
        let mut cache = Cache::new(Some(10_000));
        let compiled = cache.get(b"(ab|cd)+x{20}", b"iu").unwrap();
        let states = usize::try_from(compiled.states).unwrap();
        assert!((20..200).contains(&states), "{states}");
        cache.admit(&compiled, 10_000 / states).unwrap();
        let refusal = cache.admit(&compiled, 10_000 / states + 1).unwrap_err();
        assert!(refusal.contains(&format!("{} bytes at most", 10_000 / states)), "{refusal}");
        let trusted = Cache::new(None);
        trusted.admit(&compiled, usize::MAX).unwrap();
        assert!(cache.get(&vec![b'a'; TEXT_BYTES_MAX + 1], b"").unwrap_err().contains("65536 at most"));
    }

    #[test]
    fn options_tell_expressions_apart() {
        let mut cache = Cache::new(None);
        assert!(!cache.get(b"a", b"").unwrap().regex.is_match(b"A"));
        assert!(cache.get(b"a", b"i").unwrap().regex.is_match(b"A"));
    }
}
