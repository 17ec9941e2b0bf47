//! Helpers of the benches: comparisons of two functions in interleaved rounds, and data of a chosen compressibility.

pub(crate) mod pairs;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;

pub(crate) use pairs::{NR_RUNS, pairs};

/// The seed of the random numbers.
pub(crate) const SEED: u64 = 20_261_123;
/// The number of pages in a run, which is a piece of page data. A run has 64 kB.
pub(crate) const RUN_PAGES: usize = 16;
/// The number of bytes in a run.
pub(crate) const RUN_BYTES: usize = RUN_PAGES * PAGE_SIZE;
/// Returns `NR_RUNS` runs of data that consist of words of 16 bytes. Of every 16 words, `noise_per_16` words are
/// random on average. The other words come from a vocabulary of 64 words.
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
