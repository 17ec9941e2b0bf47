//! Tests of storages. A storage keeps every page that threads write. A file that becomes shorter while it is in use
//! causes errors, no panic. `mkswap` and other swap tools accept the headers that the crate writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::SwpOffset;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::storage::header::SwapHeader;
use swapcore::storage::{
    Algorithm, FaultPlan, Faulty, File, FileOptions, StorageTraits, SwapStorage, Zram, ZramOptions,
};

use crate::common::{Dir, noise, ram};

const THREADS: u32 = 4;
const SLOTS_EACH: u32 = 600;
const MAX_PAGES: u32 = 1 + THREADS * SLOTS_EACH;
const STEPS: usize = 2_000;

/// Creates a swap file of `MAX_PAGES` pages.
fn swap_file(dir: &Dir) -> PathBuf {
    let path = dir.path().join("swap");
    let header = SwapHeader { last_page: MAX_PAGES - 1, bad_pages: vec![], uuid: [1; 16], label: "t".into() };
    File::create(&path, &header, true).expect("room");
    path
}

/// Returns a page of one of four kinds: zeros, one repeated word, bytes that compress, or random bytes.
fn page(rng: &mut ChaCha8Rng) -> Vec<u8> {
    match rng.random_range(0..4) {
        0 => vec![0; PAGE_SIZE],
        1 => rng.random::<u64>().to_ne_bytes().repeat(PAGE_SIZE / 8),
        2 => {
            let noise: [u8; 256] = rng.random();
            let noisy_bytes = rng.random_range(1..PAGE_SIZE);
            (0..PAGE_SIZE).map(|i| if i < noisy_bytes { noise[i * 7 % 256] ^ (i / 256) as u8 } else { 0x20 }).collect()
        }
        _ => noise(rng.random()),
    }
}

/// The slots of one thread and the content of each slot. The content is `None` if a read may return any bytes.
struct Owner<'a> {
    storage: &'a dyn SwapStorage,
    rng: ChaCha8Rng,
    base: u32,
    pages: Vec<Option<Vec<u8>>>,
}

impl Owner<'_> {
    fn run(&mut self) -> (SwpOffset, usize) {
        let nr_pages = self.rng.random_range(1..=16);
        let at = self.rng.random_range(0..=self.pages.len() - nr_pages);
        (SwpOffset(self.base + at as u32), nr_pages)
    }

    fn kept(&mut self, first: SwpOffset, nr_pages: usize) -> &mut [Option<Vec<u8>>] {
        let at = (first.0 - self.base) as usize;
        &mut self.pages[at..at + nr_pages]
    }

    fn data(&mut self, nr_pages: usize) -> Vec<u8> {
        (0..nr_pages).flat_map(|_| page(&mut self.rng)).collect()
    }

    fn keep(&mut self, first: SwpOffset, data: &[u8]) {
        let pages = data.chunks(PAGE_SIZE);
        self.kept(first, data.len() / PAGE_SIZE)
            .iter_mut()
            .zip(pages)
            .for_each(|(kept, page)| *kept = Some(page.into()));
    }

    fn check(&mut self, first: SwpOffset, nr_pages: usize) {
        let mut back = vec![0xaa; nr_pages * PAGE_SIZE];
        self.storage.read(first, &mut back).expect("a good device");
        for (i, (kept, page)) in self.kept(first, nr_pages).iter().zip(back.chunks(PAGE_SIZE)).enumerate() {
            assert!(kept.as_ref().is_none_or(|kept| kept == page), "slot {} differs", first.0 as usize + i);
        }
    }

    fn step(&mut self) {
        let (first, nr_pages) = self.run();
        match self.rng.random_range(0..8) {
            0..4 => {
                let data = self.data(nr_pages);
                self.storage.write(first, &data).expect("room");
                self.keep(first, &data);
            }
            4 => {
                let notified = self.storage.traits().contains(StorageTraits::FREE_NOTIFY);
                self.storage.slot_free_notify(first, nr_pages as u32);
                self.kept(first, nr_pages).fill(notified.then(|| vec![0; PAGE_SIZE]));
            }
            5 if self.storage.spec().can_discard => {
                self.storage.discard(first, nr_pages as u32).expect("the storage can discard");
                self.kept(first, nr_pages).fill(None);
            }
            _ => self.check(first, nr_pages),
        }
    }
}

/// Runs four threads. Each thread writes, reads, frees and discards its own slots. At the end each thread reads and
/// frees all its slots.
fn hammer(storage: &dyn SwapStorage, seed: u64) {
    println!("{}: seed {seed}", storage.kind());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let pages = vec![Some(vec![0; PAGE_SIZE]); SLOTS_EACH as usize];
                let rng = ChaCha8Rng::seed_from_u64(seed + u64::from(thread));
                let mut owner = Owner { storage, rng, base: 1 + thread * SLOTS_EACH, pages };
                (0..STEPS).for_each(|_| owner.step());
                owner.check(SwpOffset(owner.base), SLOTS_EACH as usize);
                storage.slot_free_notify(SwpOffset(owner.base), SLOTS_EACH);
            });
        }
    });
}

fn figure(storage: &dyn SwapStorage, name: &str) -> u64 {
    storage.stats().into_iter().find(|figure| figure.0 == name).expect("a figure").1
}

#[test]
fn ram_keeps_every_page_and_ends_empty() {
    let ram = ram(MAX_PAGES);
    hammer(&*ram, 1);
    assert_eq!(figure(&*ram, "mem_used_total"), 0);
}

fn hammer_zram(algorithm: Algorithm) {
    let zram = Zram::new(MAX_PAGES, &ZramOptions { algorithm, mem_limit_bytes: None }).expect("a size");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Relaxed: the flag only ends the loop, and no other memory depends on it.
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                zram.compact();
            }
        });
        hammer(&zram, 2);
        // Relaxed: the flag only ends the loop, and no other memory depends on it.
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for name in ["orig_data_size", "compr_data_size", "mem_used_total", "same_pages", "huge_pages", "failed_writes"] {
        assert_eq!(figure(&zram, name), 0, "{name}");
    }
    let others = ["mem_used_max", "huge_pages_since", "notify_free", "pages_compacted"];
    assert!(others.iter().all(|name| figure(&zram, name) > 0), "{:?}", zram.stats());
}

#[test]
fn zram_keeps_every_page_while_it_is_compacted_and_ends_empty() {
    hammer_zram(Algorithm::Lz4);
}

#[cfg(feature = "zstd")]
#[test]
fn zram_with_zstd_does_too() {
    hammer_zram(Algorithm::from_name("zstd", Some(1)).expect("built"));
}

#[test]
fn a_zram_limit_holds_under_threads() {
    let limit = 200 * 4096;
    let zram = Zram::new(MAX_PAGES, &ZramOptions { mem_limit_bytes: Some(limit), ..ZramOptions::default() });
    let zram = zram.expect("a size");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let zram = &zram;
            scope.spawn(move || {
                let mut rng = ChaCha8Rng::seed_from_u64(thread.into());
                for i in 0..SLOTS_EACH / 8 {
                    let data: Vec<u8> = (0..8).flat_map(|_| page(&mut rng)).collect();
                    let first = SwpOffset(1 + thread * SLOTS_EACH + i * 8);
                    match zram.write(first, &data) {
                        Ok(()) => {
                            let mut back = vec![0; data.len()];
                            zram.read(first, &mut back).expect("whole");
                            assert_eq!(back, data);
                        }
                        Err(error) => assert_eq!(error.errno(), 12),
                    }
                }
            });
        }
    });
    assert!(figure(&zram, "failed_writes") > 0 && figure(&zram, "mem_used_max") <= limit);
    zram.slot_free_notify(SwpOffset(1), MAX_PAGES - 1);
    assert_eq!((figure(&zram, "mem_used_total"), figure(&zram, "compr_data_size")), (0, 0));
}

#[test]
fn a_file_keeps_every_page() {
    let dir = Dir::new("storage-hammer");
    hammer(&File::open(&swap_file(&dir), &FileOptions::default()).expect("a swap file"), 3);
}

#[test]
fn a_faulty_storage_without_a_plan_keeps_every_page() {
    let ram = ram(MAX_PAGES);
    hammer(&Faulty::new(ram.clone(), 1), 5);
    assert_eq!(figure(&*ram, "mem_used_total"), 0);
}

#[test]
fn what_failed_to_be_written_can_be_written_again() {
    let faulty = Faulty::new(Arc::new(Zram::new(MAX_PAGES, &ZramOptions::default()).expect("a size")), 9);
    let plan = FaultPlan { write_error_probability: 0.5, read_error_probability: 0.5, ..FaultPlan::default() };
    faulty.set_plan(plan).expect("a good plan");
    let (mut rng, mut failures) = (ChaCha8Rng::seed_from_u64(6), 0);
    for slot in 1..200 {
        let (data, mut back) = (page(&mut rng), vec![0; PAGE_SIZE]);
        while faulty.write(SwpOffset(slot), &data).is_err() {
            failures += 1;
        }
        while faulty.read(SwpOffset(slot), &mut back).is_err() {
            failures += 1;
        }
        assert_eq!(back, data);
    }
    assert_eq!(failures, figure(&faulty, "injected_write_errors") + figure(&faulty, "injected_read_errors"));
    assert!(failures > 100);
}

#[test]
fn a_file_that_shrinks_while_threads_read_is_an_error_and_no_panic() {
    let dir = Dir::new("storage-shrink");
    let path = swap_file(&dir);
    let file = File::open(&path, &FileOptions::default()).expect("a swap file");
    file.write(SwpOffset(1), &vec![3; (MAX_PAGES as usize - 1) * PAGE_SIZE]).expect("room");
    let errors: Vec<i32> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let file = &file;
                scope.spawn(move || {
                    let mut back = vec![0; 16 * PAGE_SIZE];
                    loop {
                        match file.read(SwpOffset(1 + thread * SLOTS_EACH), &mut back) {
                            Ok(()) => assert!(back.iter().all(|&byte| byte == 3)),
                            Err(error) => return error.errno(),
                        }
                    }
                })
            })
            .collect();
        fs::OpenOptions::new().write(true).open(&path).expect("ours").set_len(4096).expect("ours");
        fs::remove_file(&path).expect("ours");
        readers.into_iter().map(|reader| reader.join().expect("no panic")).collect()
    });
    assert_eq!(errors, [5; THREADS as usize]);
}

/// Runs a program. If the program is not installed, prints a line and returns `None`.
fn tool(program: &str, args: &[&str]) -> Option<Output> {
    match Command::new(program).args(args).env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: {program}: {error}");
            None
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn real_tools_accept_what_create_makes() {
    let dir = Dir::new("storage-tools");
    let path = dir.path().join("ours");
    let uuid = *b"\x12\x34\x56\x78\x12\x34\x56\x78\x12\x34\x56\x78\x12\x34\x56\x78";
    let header = SwapHeader { last_page: 2559, bad_pages: vec![], uuid, label: "a label".into() };
    File::create(&path, &header, false).expect("room");
    if let Some(output) = tool("swaplabel", &[text(&path)]) {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(said.contains("a label") && said.contains("12345678-1234-5678-1234-567812345678"), "{said}");
        let output = tool("swaplabel", &["-L", "other", text(&path)]).expect("it was just there");
        assert!(output.status.success(), "{output:?}");
        let file = File::open(&path, &FileOptions::default()).expect("still a swap file");
        assert_eq!(file.header(), SwapHeader { label: "other".into(), ..header });
    }
    if let Some(output) = tool("file", &["-b", text(&path)]) {
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        assert!(said.contains("swap file") && said.contains("4k page size"), "{said}");
        assert!(said.contains("size 2559 pages") && said.contains("12345678-1234"), "{said}");
    }
}

#[test]
fn what_mkswap_makes_opens_with_its_size_label_and_uuid() {
    let dir = Dir::new("storage-mkswap");
    let path = dir.path().join("theirs");
    fs::File::create(&path).expect("room").set_len(1000 * 4096 + 123).expect("room");
    let uuid = "aabbccdd-0011-2233-4455-66778899aabb";
    let Some(output) = tool("mkswap", &["-L", "sixteen-letters!", "-U", uuid, text(&path)]) else { return };
    assert!(output.status.success(), "{output:?}");
    let file = File::open(&path, &FileOptions::default()).expect("a swap file");
    assert_eq!(file.spec().max_pages, 1000);
    // `mkswap` cuts a label to 15 letters, because the last of the 16 bytes of a label is zero.
    assert_eq!(file.header().label, "sixteen-letters");
    assert_eq!(file.header().uuid, *b"\xaa\xbb\xcc\xdd\0\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb");
    hammer_few(&file);
    fs::OpenOptions::new().write(true).open(&path).expect("ours").set_len(999 * 4096).expect("ours");
    drop(file);
    assert_eq!(File::open(&path, &FileOptions::default()).expect_err("too short").errno(), 22);
}

#[test]
fn swaplabel_and_our_own_agree_and_a_foreign_header_of_mkswap_is_fixed() {
    let dir = Dir::new("storage-swaplabel");
    let path = dir.path().join("theirs");
    fs::File::create(&path).expect("room").set_len(100 * 65536).expect("room");
    let uuid = "aabbccdd-0011-2233-4455-66778899aabb";
    let Some(output) = tool("mkswap", &["-p", "65536", "-L", "foreign", "-U", uuid, text(&path)]) else { return };
    assert!(output.status.success(), "{output:?}");
    let error = File::open(&path, &FileOptions::default()).expect_err("another page size");
    assert!(error.errno() == 22 && error.to_string().contains("65536"), "{error}");
    let file = File::open(&path, &FileOptions { fixpgsz: true, ..FileOptions::default() }).expect("fixed");
    assert_eq!((file.spec().max_pages, file.header().label.as_str()), (1600, "foreign"));
    file.swaplabel(Some("ours"), Some([0x11; 16])).expect("no device is on the file");
    let Some(output) = tool("swaplabel", &[text(&path)]) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("ours") && said.contains("11111111-1111-1111-1111-111111111111"), "{said}");
}

/// Writes the first and the last slot of a device and reads them back.
fn hammer_few(storage: &dyn SwapStorage) {
    for slot in [1, storage.spec().max_pages - 1] {
        let mut back = vec![0; PAGE_SIZE];
        storage.write(SwpOffset(slot), &[slot as u8; PAGE_SIZE]).expect("room");
        storage.read(SwpOffset(slot), &mut back).expect("the slot can be read");
        assert!(back.iter().all(|&byte| byte == slot as u8));
    }
}
