//! Size classes of the pool: the object sizes, and the number of pages that are chained to hold objects of each size.

use std::cmp::Reverse;

use crate::base::limits::PAGE_SIZE;

/// Bytes of an object in front of its data; these bytes hold the object's owner. Kernel: `ZS_HANDLE_SIZE`.
pub(super) const HANDLE_SIZE: usize = 8;
/// Largest number of pages of a zspage. Kernel: `CONFIG_ZSMALLOC_CHAIN_SIZE`.
pub(super) const CHAIN_PAGES_MAX: usize = 8;
/// Size classes before merging. Kernel: `ZS_SIZE_CLASSES`.
pub(super) const NR_SIZES: usize = 255;
/// Largest number of objects of a zspage; a test checks every class.
pub(super) const OBJECTS_MAX: usize = 256;

const SIZE_MIN: usize = 32;
const SIZE_STEP: usize = 16;

/// Layout of a zspage of a class. Kernel: `struct size_class`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    /// Bytes of an object.
    pub(super) size_bytes: usize,
    /// Pages of a zspage.
    pub(super) nr_pages: usize,
    /// Objects of a zspage.
    pub(super) nr_objects: usize,
}

impl Geometry {
    /// Chooses the chain with the least waste in whole percent, and the shortest chain of equal waste. This rule
    /// gives the class counts that the kernel's documentation lists for each chain; a rule on waste in bytes gives
    /// other counts.
    fn of(size_bytes: usize, chain_pages_max: usize) -> Self {
        let used_percent = |pages: usize| pages * PAGE_SIZE / size_bytes * size_bytes * 100 / (pages * PAGE_SIZE);
        let nr_pages = (1..=chain_pages_max).min_by_key(|&pages| Reverse(used_percent(pages))).unwrap_or(1);
        Self { size_bytes, nr_pages, nr_objects: nr_pages * PAGE_SIZE / size_bytes }
    }

    /// Returns whether an object is a whole page; such an object has no handle in front of its data.
    pub(super) fn is_huge(self) -> bool {
        self.nr_objects == 1
    }
}

/// The distinct classes, largest first, and the class of each size.
#[derive(Debug)]
pub(super) struct Classes {
    pub(super) distinct: Vec<Geometry>,
    of_size: [u8; NR_SIZES],
}

impl Classes {
    /// Makes the classes; sizes with equal chain and object count share the class of the largest size. Kernel:
    /// `zs_create_pool`.
    pub(super) fn new(chain_pages_max: usize) -> Self {
        let (mut distinct, mut of_size) = (Vec::<Geometry>::new(), [0; NR_SIZES]);
        for (i, class) in of_size.iter_mut().enumerate().rev() {
            let new = Geometry::of(SIZE_MIN + i * SIZE_STEP, chain_pages_max);
            let merges = |last: &Geometry| last.nr_pages == new.nr_pages && last.nr_objects == new.nr_objects;
            if !distinct.last().is_some_and(merges) {
                distinct.push(new);
            }
            *class = (distinct.len() - 1) as u8;
        }
        Self { distinct, of_size }
    }

    /// Returns the class for data of `bytes` bytes; the class of the largest size holds whole pages without a handle.
    #[inline]
    pub(super) fn for_bytes(&self, bytes: usize) -> usize {
        let index = (bytes + HANDLE_SIZE).saturating_sub(SIZE_MIN).div_ceil(SIZE_STEP);
        self.of_size[index.min(NR_SIZES - 1)].into()
    }

    /// Returns the largest data in bytes that is stored in less than a page. Kernel: `huge_class_size`.
    pub(super) fn data_bytes_max(&self) -> usize {
        let watermark = self.distinct.iter().find(|class| !class.is_huge()).map_or(0, |class| class.size_bytes);
        watermark.saturating_sub(HANDLE_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_classes_and_watermarks_are_those_of_zsmalloc() {
        for (chain, watermark, nr) in
            [(4, 3264, 69), (5, 3408, 86), (6, 3504, 93), (7, 3584, 112), (8, 3632, 123), (16, 3840, 191)]
        {
            let classes = Classes::new(chain);
            assert_eq!((classes.data_bytes_max() + HANDLE_SIZE, classes.distinct.len()), (watermark, nr), "{chain}");
        }
    }

    #[test]
    fn the_chain_wastes_least() {
        let class = Geometry::of(1568, CHAIN_PAGES_MAX);
        assert_eq!(class, Geometry { size_bytes: 1568, nr_pages: 5, nr_objects: 13 });
    }

    #[test]
    fn an_object_of_each_length_fits_its_class() {
        let classes = Classes::new(CHAIN_PAGES_MAX);
        for bytes in 1..=classes.data_bytes_max() {
            let class = classes.distinct[classes.for_bytes(bytes)];
            assert!(bytes + HANDLE_SIZE <= class.size_bytes && !class.is_huge(), "{bytes} in {class:?}");
        }
        assert_eq!(classes.data_bytes_max(), 3624);
        let whole = classes.distinct[classes.for_bytes(PAGE_SIZE)];
        assert_eq!(whole, Geometry { size_bytes: PAGE_SIZE, nr_pages: 1, nr_objects: 1 });
        assert!(classes.distinct.iter().all(|class| class.nr_objects <= OBJECTS_MAX));
    }
}
