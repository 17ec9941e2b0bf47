//! The invariants of zswap: the entries agree with the slots that name the entries, with the counters, and with the
//! charges of groups.

use std::collections::HashMap;

use super::{broken, ensure};
use crate::base::error::Result;
use crate::base::limits::{PAGE_SIZE, SWAPFILE_CLUSTER};
use crate::base::types::{CssId, SwpEntry, ZswapId};
use crate::cluster::ClusterGuard;
use crate::machine::{DeviceTable, Swap};
use crate::memcg::MemcgStat;
use crate::table::Stored;
use crate::zswap::{Compressed, ZswapStat};

impl Swap {
    /// Compares the entries of zswap with slots and groups. No operation runs.
    pub(super) fn check_zswap(&self, devices: &DeviceTable) -> Result<()> {
        self.check_zswap_names(devices)?;
        self.check_zswap_numbers(devices)
    }

    /// Checks that the slot of each listed entry is in use and names the entry.
    fn check_zswap_names(&self, devices: &DeviceTable) -> Result<()> {
        let mut found: Vec<(ZswapId, SwpEntry)> = Vec::new();
        self.zswap().for_each(|id, entry| found.extend(entry.is_listed.then_some((id, entry.swp))));
        for (id, swp) in found {
            let device = devices.get(swp.ty().index()).and_then(Option::as_ref);
            let named = device.and_then(|device| match device.is_virtual() {
                false => self.zswap().map_get(swp),
                true => match device.clusters.virtual_word(swp.offset()).stored() {
                    Stored::Zswap(id) => Some(id),
                    _ => None,
                },
            });
            ensure(named == Some(id), "I21", || format!("{id:?} is the page of {swp}, which names {named:?}"))?;
            let is_used = device.is_some_and(|device| !device.get(swp.offset()).is_null());
            ensure(is_used, "I21", || format!("{id:?} is the page of {swp}, which is free"))?;
        }
        Ok(())
    }

    /// Compares the counters of zswap, pools and groups with the sums over all entries.
    fn check_zswap_numbers(&self, devices: &DeviceTable) -> Result<()> {
        let mut charged: HashMap<Option<CssId>, Compressed> = HashMap::new();
        let (mut nr, mut nr_raw) = (0, 0);
        self.zswap().for_each(|_, entry| {
            nr += 1;
            nr_raw += u64::from(usize::from(entry.bytes) == PAGE_SIZE);
            *charged.entry(entry.css).or_default() += entry.compressed();
        });
        let nr_named = self.zswap().map_len() + self.count_virtual_words(devices);
        let (stored, raw) = (ZswapStat::StoredPages, ZswapStat::StoredIncompressiblePages);
        let counted = (self.zswap().stat(stored), self.zswap().stat(raw));
        ensure(counted == (nr, nr_raw) && nr_named == nr, "I21", || {
            format!("{nr} entries, {nr_raw} of them raw; counted {counted:?}, named by {nr_named} slots")
        })?;
        let pools = self.zswap().pools();
        let in_pools: (u64, u64) =
            pools.iter().fold((0, 0), |sum, pool| (sum.0 + pool.stored_pages, sum.1 + pool.compressed_bytes));
        let in_entries = charged.values().map(|of| of.bytes).sum::<i64>() as u64;
        ensure(in_pools == (nr, in_entries), "I21", || {
            format!("pools have {in_pools:?} pages and bytes, entries {nr} and {in_entries}")
        })?;
        let Some(groups) = self.memcg().filter(|groups| !groups.do_memsw_account()) else { return Ok(()) };
        for css in groups.subtree(CssId::ROOT) {
            let group = groups.get(css);
            let counted = Compressed {
                nr_pages: group.stat_local(MemcgStat::Zswapped),
                nr_incompressible_pages: group.stat_local(MemcgStat::ZswapIncomp),
                bytes: group.stat_local(MemcgStat::ZswapB),
            };
            let expected = charged.remove(&Some(css)).unwrap_or_default();
            ensure(counted == expected, "I21", || {
                let path = groups.path(css);
                format!("{path}: pages in zswap are counted {counted:?}, entries say {expected:?}")
            })?;
        }
        match charged.keys().next() {
            Some(css) => Err(broken("I21", format!("entries of {css:?}, which is no group"))),
            None => Ok(()),
        }
    }

    /// Counts the virtual slots whose data is in zswap.
    fn count_virtual_words(&self, devices: &DeviceTable) -> u64 {
        let virtuals = devices.iter().flatten().filter(|device| device.is_virtual());
        let clusters = virtuals.flat_map(|device| device.clusters.live().filter_map(|idx| device.clusters.lock(idx)));
        let slots = 0..SWAPFILE_CLUSTER as usize;
        let is_stored = |ci: &ClusterGuard<'_>, slot| matches!(ci.virtual_word(slot).stored(), Stored::Zswap(_));
        clusters.map(|ci| slots.clone().filter(|&slot| is_stored(&ci, slot)).count() as u64).sum()
    }
}
