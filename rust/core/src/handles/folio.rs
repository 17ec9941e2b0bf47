//! Folio handles. A handle keeps its [`Swap`] alive with an `Arc`, because a language binding cannot hold Rust
//! borrows.

use std::fmt;
use std::mem;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, Order, Pfn, SwpEntry};
use crate::folio::{Folio, FolioFlags, FolioRef, FolioView};
use crate::machine::Swap;
use crate::swapping::swapout::{KeptFolio, MappedFolio};

/// The state of a handle.
#[derive(Debug)]
enum HandleState {
    /// The folio is in memory. The handle has one reference to the folio, maps the pages of `mapped`, and holds the
    /// folio lock if `is_locked` is true.
    Here { mapped: Range<u32>, is_locked: bool },
    /// Another thread is swapping the folio out, splitting it or moving it through this handle.
    Moving,
    /// The folio was swapped out, split, moved or dropped. `entry` is the first slot of a folio that was swapped out.
    Gone { entry: Option<SwpEntry> },
}

impl HandleState {
    /// Returns the error for a handle without a folio in memory.
    fn absent(&self) -> SwapError {
        match self {
            Self::Gone { entry } => SwapError::FolioGone(entry.unwrap_or(SwpEntry::NONE)),
            Self::Here { .. } | Self::Moving => SwapError::FolioBusy(SwpEntry::NONE),
        }
    }
}

/// The result of a call that consumes a folio. The error case gives the folio back to the caller.
type Outcome<'a, T> = std::result::Result<T, (MappedFolio<'a>, SwapError)>;

/// A handle that has one reference to a folio. The handle may also map the folio, as a page table does. When the
/// handle is dropped, the folio is unmapped and loses the reference.
pub struct FolioHandle {
    swap: Arc<Swap>,
    pfn: Pfn,
    order: Order,
    state: Mutex<HandleState>,
}

impl fmt::Debug for FolioHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FolioHandle").field("order", &self.order).field("state", &*self.state()).finish_non_exhaustive()
    }
}

impl FolioHandle {
    /// Makes a handle that maps no page of its folio. Errors: `ForeignFolio` (EINVAL).
    pub fn unmapped(swap: &Arc<Swap>, folio: FolioRef<'_>) -> Result<Self> {
        Self::mapped(swap, MappedFolio::from_parts(folio, 0..0))
    }

    /// Makes a handle that maps the pages that `folio` maps. Errors: `ForeignFolio` (EINVAL).
    pub fn mapped(swap: &Arc<Swap>, folio: MappedFolio<'_>) -> Result<Self> {
        crate::folio::check_home(folio.folio().folio(), swap.memory_of_folios())?;
        let (folio, mapped) = folio.into_parts();
        let (order, state) = (folio.order(), Mutex::new(HandleState::Here { mapped, is_locked: false }));
        Ok(Self { swap: swap.clone(), pfn: folio.into_raw(), order, state })
    }

    fn state(&self) -> MutexGuard<'_, HandleState> {
        // A poisoned lock is used too. The state is consistent after a panic, because each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the subsystem.
    pub fn swap(&self) -> &Arc<Swap> {
        &self.swap
    }

    /// Returns the order of the folio. The order is also known after the folio left the handle.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Returns the page frame number of the folio's first page. When the handle has no folio any more, the page may
    /// belong to another folio.
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Returns whether this handle and the handle `other` have the same folio in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (Arc::ptr_eq(&self.swap, &other.swap)
                && self.pfn == other.pfn
                && self.is_resident()
                && other.is_resident())
    }

    /// Returns whether the folio is in memory and no thread is swapping out, splitting or moving the folio through
    /// this handle.
    pub fn is_resident(&self) -> bool {
        matches!(*self.state(), HandleState::Here { .. })
    }

    /// Returns the first slot of the folio if this handle swapped the folio out, else `None`.
    pub fn gone_to(&self) -> Option<SwpEntry> {
        match *self.state() {
            HandleState::Gone { entry } => entry,
            _ => None,
        }
    }

    fn folio(&self) -> Folio<'_> {
        self.swap.memory_of_folios().folio(self.pfn)
    }

    /// Calls a function with the folio. Errors: `FolioGone` (ENOENT); `FolioBusy` (EBUSY) while another thread swaps
    /// out, splits or moves the folio.
    pub fn with<T>(&self, call: impl FnOnce(&FolioRef<'_>) -> Result<T>) -> Result<T> {
        let folio = {
            let state = self.state();
            match &*state {
                HandleState::Here { .. } => self.folio().try_get().ok_or(SwapError::FolioBusy(SwpEntry::NONE))?,
                state => return Err(state.absent()),
            }
        };
        call(&folio)
    }

    /// Returns a view of the bytes and marks the folio dirty, because the holder of the view may write at any time.
    /// Errors: as `with`.
    pub fn view(&self) -> Result<FolioViewHandle> {
        self.with(|folio| {
            let view = folio.view();
            folio.folio_mark_dirty();
            let (address, len_bytes) = view.as_raw();
            mem::forget(view);
            Ok(FolioViewHandle {
                swap: self.swap.clone(),
                pfn: self.pfn,
                address: address.expose_provenance(),
                len_bytes,
            })
        })
    }

    /// Maps the whole folio through this handle if `is_mapped` is true, else unmaps the folio. Errors: as `with`.
    pub fn set_mapped(&self, is_mapped: bool, cpu: CpuId) -> Result<()> {
        let mut state = self.state();
        let HandleState::Here { mapped, .. } = &mut *state else { return Err(state.absent()) };
        let folio = self.folio();
        match (is_mapped, mapped.start == mapped.end) {
            (true, true) => {
                folio.add_handle_mappings(0..folio.nr_pages());
                *mapped = 0..folio.nr_pages();
            }
            (false, false) => {
                let pages = mem::replace(mapped, 0..0);
                let folio = folio.try_get().expect("the handle has a reference");
                self.swap.folio_unmap(MappedFolio::from_parts(folio, pages), cpu)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// If `wants_lock` is true, takes the folio lock for this handle, unless the lock is held already. Otherwise
    /// releases the folio lock if this handle holds it.
    pub fn set_locked(&self, wants_lock: bool) {
        if let HandleState::Here { is_locked, .. } = &mut *self.state() {
            if wants_lock && !*is_locked {
                if let Some(locked) = self.folio().try_lock() {
                    locked.set(FolioFlags::HELD);
                    locked.keep();
                    *is_locked = true;
                }
            } else if !wants_lock && mem::take(is_locked) {
                self.let_go();
            }
        }
    }

    /// Takes the folio lock for this handle, and waits while an operation holds the lock. Errors: `FolioGone` (ENOENT);
    /// `FolioBusy` (EBUSY) while this handle or another handle holds the lock, or while another thread moves the folio.
    pub fn hold_lock(&self) -> Result<()> {
        let mut state = self.state();
        let HandleState::Here { is_locked, .. } = &mut *state else { return Err(state.absent()) };
        let locked = self.folio().lock_for_fault()?;
        locked.set(FolioFlags::HELD);
        locked.keep();
        *is_locked = true;
        Ok(())
    }

    /// Releases the folio lock that this handle took.
    fn let_go(&self) {
        self.folio().clear(FolioFlags::HELD);
        self.folio().unlock();
    }

    /// Marks the folio dirty and up to date if `is_dirty` is true, else clears the flag `DIRTY`. Errors: as `with`.
    pub fn set_dirty(&self, is_dirty: bool) -> Result<()> {
        self.with(|folio| {
            if is_dirty {
                folio.folio_mark_dirty();
            } else {
                folio.clear(FolioFlags::DIRTY);
            }
            Ok(())
        })
    }

    /// Sets or clears the writeback state of the folio. Errors: as `with`.
    pub fn set_writeback(&self, is_under_writeback: bool) -> Result<()> {
        self.with(|folio| {
            folio.hold_writeback(is_under_writeback);
            Ok(())
        })
    }

    /// Takes the folio out of the handle for a call that may consume the folio. Errors: as `with`; `FolioBusy`
    /// (EBUSY) while this handle holds the folio lock.
    fn take(&self) -> Result<MappedFolio<'_>> {
        let mut state = self.state();
        match &*state {
            HandleState::Here { is_locked: true, .. } => Err(self.folio().busy()),
            HandleState::Here { mapped, .. } => {
                let mapped = mapped.clone();
                *state = HandleState::Moving;
                Ok(MappedFolio::from_parts(FolioRef::adopt(self.folio()), mapped))
            }
            state => Err(state.absent()),
        }
    }

    /// Ends a call that consumes the folio. After success the handle is empty. After an error the handle has the
    /// folio again.
    fn settle<T>(&self, result: Outcome<'_, T>, entry: Option<SwpEntry>) -> Result<T> {
        result.inspect(|_| *self.state() = HandleState::Gone { entry }).map_err(|(folio, error)| {
            let (folio, mapped) = folio.into_parts();
            folio.into_raw();
            *self.state() = HandleState::Here { mapped, is_locked: false };
            error
        })
    }

    /// Swaps the folio out and empties the handle. If no page of the folio is mapped, the handle maps the whole folio
    /// before the swap-out.
    ///
    /// Errors: as [`Swap::swap_out`] and `with`. After an error the folio is resident and mapped by the handle. If
    /// the call allocated slots before the error, the folio keeps the slots.
    pub fn swap_out(&self, cpu: CpuId) -> Result<SwpEntry> {
        let mut taken = self.take()?;
        if taken.pages().is_empty() && !taken.folio().is_mapped() {
            taken = MappedFolio::map(taken.into_parts().0);
        }
        let result = self.swap.swap_out(taken, cpu).map_err(|KeptFolio { folio, error }| (folio, error));
        let entry = result.as_ref().ok().copied();
        self.settle(result, entry)
    }

    /// Splits the folio and empties this handle. Errors: as [`Swap::folio_split`] and `with`. After an error the
    /// folio is unchanged.
    pub fn split(&self, order: Order, cpu: CpuId) -> Result<Vec<Self>> {
        let parts = self.settle(self.swap.folio_split(self.take()?, order, cpu), None)?;
        parts.into_iter().map(|part| Self::mapped(&self.swap, part)).collect()
    }

    /// Moves the folio's content to other memory and empties this handle. Errors: as [`Swap::folio_migrate`] and
    /// `with`.
    pub fn migrate(&self, cpu: CpuId) -> Result<Self> {
        Self::mapped(&self.swap, self.settle(self.swap.folio_migrate(self.take()?, cpu), None)?)
    }
}

impl Drop for FolioHandle {
    fn drop(&mut self) {
        let state = mem::replace(&mut *self.state(), HandleState::Gone { entry: None });
        if let HandleState::Here { mapped, is_locked } = state {
            if is_locked {
                self.let_go();
            }
            let folio = FolioRef::adopt(self.folio());
            if !mapped.is_empty() {
                // CPU 0 always exists. The result is ignored, because reclaim frees any slots that this call
                // cannot free.
                let _ = self.swap.folio_unmap(MappedFolio::from_parts(folio, mapped), CpuId(0));
            }
        }
    }
}

/// A view of a folio's bytes that keeps its subsystem alive. See [`FolioView`].
#[derive(Debug)]
pub struct FolioViewHandle {
    swap: Arc<Swap>,
    pfn: Pfn,
    /// The address as a number with exposed provenance, because a struct with a raw pointer cannot move to another
    /// thread.
    address: usize,
    len_bytes: usize,
}

impl FolioViewHandle {
    /// Returns the page-aligned address and the length of the bytes. The bytes are valid until the view is dropped.
    pub fn as_raw(&self) -> (*mut u8, usize) {
        (std::ptr::with_exposed_provenance_mut(self.address), self.len_bytes)
    }
}

impl Drop for FolioViewHandle {
    fn drop(&mut self) {
        drop(FolioView::adopt(FolioRef::adopt(self.swap.memory_of_folios().folio(self.pfn))));
    }
}
