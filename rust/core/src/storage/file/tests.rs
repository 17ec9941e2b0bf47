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
    let (header, spec) = (Mutex::new(good.header()), DeviceSpec { can_discard: true, ..good.spec() });
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

/// Makes a swap file as a big-endian machine with pages of `page_bytes` bytes does, with 100 such pages.
fn foreign_file(dir: &Dir, page_bytes: usize, bad_pages: Vec<u32>) -> PathBuf {
    let path = dir.0.join("foreign");
    let nr_bad = bad_pages.len();
    let header = SwapHeader { last_page: 99, bad_pages, uuid: [7; 16], label: "spare".into() };
    let page = header.build().expect("a good header");
    let mut bytes = pages(100 * page_bytes / PAGE_SIZE, 1);
    bytes[1024..page_bytes].fill(0);
    bytes[1024..PAGE_SIZE - 10].copy_from_slice(&page[1024..PAGE_SIZE - 10]);
    bytes[page_bytes - 10..page_bytes].copy_from_slice(b"SWAPSPACE2");
    for at in [1024, 1028, 1032].into_iter().chain((0..nr_bad).map(|i| 1536 + 4 * i)) {
        bytes[at..at + 4].reverse();
    }
    fs::write(&path, bytes).expect("room");
    path
}

const FIXPGSZ: FileOptions = FileOptions { direct: false, is_block_device: None, is_rotational: None, fixpgsz: true };

#[test]
fn a_file_for_another_page_size_is_refused_or_its_header_is_written_again() {
    let dir = Dir::new("fixpgsz");
    for page_bytes in [8192, 65536] {
        let path = foreign_file(&dir, page_bytes, vec![]);
        let before = fs::read(&path).expect("there");
        let named = SwapError::WrongPageSize { found_bytes: page_bytes, byte_order: "big-endian" };
        assert_eq!(open(&path).expect_err("another page size"), named);
        assert_eq!(fs::read(&path).expect("there"), before);
        let file = File::open(&path, &FIXPGSZ).expect("the header is written again");
        let nr_pages = (100 * page_bytes / PAGE_SIZE) as u32;
        assert_eq!(file.spec().max_pages, nr_pages);
        let header = SwapHeader { last_page: nr_pages - 1, bad_pages: vec![], uuid: [7; 16], label: "spare".into() };
        assert_eq!(file.header(), header);
        drop(file);
        let after = fs::read(&path).expect("there");
        assert_eq!(after[..1024], before[..1024], "the boot code stays");
        assert_eq!(after[page_bytes..], before[page_bytes..]);
        assert!(after[PAGE_SIZE..page_bytes].iter().all(|&byte| byte == 0), "the old signature is gone");
        assert_eq!(open(&path).expect("a header for this page size").header(), header);
        let file = File::open(&path, &FIXPGSZ).expect("nothing to fix");
        assert_eq!((file.header(), fs::read(&path).expect("there")), (header, after));
    }
}

#[test]
fn a_header_that_cannot_be_written_again_stays() {
    let dir = Dir::new("unfixed");
    let path = foreign_file(&dir, 65536, vec![3, 40]);
    let before = fs::read(&path).expect("there");
    assert_eq!(File::open(&path, &FIXPGSZ).expect_err("bad pages"), SwapError::BadPagesOnFile(32));
    assert_eq!(fs::read(&path).expect("there"), before);
    let image = FileOptions { is_block_device: Some(true), ..FIXPGSZ };
    let spec = File::open(&path, &image).expect("an image").spec();
    assert_eq!(spec.bad_pages, (48..64).chain(640..656).collect::<Vec<_>>());
    let path = foreign_file(&dir, 65536, (1..42).collect());
    assert_eq!(File::open(&path, &image).expect_err("41 times 16"), SwapError::TooManyBadPages(656));
    assert_eq!(open(&path).expect_err("not written").errno(), 22);
    let path = foreign_file(&dir, 65536, vec![]);
    cut(&path, 99 * 65536);
    let error = File::open(&path, &FIXPGSZ).expect_err("cut");
    assert!(matches!(error, SwapError::AreaTooShort { has_pages: 1584, needs_pages: 1600, .. }), "{error}");
}

#[test]
fn label_and_uuid_change_and_the_rest_of_the_file_stays() {
    let dir = Dir::new("swaplabel");
    let path = dir.swap_file(99, vec![]);
    let file = open(&path).expect("a swap file");
    let before = fs::read(&path).expect("there");
    file.swaplabel(Some("sixteen-letters!"), None).expect("a good label");
    file.swaplabel(None, Some([3; 16])).expect("a UUID");
    assert_eq!((file.header().label.as_str(), file.header().uuid), ("sixteen-letters!", [3; 16]));
    let after = fs::read(&path).expect("there");
    assert_eq!((&after[..1036], &after[1068..]), (&before[..1036], &before[1068..]));
    assert_eq!(SwapHeader::parse(&after), Ok(file.header()));
    let too_long = SwapError::BadLabel("seventeen letters".into());
    assert_eq!(file.swaplabel(Some("seventeen letters"), Some([4; 16])), Err(too_long));
    let claim = Claim::new(&file).expect("no device is on the file");
    assert_eq!(file.swaplabel(Some("on"), None).expect_err("a device is on").errno(), 16);
    assert_eq!(fs::read(&path).expect("there"), after);
    drop(claim);
    file.swaplabel(Some(""), None).expect("off again");
    drop(file);
    let header = open(&path).expect("a swap file").header();
    assert_eq!((header.label.as_str(), header.uuid), ("", [3; 16]));
}
