//! Fast detection of pages that are all zeros. The slot of such a page gets a zero mark, and the page is never
//! written.
//!
//! The scan ORs the words of 256 bytes and then tests the result. The compiler turns this loop into vector code. The
//! scan is compiled once for each vector width, and the first call in a process selects the widest vectors of the
//! CPU. A scan compiled only for the oldest x86-64 CPUs would use 16-byte loads and reach half of the speed of a
//! search by `memchr`.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

use crate::base::limits::PAGE_SIZE;

/// Number of 64-bit words that are ORed before the result is tested; these words form a chunk. The number is small
/// because the loads of a chunk must be close to each other. In longer chunks the compiler orders the loads in a way
/// that the CPU's prefetch does not follow, which halves the speed of a scan of data in the L2 cache.
const CHUNK_WORDS: usize = 32;

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Returns whether every byte of a folio is zero; true for an empty slice.
///
/// `data` is whole pages, page aligned. The result is also right for any other slice, at lower speed. Kernel:
/// `is_folio_zero_filled` (mm/page_io.c); differs: the kernel tests the last word of every page before it scans the
/// page, and the core tests only the last word of the first page, because the scan leaves a page with data as quickly
/// as such a test.
pub fn is_zero_filled(data: &[u8]) -> bool {
    // The last word of the first page is tested first, because a page in use that starts with zeros often has data at
    // its end.
    let last_word = data.get(PAGE_SIZE - size_of::<u64>()..PAGE_SIZE).unwrap_or_default();
    last_word.iter().all(|&byte| byte == 0) && ARCH.dispatch(Scan(data))
}

/// The scan in a type that `pulp` can compile for each vector width.
struct Scan<'a>(&'a [u8]);

impl WithSimd for Scan<'_> {
    type Output = bool;

    // `inline(always)`, because `pulp` compiles the function for each vector width only where the function is
    // inlined.
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

    #[repr(align(4096))]
    struct Pages<const BYTES: usize>([u8; BYTES]);

    #[test]
    fn zeros_are_zero_filled() {
        let zeros = Pages([0; 16 * PAGE_SIZE]);
        assert!([0, 1, 2, 16].iter().all(|nr_pages| is_zero_filled(&zeros.0[..nr_pages * PAGE_SIZE])));
    }

    #[test]
    fn any_one_bit_of_any_byte_is_seen() {
        let data = &mut Pages([0; 3 * PAGE_SIZE]).0;
        for at in 0..data.len() {
            data[at] = 1 << (at % 8);
            assert!(!is_zero_filled(&data[..]), "byte {at}");
            data[at] = 0;
        }
        assert!(is_zero_filled(&data[..]));
    }

    #[test]
    fn slices_that_are_no_pages_are_answered_too() {
        let data = &mut Pages([0; 2 * PAGE_SIZE]).0;
        for (skip, len) in [(1, 1), (3, 7), (1, 4096), (7, 4097), (8, 1023), (5, 8000)] {
            assert!(is_zero_filled(&data[skip..skip + len]));
            for at in [0, len / 2, len - 1] {
                data[skip + at] = 0x80;
                assert!(!is_zero_filled(&data[skip..skip + len]), "byte {at} of {len} from {skip} on");
                data[skip + at] = 0;
            }
            // The result must not depend on the bytes around the slice.
            (data[skip - 1], data[skip + len]) = (1, 1);
            assert!(is_zero_filled(&data[skip..skip + len]));
            (data[skip - 1], data[skip + len]) = (0, 0);
        }
    }
}
