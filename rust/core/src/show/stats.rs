//! The counters of a subsystem by their kernel names, and the number of bytes that the devices take.

use crate::base::error::Result;
use crate::base::limits::PAGE_SIZE;
use crate::base::types::{CssId, Order};
use crate::machine::device::DeviceMemory;
use crate::machine::{Event, OrderEvent, Swap};
use crate::memcg::{Hierarchy, MemcgEvent, MemcgStat};
use crate::workingset::LruvecStat;
use crate::zswap::ZswapStat;

impl Swap {
    /// Returns every counter with its name. A counter that the kernel also has gets the kernel's name. The name of a
    /// counter of one order starts with the kernel's mTHP directory, such as `hugepages-64kB`.
    pub fn stats(&self) -> Vec<(String, u64)> {
        let mut stats = vec![
            ("nr_swap_pages".into(), self.nr_swap_pages().max(0) as u64),
            ("total_swap_pages".into(), self.total_swap_pages()),
            ("nr_swapcached".into(), self.nr_swapcache_pages()),
            ("slow_path_visits".into(), self.events(Event::SlowPath)),
            ("reclaimed_cached_pages".into(), self.events(Event::ReclaimedPages)),
            ("discarded_clusters".into(), self.events(Event::DiscardedClusters)),
            ("alloc_runs".into(), Order::all().map(|order| self.runs(order)).sum()),
            ("alloc_failures_order0".into(), self.failures(Order::ZERO)),
        ];
        let events = [
            ("pswpin", Event::PswpIn),
            ("pswpout", Event::PswpOut),
            ("swpin_zero", Event::SwpInZero),
            ("swpout_zero", Event::SwpOutZero),
            ("zswpin", Event::ZswpIn),
            ("zswpout", Event::ZswpOut),
            ("zswpwb", Event::ZswpWb),
            ("pgmajfault", Event::MajorFaults),
            ("swap_ra", Event::SwapRa),
            ("swap_ra_hit", Event::SwapRaHit),
            ("thp_swpout", Event::ThpSwpOut),
            ("thp_swpout_fallback", Event::ThpSwpOutFallback),
            ("oom_kill", Event::OomKill),
            ("read_errors", Event::ReadErrors),
            ("write_errors", Event::WriteErrors),
            ("discard_errors", Event::DiscardErrors),
            ("shadow_retries", Event::ShadowRetries),
            ("rfc_null_memcg", Event::RfcNullMemcg),
            ("swapoff_rmap_slots", Event::SwapoffRmap),
            ("swapoff_ptes_visited", Event::SwapoffPtes),
            ("swpout_refused", Event::SwpOutRefused),
        ];
        stats.extend(events.map(|(name, event)| (name.into(), self.events(event))));
        // `Zswap` and `Zswapped` have the names of lines in `/proc/meminfo`. `Zswap` is the memory of the pools, and
        // `Zswapped` is the size of the pages in the pools before compression.
        let zswap = self.zswap();
        stats.push(("Zswap".into(), zswap.total_pages() * PAGE_SIZE as u64));
        stats.push(("Zswapped".into(), zswap.stat(ZswapStat::StoredPages) * PAGE_SIZE as u64));
        let lruvec = self.memory_of_folios().lruvec();
        stats.extend(LruvecStat::ALL.iter().map(|&stat| (stat.name().into(), lruvec.stat(stat))));
        for order in Order::all().skip(1) {
            let size_kb = order.nr_pages() as usize * PAGE_SIZE / 1024;
            let by_order = [
                ("swpin", OrderEvent::In),
                ("swpin_fallback", OrderEvent::InFallback),
                ("swpin_fallback_charge", OrderEvent::InFallbackCharge),
                ("swpout", OrderEvent::Out),
                ("swpout_fallback", OrderEvent::OutFallback),
                ("zswpout", OrderEvent::ZswpOut),
                ("anon_fault_alloc", OrderEvent::AnonFaultAlloc),
                ("anon_fault_fallback", OrderEvent::AnonFaultFallback),
                ("anon_fault_fallback_charge", OrderEvent::AnonFaultFallbackCharge),
                ("shmem_alloc", OrderEvent::ShmemAlloc),
                ("shmem_fallback", OrderEvent::ShmemFallback),
                ("shmem_fallback_charge", OrderEvent::ShmemFallbackCharge),
                ("split", OrderEvent::Split),
                ("split_failed", OrderEvent::SplitFailed),
            ];
            let named = by_order
                .map(|(name, event)| (format!("hugepages-{size_kb}kB.{name}"), self.order_events(event, order)));
            stats.extend(named);
            let large = self.memory_of_folios().large_folios();
            let levels = [
                ("split_deferred", large.split_deferred(order)),
                ("nr_anon", large.nr_anon(order)),
                ("nr_anon_partially_mapped", large.nr_anon_partially_mapped(order)),
            ];
            stats.extend(levels.map(|(name, number)| (format!("hugepages-{size_kb}kB.{name}"), number)));
            stats.push((format!("hugepages-{size_kb}kB.alloc_failures"), self.failures(order)));
        }
        stats
    }

    /// Returns the exact counters of a group by name. A removed group is allowed. The name of a counter in pages ends
    /// with `_pages`. The second counter of the group is named `swap_pages` on v2, and `memsw_pages` (memory and swap
    /// together) on v1.
    ///
    /// Errors: `Cgroup` (EINVAL) when memcg is disabled.
    pub fn memcg_counters(&self, css: CssId) -> Result<Vec<(&'static str, i64)>> {
        let groups = self.memcg_enabled()?;
        let group = groups.get(css);
        let (swap_pages, swap_watermark_pages) = match groups.options().hierarchy {
            Hierarchy::V1 => ("memsw_pages", "memsw_watermark_pages"),
            Hierarchy::V2 => ("swap_pages", "swap_watermark_pages"),
        };
        let (memory, swap) = (&group.memory, &group.swap);
        let mut counters = vec![
            ("memory_pages", memory.usage_pages() as i64),
            (swap_pages, swap.usage_pages() as i64),
            ("memcg_swap_pages", group.stat_local(MemcgStat::Swap)),
            ("memory_watermark_pages", memory.watermark_pages() as i64),
            (swap_watermark_pages, swap.watermark_pages() as i64),
            ("memory_failcnt", memory.failcnt() as i64),
            ("swap_failcnt", swap.failcnt() as i64),
            ("swapcached_pages", group.stat_local(MemcgStat::Swapcached)),
            ("id", group.id().0.into()),
            ("id_refs", group.id_refs() as i64),
            ("css_refs", group.css_refs() as i64),
            ("memory_underflow_pages", memory.underflow_pages() as i64),
            ("swap_underflow_pages", swap.underflow_pages() as i64),
        ];
        let events = [
            ("events_max", MemcgEvent::Max),
            ("events_oom", MemcgEvent::Oom),
            ("events_oom_kill", MemcgEvent::OomKill),
            ("events_high", MemcgEvent::High),
            ("swap_events_max", MemcgEvent::SwapMax),
            ("swap_events_fail", MemcgEvent::SwapFail),
            ("swap_events_high", MemcgEvent::SwapHigh),
        ];
        counters.extend(events.map(|(name, event)| (name, group.events_local(event) as i64)));
        Ok(counters)
    }

    /// Returns the bytes of memory that all devices take together. [`Swap::percpu_bytes`] returns the bytes of the
    /// per-CPU data.
    pub fn memory(&self) -> DeviceMemory {
        self.devices().iter().map(|device| device.memory()).fold(DeviceMemory::default(), |sum, one| DeviceMemory {
            static_bytes: sum.static_bytes + one.static_bytes,
            table_bytes: sum.table_bytes + one.table_bytes,
            virtual_table_bytes: sum.virtual_table_bytes + one.virtual_table_bytes,
            extend_bytes: sum.extend_bytes + one.extend_bytes,
            pool_bytes: sum.pool_bytes + one.pool_bytes,
            owner_static_bytes: sum.owner_static_bytes + one.owner_static_bytes,
            owner_bytes: sum.owner_bytes + one.owner_bytes,
            index_bytes: sum.index_bytes + one.index_bytes,
        })
    }
}
