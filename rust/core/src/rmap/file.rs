//! The reverse map of files in memory: from a folio to the entries of the file that name the folio.

use std::ops::Range;
use std::sync::Arc;

use super::Numbers;
use crate::base::error::{Result, SwapError};
use crate::base::sync::SpinMutex;
use crate::base::types::{Order, Pfn, SwpEntry};
use crate::folio::Folio;

/// The content of the file at an index. Kernel: a value of the mapping's XArray; differs: a large entry is stored at
/// each of its indices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ShmemEntry {
    /// A hole, which reads as zeros.
    #[default]
    None,
    /// A page of a folio in memory.
    Page {
        /// The folio's first page.
        pfn: Pfn,
        /// Index of the page in the folio.
        page: u16,
    },
    /// A page that was swapped out with the other pages of an aligned range.
    Swap {
        /// The slot of this page.
        entry: SwpEntry,
        /// Order of the range that was swapped out together.
        order: Order,
    },
}

impl ShmemEntry {
    /// Returns the slot of a swapped-out page, and the order of the range that was swapped out together.
    pub fn swapped(self) -> Option<(SwpEntry, Order)> {
        match self {
            Self::Swap { entry, order } => Some((entry, order)),
            _ => None,
        }
    }

    /// Returns whether the entry is page `page` of a folio.
    pub(crate) fn is_page_of(self, folio: Folio<'_>, page: u32) -> bool {
        matches!(self, Self::Page { pfn, page: own } if pfn == folio.pfn() && u32::from(own) == page)
    }
}

/// The entries of one file. Folios store the number of their `FileMapping`. Kernel: `struct address_space`.
#[derive(Debug)]
pub(crate) struct FileMapping {
    number: u32,
    home: Arc<FileMappings>,
    /// Entries by index. Lock order: folio lock > this lock > a CPU's local lock. Kernel: `i_pages`.
    pub(crate) entries: SpinMutex<Box<[ShmemEntry]>>,
}

impl FileMapping {
    /// Stores the pages of a folio in entries that start at index `first`, each with a reference. The caller holds
    /// the lock of the entries. Kernel: `shmem_add_to_page_cache`.
    pub(crate) fn fill(&self, entries: &mut [ShmemEntry], first: usize, folio: Folio<'_>) {
        folio.set_file_rmap(self.number, first as u32);
        folio.add_mappings(0..folio.nr_pages());
        for (page, entry) in entries[first..][..folio.nr_pages() as usize].iter_mut().enumerate() {
            *entry = ShmemEntry::Page { pfn: folio.pfn(), page: page as u16 };
        }
    }

    /// Returns the entries that can name the pages of a folio. Kernel: the range of `rmap_walk_file`.
    pub(crate) fn entries_of<'e>(entries: &'e mut [ShmemEntry], folio: Folio<'_>) -> &'e mut [ShmemEntry] {
        let end = entries.len();
        let at = |index: u32| (index as usize).min(end);
        let range: Range<usize> = at(folio.page_index())..at(folio.page_index() + folio.nr_pages());
        &mut entries[range]
    }
}

impl Drop for FileMapping {
    fn drop(&mut self) {
        self.home.numbers.lock().release(self.number);
    }
}

/// Every [`FileMapping`] by number.
#[derive(Debug, Default)]
pub(crate) struct FileMappings {
    numbers: SpinMutex<Numbers<FileMapping>>,
}

impl FileMappings {
    /// Makes the entries of a file of holes. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn add_file(self: &Arc<Self>, nr_pages: usize) -> Result<Arc<FileMapping>> {
        let mut entries = Vec::new();
        let bytes = nr_pages * size_of::<ShmemEntry>();
        entries.try_reserve_exact(nr_pages).map_err(|_| SwapError::NoMemory(bytes as u64))?;
        entries.resize(nr_pages, ShmemEntry::None);
        let entries = SpinMutex::new(entries.into_boxed_slice());
        Ok(self.numbers.lock().alloc(|number| FileMapping { number, home: self.clone(), entries }))
    }

    /// Returns the file of a folio, or `None` when the folio is anonymous. Kernel: `folio_mapping`.
    pub(crate) fn mapping_of(&self, folio: Folio<'_>) -> Option<Arc<FileMapping>> {
        match folio.file_mapping() {
            0 => None,
            number => self.numbers.lock().value_of(number),
        }
    }
}
