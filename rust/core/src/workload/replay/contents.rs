//! The contents of the pages of a replay. Each content is computed from the seed and the page number, so a replay can
//! check a page without a stored copy.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::base::error::{Result, check_share};
use crate::base::limits::PAGE_SIZE;

/// Bytes of a block of a compressible page. The first [`RANDOM_BYTES`] bytes of each block are random, and the other
/// bytes of the block repeat one word. lz4 compresses such a page about 3:1.
const BLOCK_BYTES: usize = 128;
const RANDOM_BYTES: usize = 36;

/// A generator of page contents and of random choices. Each page and each random choice has a number, and each number
/// selects its own stream of random numbers.
#[derive(Debug)]
pub(super) struct Contents {
    rng: ChaCha8Rng,
    zero_share: f64,
    random_share: f64,
}

impl Contents {
    /// Makes the contents of a seed. Errors: `BadShare` (EINVAL) when a percentage, or the sum of both, is outside
    /// 0..=100.
    pub(super) fn new(seed: u64, zero_percent: f64, random_percent: f64) -> Result<Self> {
        check_share("zero percent", zero_percent, 100)?;
        check_share("random percent", random_percent, 100)?;
        check_share("zero and random percent together", zero_percent + random_percent, 100)?;
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Ok(Self { rng, zero_share: zero_percent / 100.0, random_share: random_percent / 100.0 })
    }

    fn stream(&self, stream: u64) -> ChaCha8Rng {
        let mut rng = self.rng.clone();
        rng.set_stream(stream);
        rng
    }

    /// Writes the first content of a page. `page` is the number of the page in the whole workload.
    pub(super) fn fill(&self, page: u64, bytes: &mut [u8]) {
        debug_assert_eq!(bytes.len(), PAGE_SIZE, "one page");
        let mut rng = self.stream(page);
        let drawn: f64 = rng.random();
        if drawn < self.zero_share {
            bytes.fill(0);
        } else if drawn < self.zero_share + self.random_share {
            rng.fill_bytes(bytes);
        } else {
            let word = rng.random::<u64>().to_ne_bytes();
            for block in bytes.chunks_exact_mut(BLOCK_BYTES) {
                let (random, same) = block.split_at_mut(RANDOM_BYTES);
                rng.fill_bytes(random);
                same.chunks_mut(word.len()).for_each(|chunk| chunk.copy_from_slice(&word[..chunk.len()]));
            }
        }
    }

    /// Returns the result of the random choice with the number `choice`. The result is true for `percent` percent of
    /// all numbers, and the seed decides for which numbers.
    pub(super) fn is_chosen(&self, choice: u64, percent: f64) -> bool {
        // The stream numbers of choices count down from `u64::MAX`, because pages use the stream numbers from 0
        // upwards.
        self.stream(u64::MAX - choice).random_bool(percent / 100.0)
    }
}
