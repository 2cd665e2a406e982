//! The replacement of `lf.re.sub` and `gsub`: `$1`, `${1}`, `${name}`, `$0` and `$$`.

use super::cache::Compiled;

/// What a replacement may grow to.
const REPLACED_BYTES_MAX: usize = 256 << 20;

enum Part<'a> {
    Text(&'a [u8]),
    Group(usize),
}

pub(super) struct Template<'a> {
    parts: Vec<Part<'a>>,
}

impl<'a> Template<'a> {
    pub(super) fn parse(text: &'a [u8], compiled: &Compiled) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.iter().position(|&byte| byte == b'$') {
            parts.push(Part::Text(&rest[..at]));
            let after = &rest[at + 1..];
            let (name, length) = match after.first() {
                Some(b'$') => {
                    parts.push(Part::Text(b"$"));
                    rest = &after[1..];
                    continue;
                }
                Some(b'{') => {
                    let end = after.iter().position(|&byte| byte == b'}');
                    let end = end.ok_or("a replacement in which '${' has no '}'; write '$$' for a dollar sign")?;
                    (&after[1..end], end + 1)
                }
                Some(_) | None => {
                    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    (&after[..digits], digits)
                }
            };
            parts.push(Part::Group(group(name, compiled)?));
            rest = &after[length..];
        }
        parts.push(Part::Text(rest));
        Ok(Self { parts })
    }

    /// The subject with at most `max` matches replaced (0: all of them), and how many were.
    pub(super) fn replace(&self, subject: &[u8], compiled: &Compiled, max: usize) -> Result<(Vec<u8>, usize), String> {
        let (mut out, mut count, mut copied, mut search) = (Vec::new(), 0, 0, 0);
        while search <= subject.len() && (max == 0 || count < max) {
            crate::engine::in_time()?;
            let Some(found) = compiled.regex.captures_at(subject, search) else { break };
            let whole = found.get_match();
            out.extend_from_slice(&subject[copied..whole.start()]);
            for part in &self.parts {
                match part {
                    Part::Text(text) => out.extend_from_slice(text),
                    Part::Group(index) => {
                        out.extend_from_slice(found.get(*index).map_or(b"", |group| group.as_bytes()));
                    }
                }
            }
            if out.len() > REPLACED_BYTES_MAX {
                return Err(format!("a replacement of more than {REPLACED_BYTES_MAX} bytes; replace in parts"));
            }
            count += 1;
            copied = whole.end();
            search = whole.end() + usize::from(whole.is_empty());
        }
        if count > 0 {
            out.extend_from_slice(&subject[copied..]);
        }
        Ok((out, count))
    }
}

/// The number of a group that is given by number or name. A number beyond the last group is an empty one.
fn group(name: &[u8], compiled: &Compiled) -> Result<usize, String> {
    let text = std::str::from_utf8(name).unwrap_or_default();
    let by_name = || compiled.names.iter().find(|(known, _)| known == text).map(|(_, index)| *index);
    text.parse().ok().or_else(by_name).ok_or_else(|| {
        let name = String::from_utf8_lossy(name);
        format!("no group '{name}' for the '$' of a replacement; write '$$' for a dollar sign")
    })
}
