//! Whether a subscriber gets exactly what it should, in order.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Gaps remembered per subscriber, to tell what comes late from what comes twice.
const GAPS_MAX: usize = 1024;

/// Messages, by what has become of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdicts {
    /// Came, once or late.
    pub(crate) delivered: u64,
    /// Never came.
    pub(crate) missing: u64,
    /// Came again.
    pub(crate) duplicated: u64,
    /// Came after a later one.
    pub(crate) out_of_order: u64,
    /// Not the bytes that were sent.
    pub(crate) corrupted: u64,
    /// Came to a subscriber of another id, or in another run.
    pub(crate) astray: u64,
    /// How often the server has said that something is lost.
    pub(crate) lost: u64,
}

impl Verdicts {
    fn kinds(&self) -> [(&'static str, u64); 6] {
        [
            ("missing", self.missing),
            ("duplicated", self.duplicated),
            ("out of order", self.out_of_order),
            ("corrupted", self.corrupted),
            ("astray", self.astray),
            ("said to be lost", self.lost),
        ]
    }

    /// Whether everything came once and in order.
    pub(crate) fn is_clean(&self) -> bool {
        self.kinds().iter().all(|(_, count)| *count == 0)
    }

    /// `all in order`, or `3 missing, 1 duplicated`.
    pub(crate) fn describe(&self) -> String {
        let named: Vec<String> =
            self.kinds().iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} {name}")).collect();
        if named.is_empty() { "all in order".to_owned() } else { named.join(", ") }
    }
}

/// How far one subscriber is in the messages of its id.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// The sequence number after the greatest one seen.
    next: u32,
    /// From here on all must come. What was published while the subscriber was let in may come or not.
    certain: u32,
    /// Skipped so far. Boxed, since hardly any subscriber has gaps.
    #[expect(clippy::box_collection, reason = "eight bytes in each of many thousand subscribers instead of 24")]
    gaps: Option<Box<Vec<Range<u32>>>>,
}

impl Cursor {
    /// A subscriber that may get what is published from `first` on, and must get what is from `certain` on.
    pub(crate) fn new(first: u32, certain: u32) -> Self {
        Cursor { next: first, certain, gaps: None }
    }

    /// Everything below has come, or is known to be missing.
    pub(crate) fn settled_below(&self) -> u32 {
        self.next.max(self.certain)
    }

    /// Enters a message; returns how many that were owed are settled by it.
    pub(crate) fn take(&mut self, sequence: u32, verdicts: &mut Verdicts) -> u64 {
        if sequence < self.next {
            self.take_late(sequence, verdicts);
            return 0;
        }
        let skipped = self.settled_below()..sequence;
        let missing = u64::from(skipped.end.saturating_sub(skipped.start));
        if missing > 0 {
            verdicts.missing += missing;
            let gaps = self.gaps.get_or_insert_default();
            if gaps.len() == GAPS_MAX {
                gaps.remove(0);
            }
            gaps.push(skipped);
        }
        verdicts.delivered += 1;
        self.next = sequence.saturating_add(1);
        missing + u64::from(sequence >= self.certain)
    }

    fn take_late(&mut self, sequence: u32, verdicts: &mut Verdicts) {
        let gaps = self.gaps.as_deref_mut();
        let found = gaps.and_then(|gaps| {
            let place = gaps.iter().position(|gap| gap.contains(&sequence))?;
            Some((gaps, place))
        });
        let Some((gaps, place)) = found else {
            verdicts.duplicated += 1;
            return;
        };
        let gap = gaps.swap_remove(place);
        gaps.extend([gap.start..sequence, sequence + 1..gap.end].into_iter().filter(|rest| !rest.is_empty()));
        verdicts.missing -= 1;
        verdicts.out_of_order += 1;
        verdicts.delivered += 1;
    }

    /// No more comes: what was published below `published` and is not settled is missing.
    pub(crate) fn close(&self, published: u32, verdicts: &mut Verdicts) {
        verdicts.missing += u64::from(published.saturating_sub(self.settled_below()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of these sequence numbers, with `published` of them published.
    fn judge(mut cursor: Cursor, came: &[u32], published: u32) -> (Verdicts, u64) {
        let mut verdicts = Verdicts::default();
        let settled = came.iter().map(|sequence| cursor.take(*sequence, &mut verdicts)).sum();
        cursor.close(published, &mut verdicts);
        (verdicts, settled)
    }

    #[test]
    fn all_in_order_is_clean_and_settles_what_is_owed() {
        let (verdicts, settled) = judge(Cursor::new(0, 0), &[0, 1, 2], 3);
        assert!(verdicts.is_clean(), "{verdicts:?}");
        assert_eq!((verdicts.delivered, settled, verdicts.describe()), (3, 3, "all in order".to_owned()));
    }

    #[test]
    fn what_never_comes_is_missing_in_the_middle_and_at_the_end() {
        let (verdicts, settled) = judge(Cursor::new(0, 0), &[0, 3], 6);
        assert_eq!(verdicts, Verdicts { delivered: 2, missing: 4, ..Verdicts::default() });
        assert_eq!(settled, 4);
    }

    #[test]
    fn late_is_out_of_order_and_twice_is_duplicated() {
        let (verdicts, settled) = judge(Cursor::new(0, 0), &[0, 4, 2, 2, 4, 1], 5);
        let expected = Verdicts { delivered: 4, missing: 1, duplicated: 2, out_of_order: 2, ..Verdicts::default() };
        assert_eq!((verdicts, settled), (expected, 5));
        assert_eq!(verdicts.describe(), "1 missing, 2 duplicated, 2 out of order");
    }

    #[test]
    fn what_is_published_during_the_login_may_come_or_not() {
        for came in [&[5, 6, 7][..], &[6, 7], &[7]] {
            let (verdicts, settled) = judge(Cursor::new(5, 7), came, 8);
            assert!(verdicts.is_clean(), "{came:?}: {verdicts:?}");
            assert_eq!(settled, 1, "{came:?}");
        }
        assert_eq!(judge(Cursor::new(5, 7), &[5, 8], 9).0.missing, 1);
        assert_eq!(judge(Cursor::new(5, 7), &[], 9).0.missing, 2);
    }
}
