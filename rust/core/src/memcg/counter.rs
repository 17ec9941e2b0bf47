//! One level of a resource counter: pages in use, the limits on them, and what was tried beyond.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::base::limits::PAGE_SIZE;

/// The limit that is none: the most pages whose bytes fit a signed word. Kernel: `PAGE_COUNTER_MAX`.
pub const PAGE_COUNTER_MAX: u64 = i64::MAX as u64 / PAGE_SIZE as u64;

/// Pages charged at one level. Kernel: `struct page_counter`; differs: a level knows nothing of those above, the tree
/// walks them; protection (min, low) is kept by the group.
#[derive(Debug)]
#[repr(align(64))]
pub struct PageCounter {
    usage: AtomicI64,
    max: AtomicU64,
    high: AtomicU64,
    watermark: AtomicU64,
    failcnt: AtomicU64,
    underflow: AtomicU64,
}

impl Default for PageCounter {
    fn default() -> Self {
        Self {
            usage: AtomicI64::new(0),
            max: AtomicU64::new(PAGE_COUNTER_MAX),
            high: AtomicU64::new(PAGE_COUNTER_MAX),
            watermark: AtomicU64::new(0),
            failcnt: AtomicU64::new(0),
            underflow: AtomicU64::new(0),
        }
    }
}

// Relaxed throughout: each field is a number by itself. That usage never passes max is decided by one add and its result.
impl PageCounter {
    /// Returns the pages charged.
    pub fn usage_pages(&self) -> u64 {
        self.usage.load(Ordering::Relaxed).max(0) as u64
    }

    /// Returns the limit; [`PAGE_COUNTER_MAX`] is none.
    pub fn max_pages(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// Sets the limit, whatever is in use.
    pub fn set_max(&self, pages: u64) {
        self.max.store(pages.min(PAGE_COUNTER_MAX), Ordering::Relaxed);
    }

    /// Sets the limit unless more is in use; says whether it did. Kernel: `page_counter_set_max`.
    pub fn try_set_max(&self, pages: u64) -> bool {
        let old = self.max.swap(pages.min(PAGE_COUNTER_MAX), Ordering::Relaxed);
        // Charges see the new limit from here on: what is in use now is all that can be over it.
        let fits = self.usage_pages() <= pages;
        if !fits {
            self.max.store(old, Ordering::Relaxed);
        }
        fits
    }

    /// Returns the usage from which on the group is slowed down.
    pub fn high_pages(&self) -> u64 {
        self.high.load(Ordering::Relaxed)
    }

    /// Sets the usage from which on the group is slowed down.
    pub(super) fn set_high(&self, pages: u64) {
        self.high.store(pages.min(PAGE_COUNTER_MAX), Ordering::Relaxed);
    }

    /// Returns the most that was ever in use, charges included that a level above refused.
    pub fn watermark_pages(&self) -> u64 {
        self.watermark.load(Ordering::Relaxed)
    }

    /// Starts the watermark anew at what is in use.
    pub fn reset_watermark(&self) {
        self.watermark.store(self.usage_pages(), Ordering::Relaxed);
    }

    /// Returns how often this level refused a charge.
    pub fn failcnt(&self) -> u64 {
        self.failcnt.load(Ordering::Relaxed)
    }

    /// Starts the count of refusals anew.
    pub fn reset_failcnt(&self) {
        self.failcnt.store(0, Ordering::Relaxed);
    }

    /// Returns the pages that were uncharged without having been charged; the kernel warns of each time.
    pub fn underflow_pages(&self) -> u64 {
        self.underflow.load(Ordering::Relaxed)
    }

    /// Returns the pages left below the limit, negative when it is passed.
    pub fn margin_pages(&self) -> i64 {
        self.max_pages() as i64 - self.usage_pages() as i64
    }

    /// Charges this level, limit or not. Kernel: one step of `page_counter_charge`.
    pub(super) fn charge(&self, nr_pages: u64) {
        let usage = self.usage.fetch_add(nr_pages as i64, Ordering::Relaxed) + nr_pages as i64;
        self.raise_watermark(usage);
    }

    /// Charges this level if its limit allows, and counts when it does not if somebody wants to know. Kernel: one step of
    /// `page_counter_try_charge`.
    pub(super) fn try_charge(&self, nr_pages: u64, tracks_failcnt: bool) -> bool {
        let usage = self.usage.fetch_add(nr_pages as i64, Ordering::Relaxed) + nr_pages as i64;
        if usage > self.max_pages() as i64 {
            self.usage.fetch_sub(nr_pages as i64, Ordering::Relaxed);
            self.failcnt.fetch_add(u64::from(tracks_failcnt), Ordering::Relaxed);
            return false;
        }
        self.raise_watermark(usage);
        true
    }

    /// Takes a charge of this level back. Kernel: `page_counter_cancel`.
    ///
    /// Below nothing it stays at nothing, and what was missing is counted: a defect of whoever uncharged.
    pub(super) fn uncharge(&self, nr_pages: u64) {
        let usage = self.usage.fetch_sub(nr_pages as i64, Ordering::Relaxed) - nr_pages as i64;
        if usage < 0 {
            self.usage.fetch_add(-usage, Ordering::Relaxed);
            self.underflow.fetch_add(-usage as u64, Ordering::Relaxed);
        }
    }

    fn raise_watermark(&self, usage: i64) {
        // Looked at first: most charges raise nothing and need not write.
        if usage > self.watermark.load(Ordering::Relaxed) as i64 {
            self.watermark.fetch_max(usage as u64, Ordering::Relaxed);
        }
    }

    /// Makes the counter as new, for another group in the place of a freed one.
    pub(super) fn reset(&self) {
        let fresh = Self::default();
        for (field, value) in [
            (&self.max, fresh.max_pages()),
            (&self.high, fresh.high_pages()),
            (&self.watermark, 0),
            (&self.failcnt, 0),
            (&self.underflow, 0),
        ] {
            field.store(value, Ordering::Relaxed);
        }
        self.usage.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_allowed_and_one_more_refused() {
        let counter = PageCounter::default();
        counter.set_max(8);
        assert!(counter.try_charge(8, true));
        assert!(!counter.try_charge(1, true));
        assert_eq!((counter.usage_pages(), counter.watermark_pages(), counter.failcnt()), (8, 8, 1));
        counter.charge(4);
        assert_eq!((counter.usage_pages(), counter.margin_pages()), (12, -4));
        assert!(!counter.try_set_max(11), "v1 refuses a limit below usage");
        assert_eq!(counter.max_pages(), 8);
        assert!(counter.try_set_max(12));
    }

    #[test]
    fn what_was_never_charged_is_counted_and_not_subtracted() {
        let counter = PageCounter::default();
        counter.charge(3);
        counter.uncharge(8);
        assert_eq!((counter.usage_pages(), counter.underflow_pages()), (0, 5));
        counter.charge(2);
        assert_eq!(counter.usage_pages(), 2);
    }

    #[test]
    fn unlimited_is_what_v1_shows_in_bytes() {
        assert_eq!(PAGE_COUNTER_MAX * PAGE_SIZE as u64, 9_223_372_036_854_771_712);
    }
}
