//! Tests of swap files: accepted files, refused files, and failures of I/O.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::*;

/// A temporary directory that is removed at the end of the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("swapcore-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory");
        Self(dir)
    }

    fn swap_file(&self, last_page: u32, bad_pages: Vec<u32>) -> PathBuf {
        let path = self.0.join("swap");
        let header = SwapHeader { last_page, bad_pages, uuid: [7; 16], label: "spare".into() };
        File::create(&path, &header, true).expect("a new file");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &std::path::Path) -> Result<File> {
    File::open(path, &FileOptions::default())
}

fn cut(path: &std::path::Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.set_len(bytes)).expect("a file of the test");
}

fn pages(nr_pages: usize, byte: u8) -> Vec<u8> {
    (0..nr_pages * PAGE_SIZE).map(|at| byte ^ (at / 61) as u8).collect()
}

#[test]
fn a_made_file_opens_once_and_says_what_it_is() {
    let dir = Dir::new("made");
    let path = dir.swap_file(99, vec![]);
    assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
    let file = open(&path).expect("a swap file");
    assert_eq!((file.spec().max_pages, file.header().label.as_str(), file.header().uuid), (100, "spare", [7; 16]));
    assert!(!file.spec().is_block_device && !file.spec().is_rotational);
    assert_eq!(open(&path).expect_err("locked").errno(), 16);
    drop(file);
    open(&path).expect("free again");
    let again = SwapHeader { last_page: 9, bad_pages: vec![], uuid: [0; 16], label: String::new() };
    assert_eq!(File::create(&path, &again, true).expect_err("the path exists").errno(), 17);
    let full = dir.0.join("full");
    File::create(&full, &again, false).expect("room");
    assert!(fs::metadata(&full).expect("there").blocks() * 512 >= 10 * 4096, "the file has its disk space");
}

#[test]
fn what_is_no_swap_area_is_refused() {
    let dir = Dir::new("refused");
    assert_eq!(open(&dir.0.join("none")).expect_err("not there").errno(), 2);
    assert_eq!(open(&dir.0).expect_err("a directory").errno(), 21);
    assert_eq!(open(std::path::Path::new("/dev/null")).expect_err("a character device").errno(), 22);
    let path = dir.0.join("short");
    fs::write(&path, [0; 100]).expect("room");
    assert_eq!(open(&path).expect_err("short"), SwapError::BadHeader("shorter than a page"));
    fs::write(&path, [0; 8192]).expect("room");
    assert_eq!(open(&path).expect_err("zeros"), SwapError::BadHeader("no SWAPSPACE2 signature"));
    let path = dir.swap_file(9, vec![]);
    cut(&path, 10 * 4096 - 1);
    let error = open(&path).expect_err("short");
    assert!(matches!(error, SwapError::AreaTooShort { has_pages: 9, needs_pages: 10, .. }), "{error}");
}

#[test]
fn bad_pages_are_for_block_devices_and_their_images() {
    let dir = Dir::new("bad");
    let path = dir.swap_file(99, vec![5, 70]);
    assert_eq!(open(&path).expect_err("a regular file"), SwapError::BadPagesOnFile(2));
    let image = FileOptions { is_block_device: Some(true), is_rotational: Some(true), ..FileOptions::default() };
    let spec = File::open(&path, &image).expect("an image").spec();
    assert!(spec.is_block_device && spec.is_rotational && spec.bad_pages == [5, 70]);
}

#[test]
fn a_file_cut_short_under_us_is_an_error_of_the_read() {
    let dir = Dir::new("cut");
    let path = dir.swap_file(99, vec![]);
    let file = open(&path).expect("a swap file");
    file.write(SwpOffset(1), &pages(98, 1)).expect("room");
    cut(&path, 5 * 4096 + 100);
    let mut back = pages(4, 0);
    file.read(SwpOffset(1), &mut back).expect("still there");
    let error = file.read(SwpOffset(4), &mut back).expect_err("cut");
    assert!(error.errno() == 5 && error.to_string().contains("truncated"), "{error}");
    fs::remove_file(&path).expect("a file of the test");
    file.write(SwpOffset(50), &pages(1, 9)).expect("a deleted file lives while it is open");
    file.read(SwpOffset(50), &mut back[..PAGE_SIZE]).expect("a deleted file lives while it is open");
    assert_eq!(back[..PAGE_SIZE], pages(1, 9));
}

#[test]
fn the_errno_of_the_system_comes_through() {
    let dir = Dir::new("errno");
    let path = dir.swap_file(99, vec![]);
    let good = open(&path).expect("a swap file");
    let (header, spec) = (good.header.clone(), DeviceSpec { can_discard: true, ..good.spec() });
    let readonly = File { file: fs::File::open(&path).expect("there"), path: good.path.clone(), header, spec };
    let data = pages(2, 1);
    let error = readonly.write(SwpOffset(3), &data).expect_err("not open for writing");
    let SwapError::Io { op: "write", first: 3, nr_pages: 2, errno: Errno::BADF, what, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(what, "Bad file descriptor");
    assert_eq!(readonly.discard(SwpOffset(3), 1).expect_err("read only").errno(), 9);
}

#[test]
fn a_discarded_range_reads_as_zeros_and_takes_no_space() {
    let dir = Dir::new("punch");
    let file = open(&dir.swap_file(999, vec![])).expect("a swap file");
    if !file.spec().can_discard {
        return println!("skipped: the file system of {} has no holes", file.path);
    }
    file.write(SwpOffset(1), &pages(500, 1)).expect("room");
    file.file.sync_all().expect("a disk");
    let before = file.stats()[0].1;
    file.discard(SwpOffset(1), 400).expect("holes");
    assert!(file.stats()[0].1 + 300 * 4096 < before, "{before}");
    let mut back = pages(500, 9);
    file.read(SwpOffset(1), &mut back).expect("there");
    assert!(back[..400 * PAGE_SIZE].iter().all(|&byte| byte == 0));
    assert_eq!(file.spec().max_pages, 1000, "a discard keeps the size");
}

#[test]
fn direct_io_reads_the_header_and_aligned_pages() {
    #[repr(align(4096))]
    struct Aligned([u8; PAGE_SIZE]);
    let dir = Dir::new("direct");
    let path = dir.swap_file(99, vec![]);
    let file = match File::open(&path, &FileOptions { direct: true, ..FileOptions::default() }) {
        Err(error) if error.errno() == 22 => return println!("skipped: {error}"),
        file => file.expect("a swap file"),
    };
    let (data, mut back) = (Box::new(Aligned([5; PAGE_SIZE])), Box::new(Aligned([0; PAGE_SIZE])));
    file.write(SwpOffset(7), &data.0).expect("room");
    file.read(SwpOffset(7), &mut back.0).expect("there");
    assert!(back.0 == data.0);
}
