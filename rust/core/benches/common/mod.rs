//! Interleaved rounds of two sides, and data that compresses as asked.

use std::time::Instant;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use swapcore::limits::PAGE_SIZE;

/// Seed of every bench that draws.
pub(crate) const SEED: u64 = 20_261_123;
/// Pages of one run: 64 kB.
pub(crate) const RUN_PAGES: usize = 16;
/// Bytes of one run.
pub(crate) const RUN_BYTES: usize = RUN_PAGES * PAGE_SIZE;
/// Runs that one round works on.
pub(crate) const NR_RUNS: usize = 64;
/// Rounds of a comparison.
pub(crate) const ROUNDS: usize = 401;

/// Shows the median of the ratios with its quartiles, and the median of each side in us: of a
/// run, or of a 64th of a round.
fn report(name: &str, ours: &[f64], plain: &[f64]) {
    let sorted = |mut samples: Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        samples
    };
    let ratios = sorted(ours.iter().zip(plain).map(|(ours, plain)| ours / plain).collect());
    let at = |quarter: usize| ratios[ratios.len() * quarter / 4];
    let median = |samples: &[f64]| sorted(samples.to_vec())[samples.len() / 2] * 1e6 / NR_RUNS as f64;
    println!(
        "{name}: ratio {:.4} (quartiles {:.4}..{:.4}); {:.2} us, plain {:.2} us",
        at(2),
        at(1),
        at(3),
        median(ours),
        median(plain)
    );
}

/// Runs both sides in turns.
pub(crate) fn pairs(name: &str, mut ours: impl FnMut(), mut plain: impl FnMut()) {
    let time = |body: &mut dyn FnMut()| {
        let start = Instant::now();
        body();
        start.elapsed().as_secs_f64()
    };
    (0..10).for_each(|_| {
        ours();
        plain();
    });
    let (mut samples, mut plain_samples) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            samples.push(time(&mut ours));
            plain_samples.push(time(&mut plain));
        } else {
            plain_samples.push(time(&mut plain));
            samples.push(time(&mut ours));
        }
    }
    report(name, &samples, &plain_samples);
}

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
