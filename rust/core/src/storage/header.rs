//! The SWAPSPACE2 header page that `mkswap` writes and `swapon` reads.

use std::iter::successors;

use crate::base::error::{Result, SwapError};
use crate::base::limits::{MAX_SWAP_BADPAGES, PAGE_SIZE, SWAP_HEADER_BYTES_MAX, SWAP_LABEL_BYTES_MAX};

/// Offset of the first byte that `mkswap` writes. The bytes before it may hold the boot code of the machine.
pub(super) const VERSION_AT: usize = 1024;
const LAST_PAGE_AT: usize = 1028;
const NR_BADPAGES_AT: usize = 1032;
const UUID_AT: usize = 1036;
const LABEL_AT: usize = 1052;
const BADPAGES_AT: usize = 1536;
const MAGIC: &[u8; 10] = b"SWAPSPACE2";
const MAGIC_AT: usize = PAGE_SIZE - MAGIC.len();
const VERSION: u32 = 1;

/// The content of a swap header. Kernel: `union swap_header`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwapHeader {
    /// Number of the last page. The device has `last_page + 1` pages, because page numbers begin at 0.
    pub last_page: u32,
    /// Numbers of the pages that are never used, in ascending order.
    pub bad_pages: Vec<u32>,
    /// UUID of the volume.
    pub uuid: [u8; 16],
    /// Label of the volume, at most 16 bytes.
    pub label: String,
}

/// The page size and the byte order of the machine that made a header.
struct Format {
    page_bytes: usize,
    byte_order: &'static str,
    read: fn([u8; 4]) -> u32,
}

impl Format {
    /// Finds the signature at the end of the first page, for each page size of a power of two. The page size of this
    /// machine is tried before the other page sizes, because the kernel looks only for this page size. Errors:
    /// `BadHeader` (EINVAL).
    fn find_in(area: &[u8]) -> Result<Self> {
        if area.len() < PAGE_SIZE {
            return Err(SwapError::BadHeader("shorter than a page"));
        }
        let most = area.len().min(SWAP_HEADER_BYTES_MAX);
        let page_bytes = successors(Some(PAGE_SIZE), |bytes| Some(2 * bytes))
            .take_while(|&bytes| bytes <= most)
            .find(|&bytes| area[..bytes].ends_with(MAGIC))
            .ok_or(SwapError::BadHeader("no SWAPSPACE2 signature"))?;
        match word(area, VERSION_AT) {
            bytes if u32::from_le_bytes(bytes) == VERSION => {
                Ok(Self { page_bytes, byte_order: "little-endian", read: u32::from_le_bytes })
            }
            bytes if u32::from_be_bytes(bytes) == VERSION => {
                Ok(Self { page_bytes, byte_order: "big-endian", read: u32::from_be_bytes })
            }
            _ => Err(SwapError::BadHeader("unknown version")),
        }
    }

    /// Reads the fields of the header. Errors: `BadHeader`, `TooManyBadPages` (EINVAL).
    fn header(&self, area: &[u8]) -> Result<SwapHeader> {
        let number = |at: usize| (self.read)(word(area, at));
        let last_page = number(LAST_PAGE_AT);
        if last_page == 0 {
            return Err(SwapError::BadHeader("last page 0, an empty device"));
        }
        let nr_bad = number(NR_BADPAGES_AT) as usize;
        if nr_bad > (self.page_bytes - MAGIC.len() - BADPAGES_AT) / 4 {
            return Err(SwapError::TooManyBadPages(nr_bad));
        }
        let label = area[LABEL_AT..LABEL_AT + SWAP_LABEL_BYTES_MAX].split(|&byte| byte == 0).next();
        Ok(SwapHeader {
            last_page,
            bad_pages: (0..nr_bad).map(|i| number(BADPAGES_AT + 4 * i)).collect(),
            uuid: area[UUID_AT..UUID_AT + 16].try_into().expect("16 bytes"),
            label: String::from_utf8_lossy(label.unwrap_or_default()).into_owned(),
        })
    }
}

fn word(area: &[u8], at: usize) -> [u8; 4] {
    area[at..at + 4].try_into().expect("4 bytes")
}

/// Checks that a label fits a header. A label must have no zero byte, because readers end the label at a zero byte.
/// Errors: `BadLabel` (EINVAL).
fn check_label(label: &str) -> Result<()> {
    if label.len() > SWAP_LABEL_BYTES_MAX || label.contains('\0') {
        return Err(SwapError::BadLabel(label.into()));
    }
    Ok(())
}

impl SwapHeader {
    /// Parses the header in the first bytes of a swap area, in little-endian or big-endian byte order. The first page
    /// is enough to parse a header of this page size; [`SWAP_HEADER_BYTES_MAX`] bytes are needed to recognise a
    /// header of another page size. Errors: `BadHeader`, `WrongPageSize`, `TooManyBadPages` (EINVAL).
    ///
    /// Kernel: `read_swap_header`; differs: the kernel does not recognise the header of another page size, but
    /// `swapon(8)` does.
    pub fn parse(area: &[u8]) -> Result<Self> {
        let format = Format::find_in(area)?;
        if format.page_bytes != PAGE_SIZE {
            let Format { page_bytes: found_bytes, byte_order, .. } = format;
            return Err(SwapError::WrongPageSize { found_bytes, byte_order });
        }
        format.header(area)
    }

    /// Parses a header of any page size and converts its page numbers to pages of this machine. Each bad page becomes
    /// all the pages that it covers. Errors: `BadHeader`, `TooManyBadPages` (EINVAL).
    pub(super) fn converted(area: &[u8]) -> Result<Self> {
        let format = Format::find_in(area)?;
        let header = format.header(area)?;
        let pages_each = (format.page_bytes / PAGE_SIZE) as u64;
        let clamped = |page: u64| u32::try_from(page).unwrap_or(u32::MAX);
        let pages_of = |&bad: &u32| (0..pages_each).map(move |i| clamped(u64::from(bad) * pages_each + i));
        Ok(Self {
            last_page: clamped((u64::from(header.last_page) + 1) * pages_each - 1),
            bad_pages: header.bad_pages.iter().flat_map(pages_of).collect(),
            ..header
        })
    }

    /// Replaces the label and the UUID in a header page, and no other byte. `None` keeps the old value. Errors, with
    /// the page unchanged: `BadLabel` (EINVAL).
    pub(super) fn relabel(page: &mut [u8], label: Option<&str>, uuid: Option<[u8; 16]>) -> Result<()> {
        if let Some(label) = label {
            check_label(label)?;
            let field = &mut page[LABEL_AT..LABEL_AT + SWAP_LABEL_BYTES_MAX];
            field.fill(0);
            field[..label.len()].copy_from_slice(label.as_bytes());
        }
        if let Some(uuid) = uuid {
            page[UUID_AT..UUID_AT + 16].copy_from_slice(&uuid);
        }
        Ok(())
    }

    /// Builds the header page in little-endian byte order. Errors: `BadHeader`, `BadLabel`, `TooManyBadPages`,
    /// `BadPageOutOfRange` (EINVAL).
    pub fn build(&self) -> Result<Vec<u8>> {
        if self.last_page == 0 {
            return Err(SwapError::BadHeader("last page 0, an empty device"));
        }
        if self.bad_pages.len() > MAX_SWAP_BADPAGES {
            return Err(SwapError::TooManyBadPages(self.bad_pages.len()));
        }
        check_label(&self.label)?;
        let mut page = vec![0; PAGE_SIZE];
        let mut put = |at: usize, word: u32| page[at..at + 4].copy_from_slice(&word.to_le_bytes());
        put(VERSION_AT, VERSION);
        put(LAST_PAGE_AT, self.last_page);
        put(NR_BADPAGES_AT, self.bad_pages.len() as u32);
        for (i, &bad) in self.bad_pages.iter().enumerate() {
            if bad == 0 || bad > self.last_page {
                return Err(SwapError::BadPageOutOfRange { page: bad, last_page: self.last_page });
            }
            put(BADPAGES_AT + 4 * i, bad);
        }
        page[UUID_AT..UUID_AT + 16].copy_from_slice(&self.uuid);
        page[LABEL_AT..LABEL_AT + self.label.len()].copy_from_slice(self.label.as_bytes());
        page[MAGIC_AT..].copy_from_slice(MAGIC);
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SwapHeader {
        SwapHeader { last_page: 4095, bad_pages: vec![7, 600], uuid: [9; 16], label: "spare".into() }
    }

    #[test]
    fn a_built_header_reads_back_in_both_byte_orders() {
        let mut page = header().build().expect("a good header");
        assert_eq!(SwapHeader::parse(&page), Ok(header()));
        for at in [VERSION_AT, LAST_PAGE_AT, NR_BADPAGES_AT, BADPAGES_AT, BADPAGES_AT + 4] {
            page[at..at + 4].reverse();
        }
        assert_eq!(SwapHeader::parse(&page), Ok(header()));
    }

    #[test]
    fn a_header_of_another_page_size_is_named() {
        let page = header().build().expect("a good header");
        for page_bytes in [8192, 16 << 10, 32 << 10, 64 << 10] {
            let mut area = [&page[..MAGIC_AT], &vec![0; page_bytes - PAGE_SIZE], &page[MAGIC_AT..]].concat();
            let found = |byte_order| SwapError::WrongPageSize { found_bytes: page_bytes, byte_order };
            assert_eq!(SwapHeader::parse(&area), Err(found("little-endian")));
            for at in [VERSION_AT, LAST_PAGE_AT, NR_BADPAGES_AT, BADPAGES_AT, BADPAGES_AT + 4] {
                area[at..at + 4].reverse();
            }
            let error = SwapHeader::parse(&area).expect_err("another page size");
            assert_eq!((error.errno(), &error), (22, &found("big-endian")));
            let words = error.to_string();
            assert!(words.contains(&format!("{page_bytes} bytes (big-endian)")) && words.contains("4096"), "{words}");
            let pages_each = (page_bytes / PAGE_SIZE) as u32;
            let converted = SwapHeader::converted(&area).expect("a good header");
            assert_eq!((converted.last_page, converted.label.as_str()), (4096 * pages_each - 1, "spare"));
            let bad_pages: Vec<_> =
                [7, 600].into_iter().flat_map(|bad| bad * pages_each..(bad + 1) * pages_each).collect();
            assert_eq!((converted.uuid, converted.bad_pages), ([9; 16], bad_pages));
            area[VERSION_AT] = 7;
            assert_eq!(SwapHeader::parse(&area), Err(SwapError::BadHeader("unknown version")));
        }
        let mut both = [page.clone(), page.clone()].concat();
        assert_eq!(SwapHeader::parse(&both), Ok(header()), "the signature of this page size decides");
        both[MAGIC_AT] = b'X';
        assert_eq!(SwapHeader::parse(&both[..8191]), Err(SwapError::BadHeader("no SWAPSPACE2 signature")));
    }

    #[test]
    fn a_label_that_does_not_fit_is_named_with_the_limit() {
        let mut page = header().build().expect("a good header");
        let before = page.clone();
        for label in ["seventeen-letters", "seventeen-byte-ä", "zero\0inside"] {
            let refused = SwapError::BadLabel(label.into());
            assert_eq!(SwapHeader { label: label.into(), ..header() }.build(), Err(refused.clone()));
            assert_eq!(SwapHeader::relabel(&mut page, Some(label), Some([1; 16])), Err(refused));
        }
        assert_eq!(page, before);
        let words = SwapError::BadLabel("seventeen-letters".into()).to_string();
        assert!(words.contains("\"seventeen-letters\" has 17 bytes") && words.contains("at most 16"), "{words}");
        SwapHeader::relabel(&mut page, Some("sixteen-letters!"), None).expect("a good label");
        assert_eq!(SwapHeader::parse(&page), Ok(SwapHeader { label: "sixteen-letters!".into(), ..header() }));
        SwapHeader::relabel(&mut page, Some("spare"), Some([9; 16])).expect("a good label");
        assert_eq!(page, before, "a shorter label leaves nothing of the longer one");
    }

    #[test]
    fn damaged_headers_are_refused() {
        let good = header().build().expect("a good header");
        let broken = |at: usize, byte: u8| {
            let mut page = good.clone();
            page[at] = byte;
            SwapHeader::parse(&page)
        };
        assert_eq!(broken(MAGIC_AT, b'X'), Err(SwapError::BadHeader("no SWAPSPACE2 signature")));
        assert_eq!(broken(VERSION_AT, 2), Err(SwapError::BadHeader("unknown version")));
        assert_eq!(broken(NR_BADPAGES_AT + 1, 3), Err(SwapError::TooManyBadPages(770)));
        assert!(SwapHeader::parse(&good[..4095]).is_err());
        assert!(SwapHeader { last_page: 0, ..header() }.build().is_err());
        assert!(SwapHeader { bad_pages: vec![4096], ..header() }.build().is_err());
        assert!(SwapHeader { label: "x".repeat(17), ..header() }.build().is_err());
    }
}
