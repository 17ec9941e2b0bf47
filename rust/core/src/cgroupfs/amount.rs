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
/// A text without digits is 0. Kernel: `memparse`; differs: does not wrap around.
fn parse_bytes(text: &str) -> Option<u64> {
    let (radix, digits) = radix_of(text);
    let nr_digits = digits.bytes().take_while(|&digit| char::from(digit).is_digit(radix)).count();
    let (digits, suffix) = digits.split_at(nr_digits);
    let shift = match suffix.as_bytes() {
        [] => 0,
        [letter] => 10 * (SUFFIXES.find(letter.to_ascii_uppercase() as char)? + 1),
        _ => return None,
    };
    // `digits` has only digits, so a failure means that the number is too large, or that there is no digit.
    let number = u128::from_str_radix(digits, radix).unwrap_or(if digits.is_empty() { 0 } else { u128::MAX });
    let bytes = number.saturating_mul(1 << shift);
    Some(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// Returns the base of the number at the start of a text, and the text from the first digit on. `0x` before a
/// hexadecimal digit begins a hexadecimal number, and any other `0` begins an octal number. Kernel: the base 0 of
/// `simple_strtoull`.
fn radix_of(text: &str) -> (u32, &str) {
    match text.as_bytes() {
        [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit() => (16, &text[2..]),
        [b'0', ..] => (8, text),
        _ => (10, text),
    }
}

/// Returns the number that a text states: a decimal, hexadecimal or octal number, with a `+` before it or without.
/// Returns `None` when the text is no number, or the number is over `high`. Kernel: `kstrtoull` with base 0.
pub(super) fn parse_number(text: &str, high: u8) -> Option<u8> {
    let (radix, digits) = radix_of(text.strip_prefix('+').unwrap_or(text));
    let is_number = digits.bytes().all(|digit| char::from(digit).is_digit(radix));
    u8::from_str_radix(digits, radix).ok().filter(|&number| is_number && number <= high)
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

    /// Parses an amount in bytes and returns the amount in pages. The text that means "no limit" is an error, and so is
    /// an empty text. Errors: EINVAL.
    pub(super) fn amount_pages(&self, text: &str) -> Result<u64> {
        let bytes = parse_bytes(text)
            .filter(|_| !text.is_empty())
            .ok_or_else(|| self.bad("bytes, with K, M, G, T, P or E behind them,"))?;
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
        for text in ["1KB", "1 K", "1.5M", "1GiB", "+1", "-4096", "1Z", "1KK", "max ", "Max", "1é", "é"] {
            assert_eq!(v2(text), None, "{text:?}");
        }
    }

    #[test]
    fn amounts_are_hexadecimal_or_octal_as_in_linux() {
        let v1 = |text| parse_pages(text, Hierarchy::V1);
        // Linux 6.18 gave each of these results for `memory.limit_in_bytes`.
        assert_eq!(["0x1000", "0X1000", "0x1g", "0x1000K"].map(v1), [Some(1), Some(1), Some(1 << 18), Some(1 << 10)]);
        assert_eq!(["010000", "07777", "0777K", "00"].map(v1), [Some(1), Some(0), Some(127), Some(0)]);
        assert_eq!(["", "K", "k", "0E", "0x1E"].map(v1), [Some(0); 5]);
        assert_eq!(v1("1e"), Some(1 << 48));
        for text in ["0x", "0xz", "08", "09", "00x10", "0x0x10", "0b1000", "0o10", "1_000", "1e3", "-0", "1T1"] {
            assert_eq!(v1(text), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_decimal_hexadecimal_or_octal_as_in_linux() {
        // Linux 6.18 took or refused each of these texts for `memory.swappiness`.
        let swappiness = |text| parse_number(text, 200);
        assert_eq!(["16", "0x10", "010", "+1", "00"].map(swappiness), [16, 16, 8, 1, 0].map(Some));
        for text in ["", "+", "++1", "-1", "1K", "1.0", "1 2", "0x", "08", "201", "99999999999999999999"] {
            assert_eq!(swappiness(text), None, "{text:?}");
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
