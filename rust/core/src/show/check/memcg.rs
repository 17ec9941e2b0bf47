//! The invariants of memory cgroups: the counters of each group agree with the swap tables and the folios. No
//! operation may run during the check.

use std::collections::HashMap;

use super::ensure;
use crate::base::error::Result;
use crate::base::limits::PAGE_SIZE;
use crate::base::types::{CssId, MemcgId, SwpOffset};
use crate::folio::FolioFlags;
use crate::machine::Swap;
use crate::machine::device::SwapDevice;
use crate::memcg::{MemCgroup, MemCgroups, MemcgStat, PageCounter};
use crate::table::EntryKind;

/// The sums that a walk over swap tables and folios finds for one group, in pages.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// Number of slots that are charged to the group.
    owned: u64,
    /// Number of slots that hold a pin on the group's private id.
    pins: u64,
    /// Number of pages of the folios that are charged to the group.
    resident: u64,
    /// Number of the pages in `resident` that the swap cache holds.
    cached: u64,
}

impl Swap {
    /// Compares the counters of every group with the swap tables and the folios. The caller has stopped every CPU.
    pub(super) fn check_memcg(&self, devices: &[&SwapDevice]) -> Result<()> {
        let Some(groups) = self.memcg() else { return Ok(()) };
        groups.drain_stocks();
        let mut found = HashMap::new();
        for device in devices {
            self.find_owners(groups, device, &mut found)?;
        }
        for folio in self.memory_of_folios().charged_folios() {
            // A thread may free the folio meanwhile; `check` then walks again.
            let Some(css) = folio.css() else { continue };
            let found = found.entry(css).or_default();
            let nr_pages = u64::from(folio.nr_pages());
            found.resident += nr_pages;
            found.cached += if folio.has(FolioFlags::SWAPCACHE) { nr_pages } else { 0 };
        }
        groups.subtree(CssId::ROOT).into_iter().try_for_each(|css| check_group(groups, groups.get(css), &found))
    }

    fn find_owners(&self, groups: &MemCgroups, device: &SwapDevice, found: &mut HashMap<CssId, Found>) -> Result<()> {
        let keeps_records = groups.options().owner_store.is_record();
        for idx in device.clusters.live() {
            let ci = device.clusters.lock_used(idx);
            let Some(table) = ci.table() else { continue };
            // On v2 a virtual slot is charged only while a real slot backs the virtual slot.
            let is_two_step = device.is_virtual() && !groups.do_memsw_account();
            let charged = |slot| u64::from(!is_two_step || ci.virtual_word(slot).is_swapfile());
            for (slot, entry) in table.iter().enumerate() {
                let swp = device.entry_at(SwpOffset(idx.base().0 + slot as u32));
                let recorded = match (ci.owner(slot), entry.shadow()) {
                    (MemcgId(0), Some(shadow)) if !keeps_records => shadow.memcg,
                    (recorded, _) => recorded,
                };
                ensure(recorded.0 == 0 || entry.kind() != EntryKind::Null, "I18", || {
                    format!("{swp} is free and charged to id {}", recorded.0)
                })?;
                if recorded.0 != 0 {
                    let group = groups.lookup(recorded);
                    ensure(group.is_some(), "I18", || format!("{swp} names id {} of no group", recorded.0))?;
                    let found = found.entry(group.expect("checked").css()).or_default();
                    found.owned += charged(slot);
                    found.pins += 1;
                } else if let Some(pfn) = entry.pfn() {
                    let folio = self.memory_of_folios().folio(pfn);
                    ensure(folio.css().is_some(), "I20", || format!("{swp}: {folio:?} is cached without a group"))?;
                    let is_charged = !groups.do_memsw_account() && !folio.has(FolioFlags::SWAP_UNCHARGED);
                    if let (Some(css), true, false) = (folio.css(), is_charged, keeps_records) {
                        found.entry(css).or_default().owned += charged(slot);
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_group(groups: &MemCgroups, group: &MemCgroup, found: &HashMap<CssId, Found>) -> Result<()> {
    let css = group.css();
    let own = found.get(&css).copied().unwrap_or_default();
    let below = groups.subtree(css);
    let sum = |of: fn(&Found) -> u64| below.iter().filter_map(|css| found.get(css)).map(of).sum::<u64>();
    let (owned, resident) = (sum(|found| found.owned), sum(|found| found.resident));
    let at = || groups.path(css);
    // With `lru_reparent`, the check of usage skips a removed group, because the counters of the group still contain
    // the folios that moved to the parent group.
    let is_left_behind = groups.options().has_lru_reparent && !group.is_online();
    if !group.is_root() && !is_left_behind {
        let usage = |number: &str, counter: &PageCounter, expected: u64, what: &str| {
            ensure(counter.usage_pages() == expected && counter.underflow_pages() == 0, number, || {
                let (usage, missing) = (counter.usage_pages(), counter.underflow_pages());
                format!("{}: {what} says {usage} pages and {missing} too few, it is {expected}", at())
            })
        };
        let swap = if groups.do_memsw_account() { owned + resident } else { owned };
        usage("I16", &group.swap, swap, if groups.do_memsw_account() { "memsw" } else { "swap" })?;
        // The zswap bytes of each group are rounded up, because compressed data is charged in whole pages.
        let bytes = below.iter().map(|&css| groups.get(css).stat_local(MemcgStat::ZswapB).max(0) as u64);
        let zswap: u64 = bytes.map(|bytes| bytes.div_ceil(PAGE_SIZE as u64)).sum();
        usage("I17", &group.memory, resident + zswap, "memory")?;
    }
    let counted = group.stat_local(MemcgStat::Swap);
    ensure(counted == own.owned as i64, "I18", || {
        format!("{}: MEMCG_SWAP says {counted}, {} slots are its own", at(), own.owned)
    })?;
    let pins = own.pins + u64::from(group.is_online());
    ensure(group.id_refs() == pins, "I19", || format!("{}: {} pins of its id, {pins} reasons", at(), group.id_refs()))?;
    let counted = group.stat_local(MemcgStat::Swapcached);
    ensure(counted == own.cached as i64, "I20", || format!("{}: swapcached says {counted}, it is {}", at(), own.cached))
}
