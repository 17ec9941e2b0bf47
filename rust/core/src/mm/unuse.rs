//! The page table walk of a swapoff: every swapped-out page of an address space is read back and mapped. Kernel:
//! `unuse_mm`.

use super::{Mm, Pte, Vma, found_folio, index};
use crate::base::error::Result;
use crate::base::types::{CpuId, SwpEntry, SwpType};
use crate::containers::orders::Orders;
use crate::folio::{FolioFlags, LockedFolio};
use crate::machine::Event;
use crate::readahead::Vpn;
use crate::swapping::swapin::Swapin;
use crate::workingset::RefaultContext;

impl Mm {
    /// Swaps in every page whose slot is on the device `ty`, for swapoff. The pages come in as single pages, and no
    /// faults are counted. Errors: `NoMemory`, `OverLimit` (ENOMEM); `Io` of a read; `FolioBusy` (EBUSY) when the user
    /// of a handle holds a folio. Kernel: `unuse_mm`.
    pub fn unuse(&self, ty: SwpType, cpu: CpuId) -> Result<()> {
        let _active = self.swap.begin_activity();
        let vmas = self.vmas().clone();
        for vma in vmas {
            let nr_ptes = vma.pages().end.0 - vma.pages().start.0;
            self.swap.on_cpu(cpu)?.counters().count(Event::SwapoffPtes, nr_ptes);
            for vpn in (vma.pages().start.0..vma.pages().end.0).map(Vpn) {
                while let Some(entry) = vma.pte(vpn).slot().filter(|entry| entry.ty() == ty) {
                    self.unuse_page(&vma, vpn, entry, cpu)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the slot of a page, with readahead, and maps the page. The entry stays unchanged if another thread has
    /// changed the entry or the folio meanwhile. Kernel: `unuse_pte_range`.
    fn unuse_page(&self, vma: &Vma, vpn: Vpn, entry: SwpEntry, cpu: CpuId) -> Result<()> {
        let context = RefaultContext::Other;
        let how = Swapin { faulting: self.css(), context, ..Swapin::new(cpu, Orders::ZERO) };
        let cached = self.swap.swap_cache_get_folio(entry, cpu)?;
        let found = match cached {
            Some(folio) => Ok(Some((folio, false))),
            None => self.swapin_readahead(vma, vpn, entry, &how),
        };
        let is_unchanged = || vma.pte(vpn).slot() == Some(entry);
        let Some((folio, _)) = found_folio(found, is_unchanged)? else { return Ok(()) };
        let locked = self.swap.lock_written(folio.folio(), cpu)?;
        if !folio.covers(entry) {
            return Ok(());
        }
        if !locked.has(FolioFlags::UPTODATE) {
            // The thread whose read failed reports the error to its caller.
            drop(locked);
            return self.swap.drop_unread(&folio, cpu);
        }
        self.unuse_pte(vma, vpn, entry, &locked, cpu)
    }

    /// Maps one page of a locked cached folio in the place of the swap entry of the page, and frees the slots of the
    /// folio if no slot has references. The entry of the page is neither writable nor young, because the task has not
    /// touched the page. Kernel: `unuse_pte`.
    fn unuse_pte(&self, vma: &Vma, vpn: Vpn, entry: SwpEntry, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<()> {
        let page = entry.offset().0 - locked.entry().expect("covers the slot").offset().0;
        let mut table = vma.table(vpn);
        if table[index(vpn)].slot() == Some(entry) {
            self.swap.on_cpu(cpu)?.put_locked_folio(locked, page..page + 1)?;
            vma.map_pages(vpn, locked, page..page + 1);
            let (pfn, page) = (locked.pfn(), page as u16);
            table[index(vpn)] = Pte::Present { pfn, page, is_exclusive: false, is_young: false };
        }
        drop(table);
        self.swap.on_cpu(cpu)?.free_swap_locked(locked).map(|_| ())
    }
}
