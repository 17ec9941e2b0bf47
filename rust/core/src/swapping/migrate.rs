//! Migration: the content of a folio moves to a new folio.

use crate::base::error::{Result, SwapError};
use crate::base::gfp::Gfp;
use crate::base::types::{CpuId, Order};
use crate::folio::{FolioRef, MappedFolio, check_home};
use crate::machine::Swap;

impl Swap {
    /// Moves the content of a mapped folio to a new folio. The new folio is mapped and cached as the old folio was.
    ///
    /// The allocation of the new folio may reclaim. Errors, with the folio given back: `NoMemory` (ENOMEM);
    /// `FolioPinned`, `FolioBusy`, `DataInUse` (EBUSY); `ForeignFolio` (EINVAL). Kernel: `migrate_pages` of one folio
    /// with `alloc_migration_target`, `migrate_folio`, `folio_migrate_mapping`.
    pub fn folio_migrate<'s>(
        &'s self,
        mapped: MappedFolio<'s>,
        cpu: CpuId,
    ) -> std::result::Result<MappedFolio<'s>, (MappedFolio<'s>, SwapError)> {
        let active = self.begin_activity();
        let (old, pages) = mapped.into_parts();
        let result = self.migrate_parts(&old, pages.clone(), cpu);
        self.end_operation(active);
        match result {
            Ok(new) => {
                old.into_raw();
                Ok(MappedFolio::from_parts(new, pages))
            }
            Err(error) => Err((MappedFolio::from_parts(old, pages), error)),
        }
    }

    fn migrate_parts<'s>(
        &'s self,
        old: &FolioRef<'s>,
        pages: std::ops::Range<u32>,
        cpu: CpuId,
    ) -> Result<FolioRef<'s>> {
        check_home(old.folio(), self.memory_of_folios())?;
        let gfp = if old.order() == Order::ZERO { Gfp::HIGHUSER_MOVABLE } else { Gfp::TRANSHUGE };
        // The old folio is not locked yet, because the allocation may reclaim.
        let new = self.folio_alloc(old.order(), gfp, cpu)?;
        let locked = self.lock_written(old.folio(), cpu)?;
        new.bytes_mut()?.copy_from_slice(&old.bytes()?);
        let new_locked = new.folio().lock();
        self.on_cpu(cpu)?.migrate_locked(&locked, &new_locked, pages)?;
        drop(new_locked);
        locked.keep();
        old.folio().free_frozen();
        Ok(new)
    }
}
