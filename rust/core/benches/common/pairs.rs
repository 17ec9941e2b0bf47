//! Comparisons of two functions, called the two sides, in interleaved rounds.

use std::time::Instant;

/// The number of runs (pieces of page data) that each side handles in one round.
pub(crate) const NR_RUNS: usize = 64;
/// The number of rounds of a comparison.
pub(crate) const ROUNDS: usize = 401;

/// Prints the median and the quartiles of the ratio of the time of `ours` to the time of `plain`, and the median time
/// of each side in us. The printed time of a side is the time of a round divided by [`NR_RUNS`].
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

/// Measures the two sides `ours` and `plain` in each round and prints the comparison. The order of the two sides
/// changes each round.
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
