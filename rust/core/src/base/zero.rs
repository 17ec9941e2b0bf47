//! Finding pages of nothing but zeros at the speed of memory: such pages are marked in their slots, never written.
//!
//! The scan is an OR over 256 bytes at a time with one test after each, which the compiler turns into vector code.
//! It is compiled once per vector width, and the widest the CPU has is chosen when the process first asks: code for
//! the oldest x86-64 has 16-byte loads and reaches half of what a search by `memchr` does.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

use crate::base::limits::PAGE_SIZE;

/// Words ORed together between two tests. Few enough that the loads of a chunk stay near each other: in longer ones the
/// compiler loads in an order that the CPU's prefetch does not follow, at half the speed from L2.
const CHUNK_WORDS: usize = 32;

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Says whether every page of a folio is all zeros; of an empty slice it is.
///
/// `data` is whole pages, page aligned; any other slice is answered too, at less speed.
/// Kernel: `is_folio_zero_filled` (mm/page_io.c). Differs: the cheap look at a last word is taken at the first page
/// only, since what follows leaves a page as soon as that.
pub fn is_zero_filled(data: &[u8]) -> bool {
    // A page that is in use but starts with zeros often has something at its end.
    let last_word = data.get(PAGE_SIZE - size_of::<u64>()..PAGE_SIZE).unwrap_or_default();
    last_word.iter().all(|&byte| byte == 0) && ARCH.dispatch(Scan(data))
}

/// The scan as something to be compiled for each vector width.
struct Scan<'a>(&'a [u8]);

impl WithSimd for Scan<'_> {
    type Output = bool;

    // Inlined, or the body would be compiled for the oldest CPU.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _width: S) -> bool {
        let (head, words, tail) = bytemuck::pod_align_to::<u8, u64>(self.0);
        let (chunks, rest) = words.as_chunks::<CHUNK_WORDS>();
        head.iter().chain(tail).all(|&byte| byte == 0) && chunks.iter().all(|chunk| or(chunk) == 0) && or(rest) == 0
    }
}

#[inline(always)]
fn or(words: &[u64]) -> u64 {
    words.iter().fold(0, |seen, word| seen | word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page-aligned part of `buffer`, which is one page longer.
    fn aligned(buffer: &mut [u8]) -> &mut [u8] {
        let skip = buffer.as_ptr().align_offset(PAGE_SIZE);
        let len = buffer.len() - PAGE_SIZE;
        &mut buffer[skip..skip + len]
    }

    #[test]
    fn zeros_are_zero_filled() {
        for pages in [0, 1, 2, 16] {
            assert!(is_zero_filled(aligned(&mut vec![0; (pages + 1) * PAGE_SIZE])));
        }
    }

    #[test]
    fn any_one_bit_of_any_byte_is_seen() {
        let mut buffer = vec![0; 4 * PAGE_SIZE];
        let data = aligned(&mut buffer);
        for at in 0..data.len() {
            data[at] = 1 << (at % 8);
            assert!(!is_zero_filled(data), "byte {at}");
            data[at] = 0;
        }
        assert!(is_zero_filled(data));
    }

    #[test]
    fn slices_that_are_no_pages_are_answered_too() {
        let mut buffer = vec![0; 3 * PAGE_SIZE];
        let data = aligned(&mut buffer);
        for (skip, len) in [(1, 1), (3, 7), (1, 4096), (7, 4097), (8, 1023), (5, 8000)] {
            assert!(is_zero_filled(&data[skip..skip + len]));
            for at in [0, len / 2, len - 1] {
                data[skip + at] = 0x80;
                assert!(!is_zero_filled(&data[skip..skip + len]), "{skip} {len} {at}");
                data[skip + at] = 0;
            }
            // What lies around the slice is not looked at.
            (data[skip - 1], data[skip + len]) = (1, 1);
            assert!(is_zero_filled(&data[skip..skip + len]));
            (data[skip - 1], data[skip + len]) = (0, 0);
        }
    }
}
