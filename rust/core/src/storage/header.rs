//! The SWAPSPACE2 header page that `mkswap` writes and `swapon` reads.

use crate::base::error::{Result, SwapError};
use crate::base::limits::{MAX_SWAP_BADPAGES, PAGE_SIZE};

const VERSION_AT: usize = 1024;
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

impl SwapHeader {
    /// Parses a header page in little-endian or big-endian byte order. Errors: `BadHeader`, `TooManyBadPages`
    /// (EINVAL).
    ///
    /// Kernel: `read_swap_header`.
    pub fn parse(page: &[u8]) -> Result<Self> {
        if page.len() < PAGE_SIZE {
            return Err(SwapError::BadHeader("shorter than a page"));
        }
        if &page[MAGIC_AT..MAGIC_AT + MAGIC.len()] != MAGIC {
            return Err(SwapError::BadHeader("no SWAPSPACE2 signature"));
        }
        let word = |at: usize| page[at..at + 4].try_into().expect("4 bytes");
        let read: fn([u8; 4]) -> u32 = match word(VERSION_AT) {
            bytes if u32::from_le_bytes(bytes) == VERSION => u32::from_le_bytes,
            bytes if u32::from_be_bytes(bytes) == VERSION => u32::from_be_bytes,
            _ => return Err(SwapError::BadHeader("unknown version")),
        };
        let last_page = read(word(LAST_PAGE_AT));
        if last_page == 0 {
            return Err(SwapError::BadHeader("last page 0, an empty device"));
        }
        let nr_bad = read(word(NR_BADPAGES_AT)) as usize;
        if nr_bad > MAX_SWAP_BADPAGES {
            return Err(SwapError::TooManyBadPages(nr_bad));
        }
        let label = page[LABEL_AT..LABEL_AT + 16].split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(Self {
            last_page,
            bad_pages: (0..nr_bad).map(|i| read(word(BADPAGES_AT + 4 * i))).collect(),
            uuid: page[UUID_AT..UUID_AT + 16].try_into().expect("16 bytes"),
            label: String::from_utf8_lossy(label).into_owned(),
        })
    }

    /// Builds the header page in little-endian byte order. Errors: `BadHeader`, `TooManyBadPages`,
    /// `BadPageOutOfRange` (EINVAL).
    pub fn build(&self) -> Result<Vec<u8>> {
        if self.last_page == 0 {
            return Err(SwapError::BadHeader("last page 0, an empty device"));
        }
        if self.bad_pages.len() > MAX_SWAP_BADPAGES {
            return Err(SwapError::TooManyBadPages(self.bad_pages.len()));
        }
        if self.label.len() > 16 {
            return Err(SwapError::BadHeader("label over 16 bytes"));
        }
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
