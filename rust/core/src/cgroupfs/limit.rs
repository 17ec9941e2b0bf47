//! The files of groups for which a write reclaims memory, and the effect of each such write. A write of a new limit
//! reclaims the memory over the limit, or is refused.

use rustix::io::Errno;

use super::amount::parse_number;
use super::{FileWrite, TargetGroup};
use crate::base::error::Result;
use crate::base::limits::{MAX_RECLAIM_RETRIES, MAX_SWAPPINESS, PAGE_SIZE, SWAPPINESS_ANON_ONLY};
use crate::memcg::CounterKind;
use crate::reclaim::Reclaimer;
use crate::reclaim::charge::MaySwap;

impl FileWrite<'_> {
    /// Reclaims in rounds until the usage of the group's memory is at most `limit_pages`. Each round requests at most
    /// `most_pages` pages from reclaim. Returns false after [`MAX_RECLAIM_RETRIES`] rounds that freed no page.
    fn reclaim_to(&self, limit_pages: u64, most_pages: u64) -> Result<bool> {
        let TargetGroup { swap, groups, group } = self.target;
        let over_pages = || group.memory.usage_pages().saturating_sub(limit_pages);
        if over_pages() > 0 {
            groups.drain_stocks_below(group);
        }
        let mut retries = MAX_RECLAIM_RETRIES;
        loop {
            match over_pages().min(most_pages) {
                0 => return Ok(true),
                _ if retries == 0 => return Ok(false),
                pages => retries -= u32::from(swap.reclaim_for(group, pages, MaySwap::Yes, self.cpu)? == 0),
            }
        }
    }

    /// Sets `memory.max` and reclaims the memory over the limit. Kernel: `memory_max_write`; differs: when reclaim
    /// frees too little, the event `Oom` is raised, no task is killed, and usage stays above the limit.
    pub(super) fn set_memory_max(self) -> Result<()> {
        let pages = self.limit_pages()?;
        self.target.group.memory.set_max(pages);
        if !self.nonblock && !self.reclaim_to(pages, u64::MAX)? {
            self.target.groups.raise_oom(self.target.group, self.target.group);
        }
        Ok(())
    }

    /// Sets `memory.high` or `memory.swap.high`. A write of `memory.high` reclaims the memory over the limit, as far
    /// as reclaim succeeds. A write of `memory.swap.high` reclaims nothing. Kernel: `memory_high_write`,
    /// `swap_high_write`.
    pub(super) fn write_high(self, which: CounterKind) -> Result<()> {
        let pages = self.limit_pages()?;
        self.target.groups.set_high(self.target.group, which, pages);
        if which == CounterKind::Memory && !self.nonblock {
            self.reclaim_to(pages, u64::MAX)?;
        }
        Ok(())
    }

    /// Sets a limit of v1. Usage never exceeds a limit of v1, so the call reclaims the memory over the new limit
    /// before it sets the limit. Reclaim for the memsw limit (memory and swap together) does not swap, because a
    /// swap-out does not lower memsw usage.
    ///
    /// Errors: EINVAL for root, or when the limit of memory would exceed the limit of memory and swap; EBUSY when
    /// usage stays above the limit. Kernel: `mem_cgroup_resize_max`.
    pub(super) fn set_v1_limit(self, which: CounterKind) -> Result<()> {
        let pages = self.limit_pages()?;
        let group = self.target.group;
        if group.is_root() {
            return Err(self.refused(Errno::INVAL, "root has no limits"));
        }
        let counter = group.counter(which);
        let mut is_drained = false;
        loop {
            let (memory_pages, memsw_pages) = match which {
                CounterKind::Memory => (pages, group.swap.max_pages()),
                CounterKind::Swap => (group.memory.max_pages(), pages),
            };
            if memory_pages > memsw_pages {
                let (memory, memsw) = (memory_pages * PAGE_SIZE as u64, memsw_pages * PAGE_SIZE as u64);
                let why = format!("the limit of memory would be {memory} bytes, over that of memory and swap, {memsw}");
                return Err(self.refused(Errno::INVAL, &why));
            }
            if counter.try_set_max(pages) {
                return Ok(());
            }
            if !is_drained {
                self.target.groups.drain_stocks_below(self.target.group);
                is_drained = true;
            } else if self.target.swap.reclaim_for(group, 1, MaySwap::over(which), self.cpu)? == 0 {
                let what = if which == CounterKind::Memory { "memory" } else { "memory and swap" };
                let why = format!("{} bytes of {what} are in use", counter.usage_pages() * PAGE_SIZE as u64);
                return Err(self.refused(Errno::BUSY, &why));
            }
        }
    }

    /// Reclaims the amount of memory that a write to `memory.reclaim` requests. Errors: EINVAL; EAGAIN when reclaim
    /// frees less than the amount. Kernel: `memory.reclaim`.
    pub(super) fn reclaim(self) -> Result<()> {
        let mut words = self.text.split_ascii_whitespace();
        let target_pages = self.amount_pages(words.next().unwrap_or(""))?;
        let (mut swappiness, mut is_from_zswap) = (None, false);
        for word in words {
            match word {
                "source=zswap" => is_from_zswap = true,
                _ => swappiness = Some(self.swappiness_of(word)?),
            }
        }
        if is_from_zswap {
            return self.reclaim_zswap(target_pages * PAGE_SIZE as u64, swappiness);
        }
        let TargetGroup { swap, group, .. } = self.target;
        let reclaimer = Reclaimer::Proactive { swappiness };
        let reclaim = |pages| swap.try_to_free_mem_cgroup_pages(group, pages, MaySwap::Yes, reclaimer, self.cpu);
        self.reclaim_in_rounds(target_pages, "pages could be reclaimed", |pages| {
            reclaim(pages).map(|got_pages| (got_pages, got_pages > 0))
        })
    }

    /// Writes pages back from zswap until the sum of their compressed sizes reaches `target_bytes`. Reclaims no other
    /// memory. An entry with a second chance is not written back at its first scan and loses the chance. A round that
    /// writes no page but takes second chances is not a failed round.
    ///
    /// Errors: EINVAL when a swappiness is given, because no LRU list is scanned, and when the group or a group above
    /// the group forbids writeback; EAGAIN when less was written. Kernel: `memory.reclaim` with `source=zswap`.
    fn reclaim_zswap(self, target_bytes: u64, swappiness: Option<u8>) -> Result<()> {
        let TargetGroup { swap, group, .. } = self.target;
        if swappiness.is_some() {
            return Err(self.refused(Errno::INVAL, "source=zswap scans no list, so it takes no swappiness="));
        }
        if !swap.is_zswap_writeback_enabled(Some(group)) {
            return Err(self.refused(Errno::INVAL, "memory.zswap.writeback is 0 here or above"));
        }
        self.reclaim_in_rounds(target_bytes, "compressed bytes could be written back", |bytes| {
            let round = swap.zswap_shrink_groups(group.css(), bytes, self.cpu)?;
            Ok((round.written_bytes, round.written_bytes + round.nr_second_chances > 0))
        })
    }

    /// Calls `round` with the part of the amount `target` that is not done yet, until the amount is done. `round`
    /// returns the part that it did, and whether it made progress. Errors: EAGAIN when more than
    /// [`MAX_RECLAIM_RETRIES`] calls made no progress.
    fn reclaim_in_rounds(
        self,
        target: u64,
        what: &str,
        mut round: impl FnMut(u64) -> Result<(u64, bool)>,
    ) -> Result<()> {
        let (mut done, mut retries) = (0, MAX_RECLAIM_RETRIES);
        while done < target {
            let (got, is_closer) = round(target - done)?;
            done += got;
            if !is_closer {
                if retries == 0 {
                    return Err(self.refused(Errno::AGAIN, &format!("{done} of {target} {what}")));
                }
                retries -= 1;
            }
        }
        Ok(())
    }

    /// Parses the option `swappiness=` of `memory.reclaim`. Errors: EINVAL.
    fn swappiness_of(&self, word: &str) -> Result<u8> {
        let value = match word.strip_prefix("swappiness=") {
            Some("max") => Some(SWAPPINESS_ANON_ONLY),
            Some(number) => parse_number(number, MAX_SWAPPINESS),
            None => None,
        };
        value.ok_or_else(|| self.bad("bytes and then nothing, source=zswap, or swappiness=, 0..=200 or max,"))
    }

    /// Reclaims as much memory of the group as possible. Kernel: `memory.force_empty`.
    pub(super) fn force_empty(self) -> Result<()> {
        if self.target.group.is_root() {
            return Err(self.refused(Errno::INVAL, "root cannot be emptied"));
        }
        self.target.swap.memory_of_folios().lru_batch_drain_all();
        self.target.groups.drain_stocks_below(self.target.group);
        self.reclaim_to(0, 1).map(|_| ())
    }
}
