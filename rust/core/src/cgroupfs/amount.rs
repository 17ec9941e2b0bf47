//! Conversion between the amounts of memory in the texts of files, in bytes, and numbers of pages.

use super::FileWrite;
use crate::base::error::Result;
use crate::base::limits::PAGE_SIZE;
use crate::memcg::{Hierarchy, PAGE_COUNTER_MAX};

/// Suffixes of a number, as capital letters or small letters. `K` multiplies by 1024, and each later suffix
/// multiplies by 1024 times as much as the suffix before it.
const SUFFIXES: &str = "KMGTPE";

/// Returns the number of bytes that a text states, at most `u64::MAX`. Returns `None` when the text is no amount.
///
/// Kernel: `memparse`; differs: reads decimal numbers only, rejects a text without digits, and does not wrap around.
fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match &text.as_bytes()[digits.len()..] {
        [] => 0,
        [letter] => 10 * (SUFFIXES.find(letter.to_ascii_uppercase() as char)? + 1),
        _ => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // `digits` has only digits, so a failure of `parse` means that the number is too large.
    let number: u128 = digits.parse().unwrap_or(u128::MAX);
    let bytes = number.saturating_mul(1 << shift);
    Some(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// Returns the number of pages for an amount in bytes, rounded down. Returns `PAGE_COUNTER_MAX` when the text means
/// "no limit" in this hierarchy (v1 or v2). Returns `None` when the text is no amount.
///
/// Kernel: `page_counter_memparse`.
pub(super) fn parse_pages(text: &str, hierarchy: Hierarchy) -> Option<u64> {
    if text == unlimited(hierarchy) {
        return Some(PAGE_COUNTER_MAX);
    }
    Some((parse_bytes(text)? / PAGE_SIZE as u64).min(PAGE_COUNTER_MAX))
}

/// Returns the text that means "no limit" in the files of the hierarchy (v1 or v2).
const fn unlimited(hierarchy: Hierarchy) -> &'static str {
    match hierarchy {
        Hierarchy::V1 => "-1",
        Hierarchy::V2 => "max",
    }
}

impl FileWrite<'_> {
    /// Parses the written text as a limit and returns the limit in pages. Errors: EINVAL.
    pub(super) fn limit_pages(&self) -> Result<u64> {
        let hierarchy = self.target.groups.options().hierarchy;
        let expected = || self.bad(&format!("bytes, with K, M, G, T, P or E behind them, or {}", unlimited(hierarchy)));
        parse_pages(self.text, hierarchy).ok_or_else(expected)
    }

    /// Parses an amount in bytes and returns the amount in pages. The text that means "no limit" is an error. Errors:
    /// EINVAL.
    pub(super) fn amount_pages(&self, text: &str) -> Result<u64> {
        let bytes = parse_bytes(text).ok_or_else(|| self.bad("bytes, with K, M, G, T, P or E behind them,"))?;
        Ok(bytes / PAGE_SIZE as u64)
    }
}

/// Returns a number of pages as a line of text, in bytes.
pub(super) fn bytes_line(pages: u64) -> String {
    format!("{}\n", pages * PAGE_SIZE as u64)
}

/// Returns a limit of v2 as a line of text: the limit in bytes, or `max` when there is no limit.
pub(super) fn limit_line(pages: u64) -> String {
    if pages == PAGE_COUNTER_MAX { "max\n".into() } else { bytes_line(pages) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_bytes_with_a_letter_and_nothing_behind() {
        let v2 = |text| parse_pages(text, Hierarchy::V2);
        assert_eq!(["0", "4095", "4096", "8191"].map(v2), [Some(0), Some(0), Some(1), Some(1)]);
        assert_eq!(["4K", "4k", "1M", "1g"].map(v2), [Some(1), Some(1), Some(256), Some(1 << 18)]);
        assert_eq!(["1T", "1p", "1E"].map(v2), [Some(1 << 28), Some(1 << 38), Some(1 << 48)]);
        for text in ["", "K", "1KB", "1 K", "1.5M", "0x10", "+1", "-4096", "1Z", "max ", "Max", "1é"] {
            assert_eq!(v2(text), None, "{text:?}");
        }
    }

    #[test]
    fn no_limit_is_a_word_of_the_hierarchy_and_the_most_there_is() {
        assert_eq!(parse_pages("max", Hierarchy::V2), Some(PAGE_COUNTER_MAX));
        assert_eq!((parse_pages("-1", Hierarchy::V2), parse_pages("max", Hierarchy::V1)), (None, None));
        assert_eq!(parse_pages("-1", Hierarchy::V1), Some(PAGE_COUNTER_MAX));
        for text in ["8E", "16E", "99999999999999999999999999999999999999999999E", "9223372036854771712"] {
            assert_eq!(parse_pages(text, Hierarchy::V2), Some(PAGE_COUNTER_MAX), "{text}");
        }
        assert_eq!(limit_line(PAGE_COUNTER_MAX), "max\n");
        assert_eq!(bytes_line(PAGE_COUNTER_MAX), "9223372036854771712\n");
        assert_eq!(limit_line(PAGE_COUNTER_MAX - 1), "9223372036854767616\n");
    }
}
