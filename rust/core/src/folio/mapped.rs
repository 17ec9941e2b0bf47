//! A folio that is mapped by a holder without page tables.

use std::ops::Range;

use super::FolioRef;

/// A folio, and the pages of the folio that the holder maps, as if one page table mapped these pages.
#[derive(Debug)]
pub struct MappedFolio<'a> {
    folio: FolioRef<'a>,
    pages: Range<u32>,
}

impl<'a> MappedFolio<'a> {
    /// Maps all pages of a folio.
    pub fn map(folio: FolioRef<'a>) -> Self {
        folio.add_mappings(folio.nr_pages());
        Self { pages: 0..folio.nr_pages(), folio }
    }

    /// Returns the folio.
    pub fn folio(&self) -> &FolioRef<'a> {
        &self.folio
    }

    /// Returns the range of mapped pages in the folio.
    pub fn pages(&self) -> Range<u32> {
        self.pages.clone()
    }

    /// Returns the folio and its mapped pages. [`MappedFolio::from_parts`] is the inverse.
    pub(crate) fn into_parts(self) -> (FolioRef<'a>, Range<u32>) {
        (self.folio, self.pages)
    }

    pub(crate) fn from_parts(folio: FolioRef<'a>, pages: Range<u32>) -> Self {
        Self { folio, pages }
    }
}
