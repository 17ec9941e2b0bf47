//! Access to the bytes of a folio. Only this file makes slices of bytes from page frame numbers.
//!
//! Inside the core, readers share the bytes of a folio, and a writer excludes all other users. The holder of a view
//! (a NumPy array) may read and write the bytes at any time, so the core does not access the bytes while a view
//! exists. A reader, a writer and a view each hold a reference to the folio. A page belongs to at most one folio that
//! has references, so the bytes of two such folios never overlap, and the pages of such a folio are not freed.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

use super::{Folio, FolioRef};
use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::base::sync::relax;

const FREE: i32 = 0;
const WRITER: i32 = -1;
const FIRST_READER: i32 = -2;

/// Access to the bytes of a folio from inside the core: exclusive for a writer, shared for a reader.
#[derive(Debug)]
pub struct FolioAccess<'a, const IS_WRITER: bool>(FolioRef<'a>);

/// Shared access to the bytes of a folio.
pub type FolioBytes<'a> = FolioAccess<'a, false>;

/// Exclusive access to the bytes of a folio.
pub type FolioBytesMut<'a> = FolioAccess<'a, true>;

/// A view of the bytes for a user outside the core. The user may read and write the bytes at any time. The view holds
/// a reference to the folio.
#[derive(Debug)]
pub struct FolioView<'a>(FolioRef<'a>);

impl<'a> Folio<'a> {
    /// Changes the folio's count of users of the bytes to the result of `next`, which gets the old count. While
    /// `next` returns `None` for a negative count (users inside the core), the call waits. Errors: `DataInUse`
    /// (EBUSY) when `next` returns `None` for a positive count (views).
    fn take_data(self, next: impl Fn(i32) -> Option<i32>) -> Result<()> {
        let users = &self.memory.header(self.pfn).users;
        for round in 0.. {
            // Acquire pairs with the Release in `release_data`: this user sees the bytes as the last user left them.
            // Relaxed for a failure, because the next exchange detects a stale value.
            match users.fetch_update(Ordering::Acquire, Ordering::Relaxed, &next) {
                Ok(_) => break,
                Err(seen) if seen > FREE => return Err(SwapError::DataInUse(seen as u32)),
                Err(_) => relax(round),
            }
        }
        Ok(())
    }

    fn release_data(self, next: impl Fn(i32) -> i32) {
        let users = &self.memory.header(self.pfn).users;
        let step = |seen| Some(next(seen));
        // Release pairs with the Acquire in `take_data`.
        let _ = users.fetch_update(Ordering::Release, Ordering::Relaxed, step);
    }

    /// Returns shared access to the bytes. Waits for a writer inside the core. Errors: `DataInUse` (EBUSY) while
    /// views exist, `FolioBusy` (EBUSY) when the folio is frozen.
    pub fn bytes(self) -> Result<FolioBytes<'a>> {
        let folio = self.try_get().ok_or_else(|| self.busy())?;
        self.take_data(|seen| match seen {
            FREE => Some(FIRST_READER),
            ..=FIRST_READER => Some(seen - 1),
            _ => None,
        })?;
        Ok(FolioAccess(folio))
    }

    /// Returns exclusive access to the bytes. The caller marks the folio dirty. Waits for readers and writers inside
    /// the core. Errors: as [`Folio::bytes`].
    pub fn bytes_mut(self) -> Result<FolioBytesMut<'a>> {
        let folio = self.try_get().ok_or_else(|| self.busy())?;
        self.take_data(|seen| (seen == FREE).then_some(WRITER))?;
        Ok(FolioAccess(folio))
    }

    /// Returns the number of views of the folio's bytes.
    pub fn nr_views(self) -> u32 {
        // Relaxed: the number is a snapshot.
        self.memory.header(self.pfn).users.load(Ordering::Relaxed).max(0) as u32
    }

    fn len_bytes(self) -> usize {
        self.nr_pages() as usize * PAGE_SIZE
    }
}

impl<'a> FolioRef<'a> {
    /// Returns a view of the bytes. Waits for readers and writers inside the core.
    pub fn view(&self) -> FolioView<'a> {
        let taken = self.take_data(|seen| (seen >= FREE).then_some(seen + 1));
        debug_assert!(taken.is_ok(), "views do not exclude each other");
        FolioView(self.clone())
    }
}

impl<'a> FolioView<'a> {
    /// Makes a `FolioView` for a view that already counts as a user of the bytes. The value takes over the caller's
    /// reference.
    pub(crate) fn adopt(folio: FolioRef<'a>) -> Self {
        Self(folio)
    }

    /// Returns the page-aligned address and the length of the bytes. Both are valid until the view is dropped.
    pub fn as_raw(&self) -> (*mut u8, usize) {
        (self.0.memory.address(self.0.pfn, self.0.nr_pages()), self.0.len_bytes())
    }
}

impl<const IS_WRITER: bool> Deref for FolioAccess<'_, IS_WRITER> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.0.memory.address(self.0.pfn, self.0.nr_pages());
        // SAFETY: 1. the pages lie in the mapping, which `address` asserts, and every byte pattern is a valid u8. 2.
        // the pages belong to this folio alone and the folio keeps its size, because this value holds a reference. 3.
        // no other thread writes the pages until this value is dropped: if this value is a reader, the user count
        // means "readers", which excludes views and writers inside the core; if this value is a writer, the user
        // count means "writer", and this value is the only user. 4. the mapping lives as long as the memory, which
        // outlives the handle.
        #[expect(unsafe_code, reason = "pages are raw memory")]
        unsafe {
            std::slice::from_raw_parts(start, self.0.len_bytes())
        }
    }
}

impl DerefMut for FolioBytesMut<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.0.memory.address(self.0.pfn, self.0.nr_pages());
        // SAFETY: as in `deref`. No other thread reads or writes the pages, because the user count means "writer" and
        // this value is that writer. `&mut self` excludes other borrows of this value.
        #[expect(unsafe_code, reason = "pages are raw memory")]
        unsafe {
            std::slice::from_raw_parts_mut(start, self.0.len_bytes())
        }
    }
}

impl<const IS_WRITER: bool> Drop for FolioAccess<'_, IS_WRITER> {
    fn drop(&mut self) {
        self.0.release_data(|seen| if IS_WRITER || seen == FIRST_READER { FREE } else { seen + 1 });
    }
}

impl Drop for FolioView<'_> {
    fn drop(&mut self) {
        self.0.release_data(|seen| seen - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{memory, order};
    use super::*;
    use crate::base::sync::tests::assert_excludes;

    #[test]
    fn readers_share_a_writer_excludes_and_views_keep_the_core_out() {
        let memory = memory();
        let folio = memory.alloc(order(1)).expect("room");
        folio.bytes_mut().expect("no other user of the bytes").fill(7);
        let (one, two) = (folio.bytes().expect("readers share"), folio.bytes().expect("readers share"));
        assert!(one.iter().chain(two.iter()).all(|&byte| byte == 7));
        drop((one, two));
        let view = folio.view();
        assert_eq!((folio.refs(), folio.nr_views(), view.as_raw().1), (2, 1, 8192));
        assert_eq!(folio.bytes().map(|_| ()), Err(SwapError::DataInUse(1)));
        assert_eq!(folio.bytes_mut().map(|_| ()), Err(SwapError::DataInUse(1)));
        drop(view);
        assert_eq!((folio.refs(), folio.bytes_mut().expect("the view is gone").len()), (1, 8192));
    }

    #[test]
    fn a_writer_waits_for_the_one_before() {
        let memory = memory();
        let folio = memory.alloc(order(0)).expect("room");
        assert_excludes(|| folio.bytes_mut().expect("no views"));
    }
}
