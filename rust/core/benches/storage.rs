//! Compares storages with the work that a storage cannot avoid, called the plain side. zram is compared with its
//! compressor, and a file with its system calls.
//!
//! Run `cargo bench -p swapcore --bench storage`. Each round measures the storage and the plain side in one process,
//! and the order of the two sides changes each round. A ratio is the time of the storage divided by the time of the
//! plain side in the same round. The figures are the median and the quartiles of all ratios.

mod common;

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Barrier, Mutex};

use common::pairs::ROUNDS;
use common::{NR_RUNS, RUN_BYTES, RUN_PAGES, SEED, pairs, runs};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use swapcore::SwpOffset;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::storage::header::SwapHeader;
use swapcore::storage::{File, FileOptions, SwapStorage, Zram, ZramOptions};

fn first(run: usize) -> SwpOffset {
    SwpOffset(1 + (run * RUN_PAGES) as u32)
}

/// The unavoidable work of a compressed device: to compress, to copy the compressed bytes, and to decompress.
struct Plain {
    out: Vec<u8>,
    kept: Vec<Vec<u8>>,
    lengths: Vec<usize>,
    back: Vec<u8>,
}

impl Plain {
    fn new() -> Self {
        let kept = vec![vec![0; get_maximum_output_size(PAGE_SIZE)]; NR_RUNS * RUN_PAGES];
        let (out, lengths) = (vec![0; get_maximum_output_size(PAGE_SIZE)], vec![0; NR_RUNS * RUN_PAGES]);
        Self { out, kept, lengths, back: vec![0; RUN_BYTES] }
    }

    fn write_and_read(&mut self, runs: &[Vec<u8>]) {
        for (i, run) in runs.iter().enumerate() {
            for (page, at) in run.chunks_exact(PAGE_SIZE).zip(i * RUN_PAGES..) {
                let bytes = compress_into(black_box(page), &mut self.out).expect("room");
                self.kept[at][..bytes].copy_from_slice(&self.out[..bytes]);
                self.lengths[at] = bytes;
            }
        }
        for i in 0..runs.len() {
            for (page, at) in self.back.chunks_exact_mut(PAGE_SIZE).zip(i * RUN_PAGES..) {
                let bytes = decompress_into(&self.kept[at][..self.lengths[at]], black_box(page)).expect("whole");
                assert_eq!(bytes, PAGE_SIZE);
            }
        }
    }
}

/// Writes all runs to a storage and reads all runs back. If `frees` is true, the slots of the runs are freed at the
/// end.
fn write_and_read(storage: &dyn SwapStorage, runs: &[Vec<u8>], back: &mut [u8], base: usize, frees: bool) {
    for (run, i) in runs.iter().zip(base..) {
        storage.write(first(i), black_box(run)).expect("room");
    }
    for i in base..base + runs.len() {
        storage.read(first(i), black_box(back)).expect("whole");
    }
    if frees {
        storage.slot_free_notify(first(base), (runs.len() * RUN_PAGES) as u32);
    }
}

fn zram(rng: &mut ChaCha8Rng) {
    for (noise, what) in [(1, "very compressible"), (4, "compressible"), (8, "hardly compressible")] {
        let runs = runs(rng, noise);
        let zram = Zram::new((2 * NR_RUNS * RUN_PAGES + 1) as u32, &ZramOptions::default()).expect("a size");
        let (mut plain, mut back) = (Plain::new(), vec![0; RUN_BYTES]);
        write_and_read(&zram, &runs, &mut back, 0, false);
        let figures = zram.stats();
        let factor = figures[0].1 as f64 / figures[1].1 as f64;
        let name = format!("zram write + read, {what} ({factor:.2} to 1), slots written again");
        pairs(&name, || write_and_read(&zram, &runs, &mut back, 0, false), || plain.write_and_read(&runs));
        let name = format!("zram write + read + free, {what}");
        pairs(&name, || write_and_read(&zram, &runs, &mut back, 0, true), || plain.write_and_read(&runs));
        let both = |body: &(dyn Fn(usize) + Sync)| {
            let barrier = Barrier::new(2);
            std::thread::scope(|scope| {
                (0..2).for_each(|i| {
                    drop(scope.spawn({
                        let barrier = &barrier;
                        move || {
                            barrier.wait();
                            body(i);
                        }
                    }))
                });
            });
        };
        let plains = [(); 2].map(|()| Mutex::new(Plain::new()));
        pairs(
            &format!("zram write + read + free by two threads, {what}, over two plain threads"),
            || {
                both(&|i| {
                    let mut back = vec![0; RUN_BYTES];
                    (0..8).for_each(|_| write_and_read(&zram, &runs, &mut back, i * NR_RUNS, true));
                });
            },
            || {
                both(&|i| {
                    let mut plain = plains[i].lock().expect("no thread panics");
                    (0..8).for_each(|_| plain.write_and_read(&runs));
                });
            },
        );
    }
}

fn file(dir: &Path, rng: &mut ChaCha8Rng) {
    let runs = runs(rng, 8);
    let dir = dir.join(format!("swapcore-bench-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory");
    let last_page = (NR_RUNS * RUN_PAGES) as u32;
    let header = SwapHeader { last_page, bad_pages: vec![], uuid: [0; 16], label: String::new() };
    let (path, plain_path) = (dir.join("swap"), dir.join("plain"));
    for path in [&path, &plain_path] {
        File::create(path, &header, false).expect("room");
    }
    let file = File::open(&path, &FileOptions::default()).expect("a swap file");
    let plain = fs::OpenOptions::new().read(true).write(true).open(&plain_path).expect("just made");
    let (mut back, mut plain_back) = (vec![0; RUN_BYTES], vec![0; RUN_BYTES]);
    let at = |run: usize| u64::from(first(run).0) * PAGE_SIZE as u64;
    pairs(
        &format!("file write + read in the page cache, {}", dir.display()),
        || write_and_read(&file, &runs, &mut back, 0, false),
        || {
            for (i, run) in runs.iter().enumerate() {
                assert_eq!(plain.write_at(black_box(run), at(i)).expect("room"), RUN_BYTES);
            }
            for i in 0..runs.len() {
                assert_eq!(plain.read_at(black_box(&mut plain_back), at(i)).expect("the slot can be read"), RUN_BYTES);
            }
        },
    );
    fs::remove_dir_all(&dir).expect("ours");
}

fn main() {
    println!("seed {SEED}, {ROUNDS} rounds of {NR_RUNS} runs");
    let rng = &mut ChaCha8Rng::seed_from_u64(SEED);
    zram(rng);
    let (temporary, current) = (std::env::temp_dir(), std::env::current_dir().expect("a directory"));
    file(&temporary, rng);
    let file_system = |dir: &Path| fs::metadata(dir).expect("a directory").dev();
    if file_system(&temporary) == file_system(&current) {
        println!("{} is on the same file system", current.display());
    } else {
        file(&current, rng);
    }
}
