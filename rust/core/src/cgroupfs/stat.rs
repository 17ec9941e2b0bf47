//! The file `memory.stat`: the keys of the file in order, and the source of the number of each key.

use super::TargetGroup;
use super::amount::bytes_line;
use crate::base::error::Result;
use crate::base::limits::PAGE_SIZE;
use crate::base::types::CssId;
use crate::machine::Swap;
use crate::memcg::{Hierarchy, MemCgroup, MemcgStat};
use crate::workingset::{LruList, LruvecStat};

/// The groups that a number of `memory.stat` covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// The group alone.
    Local,
    /// The group and all groups below the group.
    Sum,
}

/// The source of a number in `memory.stat`.
#[derive(Clone, Copy)]
enum Source {
    /// A statistic in pages, shown in bytes.
    Bytes(MemcgStat),
    /// A statistic, shown without a conversion.
    Count(MemcgStat),
    /// The number of pages on an LRU list, shown in bytes.
    List(LruList),
    /// A statistic of the LRU lists, shown in pages.
    Lists(LruvecStat),
    /// Always 0, because the core never counts such an event or page: every folio is swap-backed, no page table maps
    /// a file, and there is neither kswapd nor khugepaged.
    Zero,
}

use Source::{Bytes, Count, List, Lists, Zero};

/// The keys of `memory.stat` on v2, in the order of the file.
const V2: &[(&str, Source)] = &[
    ("anon", Bytes(MemcgStat::Anon)),
    ("file", Bytes(MemcgStat::Shmem)),
    ("shmem", Bytes(MemcgStat::Shmem)),
    ("zswap", Count(MemcgStat::ZswapB)),
    ("zswapped", Bytes(MemcgStat::Zswapped)),
    ("zswap_incomp", Count(MemcgStat::ZswapIncomp)),
    ("swapcached", Bytes(MemcgStat::Swapcached)),
    ("anon_thp", Bytes(MemcgStat::AnonThp)),
    ("inactive_anon", List(LruList::InactiveAnon)),
    ("active_anon", List(LruList::ActiveAnon)),
    ("inactive_file", List(LruList::InactiveFile)),
    ("active_file", List(LruList::ActiveFile)),
    ("unevictable", List(LruList::Unevictable)),
    ("workingset_refault_anon", Lists(LruvecStat::RefaultAnon)),
    ("workingset_refault_file", Zero),
    ("workingset_activate_anon", Lists(LruvecStat::ActivateAnon)),
    ("workingset_activate_file", Zero),
    ("workingset_restore_anon", Lists(LruvecStat::RestoreAnon)),
    ("workingset_restore_file", Zero),
    ("pgscan", Lists(LruvecStat::Pgscan)),
    ("pgsteal", Lists(LruvecStat::Pgsteal)),
    ("pgscan_kswapd", Zero),
    ("pgscan_direct", Lists(LruvecStat::PgscanDirect)),
    ("pgscan_khugepaged", Zero),
    ("pgscan_proactive", Lists(LruvecStat::PgscanProactive)),
    ("pgsteal_kswapd", Zero),
    ("pgsteal_direct", Lists(LruvecStat::PgstealDirect)),
    ("pgsteal_khugepaged", Zero),
    ("pgsteal_proactive", Lists(LruvecStat::PgstealProactive)),
    ("pswpin", Count(MemcgStat::PswpIn)),
    ("pswpout", Count(MemcgStat::PswpOut)),
    ("pgfault", Count(MemcgStat::PgFault)),
    ("pgmajfault", Count(MemcgStat::PgMajFault)),
    ("pgrefill", Lists(LruvecStat::Pgrefill)),
    ("pgactivate", Lists(LruvecStat::Pgactivate)),
    ("pgdeactivate", Lists(LruvecStat::Pgdeactivate)),
    ("swpin_zero", Count(MemcgStat::SwpInZero)),
    ("swpout_zero", Count(MemcgStat::SwpOutZero)),
    ("zswpin", Count(MemcgStat::ZswpIn)),
    ("zswpout", Count(MemcgStat::ZswpOut)),
    ("zswpwb", Count(MemcgStat::ZswpWb)),
    ("zswpwb_proactive_b", Count(MemcgStat::ZswpWbProactiveB)),
    ("thp_swpout", Count(MemcgStat::ThpSwpOut)),
    ("thp_swpout_fallback", Count(MemcgStat::ThpSwpOutFallback)),
];

/// The keys of `memory.stat` on v1, in the order of the file. The file lists the keys a second time with the prefix
/// `total_`.
const V1: &[(&str, Source)] = &[
    ("cache", Bytes(MemcgStat::Shmem)),
    ("rss", Bytes(MemcgStat::Anon)),
    ("rss_huge", Bytes(MemcgStat::AnonThp)),
    ("shmem", Bytes(MemcgStat::Shmem)),
    ("mapped_file", Zero),
    ("dirty", Zero),
    ("writeback", Zero),
    ("workingset_refault_anon", Lists(LruvecStat::RefaultAnon)),
    ("workingset_refault_file", Zero),
    ("swap", Bytes(MemcgStat::Swap)),
    ("swapcached", Bytes(MemcgStat::Swapcached)),
    ("pgpgin", Count(MemcgStat::PgPgIn)),
    ("pgpgout", Count(MemcgStat::PgPgOut)),
    ("pgfault", Count(MemcgStat::PgFault)),
    ("pgmajfault", Count(MemcgStat::PgMajFault)),
    ("inactive_anon", List(LruList::InactiveAnon)),
    ("active_anon", List(LruList::ActiveAnon)),
    ("inactive_file", List(LruList::InactiveFile)),
    ("active_file", List(LruList::ActiveFile)),
    ("unevictable", List(LruList::Unevictable)),
];

impl TargetGroup<'_> {
    /// Returns the number of a key, in the unit of `memory.stat`. The number of the group alone (`Part::Local`) can
    /// be negative, because the switch `rfc_literal` turns on defects of the accounting (docs/memcg.md).
    fn number(self, source: Source, part: Part) -> i64 {
        let page_bytes = PAGE_SIZE as i64;
        match source {
            Bytes(stat) => self.count(stat, part) * page_bytes,
            Count(stat) => self.count(stat, part),
            List(list) => self.list_pages(list, part) * page_bytes,
            Lists(stat) => match part {
                Part::Local => self.group.lruvec().stat_local(stat) as i64,
                Part::Sum => self.group.lruvec().stat(stat) as i64,
            },
            Zero => 0,
        }
    }

    /// Returns the number of compressed bytes that the group and all groups below the group have in zswap.
    pub(super) fn zswap_bytes(self) -> i64 {
        self.count(MemcgStat::ZswapB, Part::Sum).max(0)
    }

    fn count(self, stat: MemcgStat, part: Part) -> i64 {
        match part {
            Part::Local => self.group.stat_local(stat),
            Part::Sum => self.groups.stat(self.group, stat),
        }
    }

    /// Returns the number of pages on an LRU list. The size of a list includes the pages of all groups below the
    /// group, so the number of the group alone is this size minus the sizes for the groups directly below the group.
    fn list_pages(self, list: LruList, part: Part) -> i64 {
        let pages = |group: &MemCgroup| group.lruvec().lru_pages(list);
        let all_pages = pages(self.group);
        let below_pages =
            || self.groups.children(self.group.css()).iter().map(|&css| pages(self.groups.get(css))).sum();
        let own_pages = match part {
            Part::Local => all_pages.saturating_sub(below_pages()),
            Part::Sum => all_pages,
        };
        own_pages as i64
    }

    fn keys(self) -> &'static [(&'static str, Source)] {
        match self.groups.options().hierarchy {
            Hierarchy::V1 => V1,
            Hierarchy::V2 => V2,
        }
    }

    /// Returns the text with one line for each key and its number. Negative numbers are shown as 0.
    fn lines(self, prefix: &str, part: Part) -> String {
        let line = |(key, source): &(&str, Source)| format!("{prefix}{key} {}\n", self.number(*source, part).max(0));
        self.keys().iter().map(line).collect()
    }
}

/// Number of updates for each CPU after which a read of `memory.stat` flushes the statistics. Kernel:
/// `MEMCG_CHARGE_BATCH` in `memcg_vmstats_needs_flush`.
const UPDATES_FOR_EACH_CPU: u64 = 64;

/// Flushes the statistics if a read of `memory.stat` does so in the kernel.
fn flush_for_read(target: TargetGroup<'_>) {
    target.group.lruvec().flush_stats_after(UPDATES_FOR_EACH_CPU * target.swap.nr_cpus() as u64);
}

/// Returns the text of `memory.stat` on v2.
pub(super) fn text_v2(target: TargetGroup<'_>) -> String {
    flush_for_read(target);
    target.lines("", Part::Sum)
}

/// Returns the text of `memory.stat` on v1: first the numbers of the group alone, then the effective limits, and then
/// the numbers of the group together with all groups below the group.
pub(super) fn text_v1(target: TargetGroup<'_>) -> String {
    let least = |pages: fn(&MemCgroup) -> u64| {
        bytes_line(target.groups.levels(target.group).map(pages).min().expect("a group is a level"))
    };
    let memory = least(|level| level.memory.max_pages());
    let memsw = least(|level| level.swap.max_pages());
    flush_for_read(target);
    let limits = format!("hierarchical_memory_limit {memory}hierarchical_memsw_limit {memsw}");
    target.lines("", Part::Local) + &limits + &target.lines("total_", Part::Sum)
}

impl Swap {
    /// Returns each key of `memory.stat` with the number of the group alone. On v2, the file `memory.stat` does not
    /// show the numbers of the group alone.
    ///
    /// Errors: `Cgroup` (EINVAL) when memcg is disabled.
    pub fn memcg_stat_local(&self, css: CssId) -> Result<Vec<(&'static str, i64)>> {
        let target = self.target_group(css)?;
        Ok(target.keys().iter().map(|&(key, source)| (key, target.number(source, Part::Local))).collect())
    }
}
