//! Slots for a folio: allocation, insertion into the cache and the charge, in one hold of the local lock.

use crate::base::error::{Result, SwapError};
use crate::base::types::{SwpEntry, SwpType};
use crate::folio::{Folio, FolioFlags, LockedFolio, check_home};
use crate::machine::OnCpu;
use crate::machine::device::SwapDevice;
use crate::slots::owner::CacheExit;
use crate::table::Shadow;

impl OnCpu<'_> {
    /// Gives a folio its slots. The entries hold the folio, with count 0.
    ///
    /// Errors: `NoSpace` (ENOSPC); `OverLimit` (ENOMEM) when the swap charge was refused; `AlreadyCached` (EEXIST);
    /// `FolioBusy` (EBUSY); `ForeignFolio` (EINVAL). Kernel: `folio_alloc_swap`; differs: takes the folio lock
    /// itself.
    pub fn folio_alloc_swap(&mut self, folio: Folio<'_>) -> Result<SwpEntry> {
        if let Some(entry) = folio.entry() {
            return Err(SwapError::AlreadyCached(entry));
        }
        let locked = folio.try_lock().ok_or(SwapError::FolioBusy(SwpEntry::NONE))?;
        self.alloc_for_folio(&locked)
    }

    /// Gives a locked folio its slots and charges them. Errors: as [`OnCpu::folio_alloc_swap`]. Steps OUT1 and OUT2.
    pub(crate) fn alloc_for_folio(&mut self, locked: &LockedFolio<'_>) -> Result<SwpEntry> {
        self.alloc_for_folio_on(locked, None)
    }

    /// [`OnCpu::alloc_for_folio`] on the first device with room among `types`.
    pub(crate) fn alloc_for_folio_on(
        &mut self,
        locked: &LockedFolio<'_>,
        types: Option<&[SwpType]>,
    ) -> Result<SwpEntry> {
        let folio = locked.folio();
        check_home(folio, self.swap().memory_of_folios())?;
        if let Some(entry) = folio.entry() {
            return Err(SwapError::AlreadyCached(entry));
        }
        let nr_pages = folio.nr_pages();
        // The cache takes its references before any thread can find the folio there.
        folio.add_refs(nr_pages);
        let mut op = self.operation();
        let run = op.alloc_cached(folio, types);
        op.bind_to_root(folio);
        let Some(entry) = run else {
            op.fail_swap(folio);
            folio.put_refs(nr_pages);
            self.finish();
            return Err(SwapError::NoSpace { nr_pages });
        };
        folio.set(FolioFlags::SWAPCACHE | FolioFlags::SWAPBACKED);
        if op.device(entry.ty()).is_some_and(SwapDevice::is_virtual) {
            // The virtual slots have no backing yet, so the folio is the only copy of its data.
            folio.set(FolioFlags::DIRTY);
        }
        op.counters.add_cached(nr_pages.into());
        if let Err(error) = op.try_charge_swap(locked) {
            self.del_locked(locked, CacheExit::Uncharged(Shadow::default()))?;
            return Err(error);
        }
        self.finish();
        Ok(entry)
    }
}
