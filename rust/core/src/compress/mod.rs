//! Compression and decompression of single pages. Each thread has its own scratch memory.

pub(crate) mod zsmalloc;

use std::cell::RefCell;

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::base::words::unknown_name;

#[cfg(feature = "zstd")]
const KNOWN: &[&str] = &["lz4", "zstd"];
#[cfg(not(feature = "zstd"))]
const KNOWN: &[&str] = &["lz4 (zstd needs a build with the feature zstd)"];

/// The compression level of zstd when the caller gives no level.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL_DEFAULT: i32 = 3;
#[cfg(feature = "zstd")]
const ZSTD_LEVEL_MAX: i32 = 22;

/// Algorithm that compresses pages. Kernel: `comp_algorithm` of zram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// LZ4 blocks, implemented in safe Rust. LZ4 has no levels.
    #[default]
    Lz4,
    /// Zstandard, implemented by the C library of Zstandard.
    #[cfg(feature = "zstd")]
    Zstd {
        /// Compression level, 1..=22. A higher level gives smaller data and is slower.
        level: i32,
    },
}

impl Algorithm {
    /// Finds an algorithm by the name that the kernel uses. `level` must be `None` for an algorithm without levels.
    /// Errors: `UnknownName` (EINVAL) when the build does not have the algorithm; `OutOfRange` (EINVAL) when the
    /// algorithm does not have the level.
    pub fn from_name(name: &str, level: Option<i32>) -> Result<Self> {
        match (name, level) {
            ("lz4", None) => Ok(Self::Lz4),
            ("lz4", Some(level)) => {
                let what = "the level of lz4, which has none,";
                Err(SwapError::OutOfRange { what, value: level.into(), low: 0, high: 0 })
            }
            #[cfg(feature = "zstd")]
            ("zstd", level) => Self::Zstd { level: level.unwrap_or(ZSTD_LEVEL_DEFAULT) }.checked(),
            _ => Err(unknown_name("compression algorithm", name, KNOWN)),
        }
    }

    /// Returns the name that the kernel uses for the algorithm.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            #[cfg(feature = "zstd")]
            Self::Zstd { .. } => "zstd",
        }
    }

    pub(crate) fn checked(self) -> Result<Self> {
        match self {
            #[cfg(feature = "zstd")]
            Self::Zstd { level } if !(1..=ZSTD_LEVEL_MAX).contains(&level) => {
                let (value, high) = (level.into(), ZSTD_LEVEL_MAX as u64);
                Err(SwapError::OutOfRange { what: "the level of zstd", value, low: 1, high })
            }
            _ => Ok(self),
        }
    }
}

/// The scratch memory of a thread. The thread keeps it from one page to the next, so that compression allocates no
/// memory and takes no lock.
pub(crate) struct Scratch {
    table: CompressTable,
    out: Box<[u8]>,
    #[cfg(feature = "zstd")]
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
}

impl Scratch {
    fn new() -> Self {
        Self {
            table: CompressTable::small(),
            out: vec![0; get_maximum_output_size(PAGE_SIZE)].into(),
            #[cfg(feature = "zstd")]
            zstd: None,
        }
    }

    /// Compresses a page into the scratch memory. Returns `None` when the compressor fails or the compressed data
    /// does not fit the scratch memory.
    #[inline]
    pub(crate) fn compress(&mut self, algorithm: Algorithm, page: &[u8]) -> Option<&[u8]> {
        let bytes = match algorithm {
            Algorithm::Lz4 => compress_into_with_table(page, &mut self.out, &mut self.table).ok()?,
            #[cfg(feature = "zstd")]
            Algorithm::Zstd { level } => {
                if self.zstd.as_ref().is_none_or(|kept| kept.0 != level) {
                    self.zstd = Some((level, zstd::bulk::Compressor::new(level).ok()?));
                }
                self.zstd.as_mut()?.1.compress_to_buffer(page, &mut self.out[..]).ok()?
            }
        };
        Some(&self.out[..bytes])
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
    #[cfg(feature = "zstd")]
    static UNZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Calls `body` with the scratch memory of this thread. Kernel: `zcomp_stream_get`; differs: the memory is per
/// thread, not per CPU.
pub(crate) fn with_scratch<R>(body: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(body)
}

/// Decompresses data into `page`. Data of the size of a whole page is not compressed and is copied. Returns whether
/// the result is one whole page.
#[inline]
pub(crate) fn decompress(algorithm: Algorithm, data: &[u8], page: &mut [u8]) -> bool {
    let bytes = match algorithm {
        _ if data.len() == PAGE_SIZE => {
            page.copy_from_slice(data);
            return true;
        }
        Algorithm::Lz4 => decompress_into(data, page).ok(),
        #[cfg(feature = "zstd")]
        Algorithm::Zstd { .. } => UNZSTD.with_borrow_mut(|kept| {
            if kept.is_none() {
                *kept = zstd::bulk::Decompressor::new().ok();
            }
            kept.as_mut()?.decompress_to_buffer(data, page).ok()
        }),
    };
    bytes == Some(PAGE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_built_are_refused_with_those_that_are() {
        assert_eq!(Algorithm::from_name("lz4", None), Ok(Algorithm::Lz4));
        assert!(Algorithm::from_name("lz4", Some(1)).is_err());
        let error = Algorithm::from_name("lzo", None).expect_err("not built");
        assert!(error.errno() == 22 && error.to_string().contains("lz4"), "{error}");
        #[cfg(not(feature = "zstd"))]
        assert!(Algorithm::from_name("zstd", None).expect_err("not built").to_string().contains("feature zstd"));
        #[cfg(feature = "zstd")]
        assert!(Algorithm::from_name("zstd", Some(23)).is_err() && Algorithm::from_name("zstd", Some(22)).is_ok());
    }

    #[test]
    fn damaged_data_is_no_page_and_no_panic() {
        let page: Vec<u8> = (0..PAGE_SIZE).map(|i| (i / 7) as u8).collect();
        let packed = with_scratch(|scratch| scratch.compress(Algorithm::Lz4, &page).expect("room").to_vec());
        let mut back = vec![0; PAGE_SIZE];
        assert!(decompress(Algorithm::Lz4, &packed, &mut back) && back == page);
        assert!(!decompress(Algorithm::Lz4, &packed[..packed.len() / 2], &mut back));
        for at in 0..packed.len() {
            let mut broken = packed.clone();
            broken[at] ^= 0xff;
            decompress(Algorithm::Lz4, &broken, &mut back);
        }
    }
}
