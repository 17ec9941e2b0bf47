//! What the pages of a replay hold: a function of seed and page, so that nobody has to keep it to know it again.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::folios::FolioReplay;
use crate::limits::PAGE_SIZE;

/// A compressible page is random for the first bytes of each block and repeats one word in the rest: lz4 makes it about
/// 3 times smaller.
const BLOCK_BYTES: usize = 128;
const RANDOM_BYTES: usize = 36;

/// Contents by page number, and which releases read their pages. Each draws from a stream of its own.
#[derive(Debug)]
pub(super) struct Contents {
    rng: ChaCha8Rng,
    zero_share: f64,
    random_share: f64,
    read_share: f64,
}

impl Contents {
    pub(super) fn new(how: &FolioReplay) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(how.seed),
            zero_share: how.zero_percent / 100.0,
            random_share: how.random_percent / 100.0,
            read_share: how.read_percent / 100.0,
        }
    }

    fn stream(&self, stream: u64) -> ChaCha8Rng {
        let mut rng = self.rng.clone();
        rng.set_stream(stream);
        rng
    }

    /// Writes what a page holds, pages being numbered through all folios of the trace.
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

    /// Says whether a release, by its number, reads its pages before it gives them up.
    pub(super) fn is_read(&self, release: u64) -> bool {
        // Counted from the end: no page has that stream.
        self.stream(u64::MAX - release).random_bool(self.read_share)
    }
}
