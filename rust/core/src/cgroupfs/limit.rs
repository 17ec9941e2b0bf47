//! Effects of writes that reclaim memory. A new limit reclaims the memory over the limit, or is refused.

use rustix::io::Errno;

use super::{FileWrite, TargetGroup};
use crate::base::error::Result;
use crate::base::limits::{MAX_RECLAIM_RETRIES, MAX_SWAPPINESS, PAGE_SIZE, SWAPPINESS_ANON_ONLY};
use crate::memcg::{CounterKind, MemcgEvent};
use crate::reclaim::charge::MaySwap;

impl FileWrite<'_> {
    /// Reclaims until the group's memory fits a limit. Each round requests at most `most_pages` pages from reclaim.
    /// Returns false after [`MAX_RECLAIM_RETRIES`] rounds that freed no page.
    fn reclaim_to(&self, limit_pages: u64, most_pages: u64) -> Result<bool> {
        let TargetGroup { swap, groups, group } = self.target;
        let over_pages = || group.memory.usage_pages().saturating_sub(limit_pages);
        if over_pages() > 0 {
            groups.drain_stocks();
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

    /// Sets `memory.max` and reclaims the memory over the limit. Kernel: `memory_max_write`; differs: no task is
    /// killed when reclaim frees too little. The event `Oom` is raised instead, and usage stays above the limit.
    pub(super) fn set_memory_max(self) -> Result<()> {
        let pages = self.limit_pages()?;
        self.target.group.memory.set_max(pages);
        if !self.nonblock && !self.reclaim_to(pages, u64::MAX)? {
            self.target.groups.raise(self.target.group, MemcgEvent::Oom);
        }
        Ok(())
    }

    /// Sets `memory.high` or `memory.swap.high`. A new `memory.high` reclaims the memory over the limit, as far as
    /// reclaim succeeds. A new `memory.swap.high` reclaims nothing. Kernel: `memory_high_write`, `swap_high_write`.
    pub(super) fn write_high(self, which: CounterKind) -> Result<()> {
        let pages = self.limit_pages()?;
        self.target.groups.set_high(self.target.group, which, pages);
        if which == CounterKind::Memory && !self.nonblock {
            self.reclaim_to(pages, u64::MAX)?;
        }
        Ok(())
    }

    /// Sets a limit of v1. Usage never exceeds a limit of v1, so the memory over the limit is reclaimed first.
    /// Reclaim for memsw (memory and swap together) does not swap, because a swap-out does not lower memsw.
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
                self.target.groups.drain_stocks();
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
        let (mut done_pages, mut retries) = (0, MAX_RECLAIM_RETRIES);
        while done_pages < target_pages {
            let left_pages = target_pages - done_pages;
            let TargetGroup { swap, group, .. } = self.target;
            let got_pages = match is_from_zswap {
                true => swap.zswap_shrink_groups(group.css(), left_pages, self.cpu)?,
                false => swap.try_to_free_mem_cgroup_pages(group, left_pages, MaySwap::Yes, swappiness, self.cpu)?,
            };
            done_pages += got_pages;
            if got_pages == 0 {
                if retries == 0 {
                    let why = format!("{done_pages} of {target_pages} pages could be reclaimed");
                    return Err(self.refused(Errno::AGAIN, &why));
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
            Some(number) => number.parse().ok().filter(|&number| number <= MAX_SWAPPINESS),
            None => None,
        };
        value.ok_or_else(|| self.bad("bytes and then nothing, source=zswap, or swappiness=, 0..=200 or max,"))
    }

    /// Reclaims as much memory of the group as possible. Kernel: `memory.force_empty`.
    pub(super) fn force_empty(self) -> Result<()> {
        if self.target.group.is_root() {
            return Err(self.refused(Errno::INVAL, "root cannot be emptied"));
        }
        self.target.groups.drain_stocks();
        self.reclaim_to(0, 1).map(|_| ())
    }
}
