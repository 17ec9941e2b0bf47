//! The invariants of memory cgroups: the counters agree with tables and folios. No operation may be in flight.

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

/// The sums that a walk over tables and folios finds for each group, in pages.
#[derive(Debug, Default)]
struct Found {
    /// Slots that are charged to the group.
    owned: HashMap<CssId, u64>,
    /// Slots that pin the group's id.
    pins: HashMap<CssId, u64>,
    /// Pages of folios that are charged to the group.
    resident: HashMap<CssId, u64>,
    /// The part of `resident` that the swap cache holds.
    cached: HashMap<CssId, u64>,
}

fn of(counts: &HashMap<CssId, u64>, css: CssId) -> u64 {
    counts.get(&css).copied().unwrap_or(0)
}

impl Swap {
    /// Compares the counters of every group with tables and folios. Every CPU is stopped.
    pub(super) fn check_memcg<'d>(&self, devices: impl Iterator<Item = &'d SwapDevice>) -> Result<()> {
        let Some(groups) = self.memcg() else { return Ok(()) };
        groups.drain_stocks();
        let mut found = Found::default();
        for device in devices {
            self.find_owners(groups, device, &mut found)?;
        }
        for folio in self.memory_of_folios().charged_folios() {
            let (css, nr_pages) = (folio.css().expect("charged"), u64::from(folio.nr_pages()));
            *found.resident.entry(css).or_default() += nr_pages;
            if folio.has(FolioFlags::SWAPCACHE) {
                *found.cached.entry(css).or_default() += nr_pages;
            }
        }
        groups.subtree(CssId::ROOT).into_iter().try_for_each(|css| check_group(groups, groups.get(css), &found))
    }

    fn find_owners(&self, groups: &MemCgroups, device: &SwapDevice, found: &mut Found) -> Result<()> {
        let keeps_records = groups.options().owner_store.is_record();
        for idx in device.clusters.live() {
            let ci = device.clusters.lock_used(idx);
            let Some(table) = ci.table() else { continue };
            // On v2 a virtual slot is charged while it has a real slot as its backing.
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
                    ensure(group.is_some(), "I18", || format!("{swp} names id {}, which nobody has", recorded.0))?;
                    let css = group.expect("checked").css();
                    *found.owned.entry(css).or_default() += charged(slot);
                    *found.pins.entry(css).or_default() += 1;
                } else if let Some(pfn) = entry.pfn() {
                    let folio = self.memory_of_folios().folio(pfn);
                    ensure(folio.css().is_some(), "I20", || format!("{swp}: {folio:?} is cached and nobody's"))?;
                    let is_charged = !groups.do_memsw_account() && !folio.has(FolioFlags::SWAP_UNCHARGED);
                    if let (Some(css), true, false) = (folio.css(), is_charged, keeps_records) {
                        *found.owned.entry(css).or_default() += charged(slot);
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_group(groups: &MemCgroups, group: &MemCgroup, found: &Found) -> Result<()> {
    let css = group.css();
    let below = groups.subtree(css);
    let sum = |counts: &HashMap<CssId, u64>| below.iter().map(|&css| of(counts, css)).sum::<u64>();
    let (owned, resident) = (sum(&found.owned), sum(&found.resident));
    let at = || groups.path(css);
    // A removed group keeps the counts of folios that moved to its parent in its own counters.
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
        // The pages of a group in zswap are charged in whole pages.
        let zswap_pages = |css: &CssId| {
            let bytes = groups.get(*css).stat_local(MemcgStat::ZswapB).max(0) as u64;
            bytes.div_ceil(PAGE_SIZE as u64)
        };
        let zswap: u64 = below.iter().map(zswap_pages).sum();
        usage("I17", &group.memory, resident + zswap, "memory")?;
    }
    ensure(group.stat_local(MemcgStat::Swap) == of(&found.owned, css) as i64, "I18", || {
        let counted = group.stat_local(MemcgStat::Swap);
        format!("{}: MEMCG_SWAP says {counted}, {} slots are its own", at(), of(&found.owned, css))
    })?;
    let pins = of(&found.pins, css) + u64::from(group.is_online());
    ensure(group.id_refs() == pins, "I19", || format!("{}: {} pins of its id, {pins} reasons", at(), group.id_refs()))?;
    ensure(group.stat_local(MemcgStat::Swapcached) == of(&found.cached, css) as i64, "I20", || {
        let counted = group.stat_local(MemcgStat::Swapcached);
        format!("{}: swapcached says {counted}, it is {}", at(), of(&found.cached, css))
    })
}
