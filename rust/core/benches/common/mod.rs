//! Interleaved rounds of two sides, and data that compresses as asked.

pub(crate) mod pairs;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;

pub(crate) use pairs::{NR_RUNS, pairs};

/// Seed of every bench that draws.
pub(crate) const SEED: u64 = 20_261_123;
/// Pages of one run: 64 kB.
pub(crate) const RUN_PAGES: usize = 16;
/// Bytes of one run.
pub(crate) const RUN_BYTES: usize = RUN_PAGES * PAGE_SIZE;
/// Words of a small vocabulary with numbers between them, so many in 16.
pub(crate) fn runs(rng: &mut ChaCha8Rng, noise_per_16: u32) -> Vec<Vec<u8>> {
    let words: Vec<[u8; 16]> = (0..64).map(|_| rng.random()).collect();
    let mut run = || {
        let mut bytes = Vec::with_capacity(RUN_BYTES);
        while bytes.len() < RUN_BYTES {
            if rng.random_ratio(noise_per_16, 16) {
                bytes.extend_from_slice(&rng.random::<[u8; 16]>());
            } else {
                bytes.extend_from_slice(&words[rng.random_range(0..words.len())]);
            }
        }
        bytes
    };
    (0..NR_RUNS).map(|_| run()).collect()
}
