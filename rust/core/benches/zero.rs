//! Measures the speed of the core's test for pages of zeros. The test is compared with a byte search by memchr and
//! with a comparison with a page of zeros.
//!
//! Run `cargo bench -p swapcore --bench zero`. Each round runs all three ways in random order over the same memory. A
//! ratio compares the core's way with another way in the same round. The figures are medians over all rounds.

#[path = "common/median.rs"]
mod median;

use std::array;
use std::hint::black_box;
use std::time::Instant;

use median::median;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::zero::is_zero_filled;

const ROUNDS: usize = 41;
const SEED: u64 = 20_261_123;
const FOLIO_BYTES: usize = 64 << 10;
/// The number of bytes that one sample scans, which takes some milliseconds.
const SAMPLE_BYTES: usize = 256 << 20;

static ZERO_PAGE: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

fn by_memchr(data: &[u8]) -> bool {
    memchr::memchr(1, data).is_none()
}

fn by_comparison(data: &[u8]) -> bool {
    data.as_chunks::<PAGE_SIZE>().0.iter().all(|page| page[..] == ZERO_PAGE[..])
}

/// A name, and a function that returns whether a folio has only zeros.
type Way = (&'static str, fn(&[u8]) -> bool);

/// The three ways that the bench compares. The first way, `is_zero_filled`, is the test of the core.
const WAYS: [Way; 3] = [("is_zero_filled", is_zero_filled), ("memchr", by_memchr), ("memcmp", by_comparison)];

/// Scans `memory` folio by folio until `SAMPLE_BYTES` bytes are scanned. Returns the speed in GB a second.
fn bandwidth(memory: &[u8], folio_bytes: usize, is_zero: fn(&[u8]) -> bool) -> f64 {
    let repeats = SAMPLE_BYTES / memory.len();
    let start = Instant::now();
    for _ in 0..repeats {
        assert!(black_box(memory).chunks_exact(folio_bytes).all(is_zero));
    }
    (repeats * memory.len()) as f64 / start.elapsed().as_nanos() as f64
}

fn main() {
    println!("seed {SEED}, {ROUNDS} rounds");
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    for (name, memory_bytes, folio_bytes) in [
        ("4 kB folio in L1", PAGE_SIZE, PAGE_SIZE),
        ("4 kB folios, 32 kB in L1", 32 << 10, PAGE_SIZE),
        ("64 kB folio in L2", FOLIO_BYTES, FOLIO_BYTES),
        ("64 kB folios, 512 kB in L2", 512 << 10, FOLIO_BYTES),
        ("64 kB folios, 64 MiB", 64 << 20, FOLIO_BYTES),
    ] {
        // The bench writes ones to the memory before it writes zeros, because the system maps every page that was
        // never written to the same page of zeros.
        let mut buffer = black_box(vec![1u8; memory_bytes + PAGE_SIZE]);
        buffer.fill(0);
        let skip = buffer.as_ptr().align_offset(PAGE_SIZE);
        let memory = &buffer[skip..skip + memory_bytes];
        let mut samples: [Vec<f64>; WAYS.len()] = array::from_fn(|_| Vec::new());
        let mut turns: [usize; WAYS.len()] = array::from_fn(|way| way);
        for _ in 0..ROUNDS {
            turns.shuffle(&mut rng);
            for way in turns {
                samples[way].push(bandwidth(memory, folio_bytes, WAYS[way].1));
            }
        }
        let ratio = |to: usize| median(samples[0].iter().zip(&samples[to]).map(|(ours, other)| ours / other).collect());
        let ratios = [ratio(1), ratio(2)];
        let medians = samples.map(median);
        println!("{name}:");
        WAYS.iter().zip(medians).for_each(|((way, _), gb_s)| println!("  {way}: {gb_s:.1} GB/s"));
        println!("  ratio to memchr {:.2}, to memcmp {:.2}", ratios[0], ratios[1]);
    }
}
