//! The ways to hold a folio: a reference, the folio lock, and a mapping of its pages by a caller that has no page
//! tables.

use std::ops::{Deref, Range};

use super::Folio;
use crate::base::types::Pfn;

/// A folio together with one reference to it. Dropping this value drops the reference.
#[derive(Debug)]
pub struct FolioRef<'a>(Folio<'a>);

impl<'a> FolioRef<'a> {
    /// Makes a `FolioRef` from a reference that the caller holds. The value takes over the reference.
    pub(crate) fn adopt(folio: Folio<'a>) -> Self {
        Self(folio)
    }

    /// Returns the folio.
    pub fn folio(&self) -> Folio<'a> {
        self.0
    }

    /// Returns the page frame number. The reference stays held although this value is gone; [`FolioRef::adopt`] is
    /// the inverse.
    pub(crate) fn into_raw(self) -> Pfn {
        let pfn = self.0.pfn;
        std::mem::forget(self);
        pfn
    }
}

impl Clone for FolioRef<'_> {
    fn clone(&self) -> Self {
        self.0.add_refs(1);
        Self(self.0)
    }
}

impl<'a> Deref for FolioRef<'a> {
    type Target = Folio<'a>;

    fn deref(&self) -> &Folio<'a> {
        &self.0
    }
}

impl Drop for FolioRef<'_> {
    fn drop(&mut self) {
        self.0.put_refs(1);
    }
}

/// A folio whose lock is held until this value is dropped.
#[derive(Debug)]
pub struct LockedFolio<'a>(pub(super) Folio<'a>);

impl<'a> LockedFolio<'a> {
    /// Returns the folio.
    pub fn folio(&self) -> Folio<'a> {
        self.0
    }

    /// Ends this value but not the lock: the lock stays held until [`Folio::unlock`].
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl<'a> Deref for LockedFolio<'a> {
    type Target = Folio<'a>;

    fn deref(&self) -> &Folio<'a> {
        &self.0
    }
}

impl Drop for LockedFolio<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// A folio, and the range of its pages that the holder maps. The mapping counts like the mapping by one page table,
/// but there is no page table.
#[derive(Debug)]
pub struct MappedFolio<'a> {
    folio: FolioRef<'a>,
    pages: Range<u32>,
}

impl<'a> MappedFolio<'a> {
    /// Maps all pages of a folio.
    pub fn map(folio: FolioRef<'a>) -> Self {
        folio.add_handle_mappings(0..folio.nr_pages());
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
