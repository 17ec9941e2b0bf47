//! One level of a resource counter: the usage, the limits, and the number of refused charges. Also the stocks: each
//! CPU charges one batch of pages in advance, so that most charges write no shared counter.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::{MemCgroup, MemCgroups};
use crate::base::limits::{MEMCG_CHARGE_BATCH, PAGE_SIZE};
use crate::base::types::{CpuId, CssId};

/// The value for "no limit": the largest number of pages whose bytes fit a signed word. Kernel: `PAGE_COUNTER_MAX`.
pub const PAGE_COUNTER_MAX: u64 = i64::MAX as u64 / PAGE_SIZE as u64;

/// Pages charged at one level. Kernel: `struct page_counter`; differs: a level does not know its ancestors, and the
/// tree walks them; the group stores the protection (min, low).
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

// Relaxed throughout: each field stands alone. One atomic addition and its result decide whether usage would pass the
// limit.
impl PageCounter {
    /// Returns the number of charged pages.
    pub fn usage_pages(&self) -> u64 {
        self.usage.load(Ordering::Relaxed).max(0) as u64
    }

    /// Returns the limit in pages. [`PAGE_COUNTER_MAX`] means no limit.
    pub fn max_pages(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// Sets the limit, even below usage.
    pub fn set_max(&self, pages: u64) {
        self.max.store(pages.min(PAGE_COUNTER_MAX), Ordering::Relaxed);
    }

    /// Sets the limit unless usage is above it; returns whether the limit was set. Kernel: `page_counter_set_max`.
    pub fn try_set_max(&self, pages: u64) -> bool {
        let old = self.max.swap(pages.min(PAGE_COUNTER_MAX), Ordering::Relaxed);
        // From here on charges read the new limit, so only the present usage can be above it.
        let fits = self.usage_pages() <= pages;
        if !fits {
            self.max.store(old, Ordering::Relaxed);
        }
        fits
    }

    /// Returns the usage above which tasks of the group are throttled.
    pub fn high_pages(&self) -> u64 {
        self.high.load(Ordering::Relaxed)
    }

    /// Sets the usage above which tasks of the group are throttled.
    pub(super) fn set_high(&self, pages: u64) {
        self.high.store(pages.min(PAGE_COUNTER_MAX), Ordering::Relaxed);
    }

    /// Returns the largest usage so far. Charges that a level above refused count too.
    pub fn watermark_pages(&self) -> u64 {
        self.watermark.load(Ordering::Relaxed)
    }

    /// Sets the watermark to the present usage.
    pub fn reset_watermark(&self) {
        self.watermark.store(self.usage_pages(), Ordering::Relaxed);
    }

    /// Returns how often this level refused a charge.
    pub fn failcnt(&self) -> u64 {
        self.failcnt.load(Ordering::Relaxed)
    }

    /// Sets the count of refusals to 0.
    pub fn reset_failcnt(&self) {
        self.failcnt.store(0, Ordering::Relaxed);
    }

    /// Returns the number of pages that were uncharged without a charge. The kernel prints a warning each time.
    pub fn underflow_pages(&self) -> u64 {
        self.underflow.load(Ordering::Relaxed)
    }

    /// Returns the number of pages below the limit, negative when usage is above it.
    pub fn margin_pages(&self) -> i64 {
        self.max_pages() as i64 - self.usage_pages() as i64
    }

    /// Charges this level regardless of its limit. Kernel: one step of `page_counter_charge`.
    pub(super) fn charge(&self, nr_pages: u64) {
        let usage = self.usage.fetch_add(nr_pages as i64, Ordering::Relaxed) + nr_pages as i64;
        self.raise_watermark(usage);
    }

    /// Charges this level if its limit allows. With `tracks_failcnt` a refusal is counted. Kernel: one step of
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

    /// Uncharges this level. Kernel: `page_counter_cancel`.
    ///
    /// Usage stays at 0 when more is uncharged than was charged, and the difference is counted, because it is a
    /// defect of the caller.
    pub(super) fn uncharge(&self, nr_pages: u64) {
        let usage = self.usage.fetch_sub(nr_pages as i64, Ordering::Relaxed) - nr_pages as i64;
        if usage < 0 {
            self.usage.fetch_add(-usage, Ordering::Relaxed);
            self.underflow.fetch_add(-usage as u64, Ordering::Relaxed);
        }
    }

    fn raise_watermark(&self, usage: i64) {
        // The value is read first, because most charges do not raise it and then write nothing.
        if usage > self.watermark.load(Ordering::Relaxed) as i64 {
            self.watermark.fetch_max(usage as u64, Ordering::Relaxed);
        }
    }

    /// Resets the counter for the next group in this place.
    pub(super) fn reset(&self) {
        self.usage.store(0, Ordering::Relaxed);
        [&self.max, &self.high].into_iter().for_each(|limit| limit.store(PAGE_COUNTER_MAX, Ordering::Relaxed));
        let counts = [&self.watermark, &self.failcnt, &self.underflow];
        counts.into_iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

/// The pages that one CPU holds in advance for one group. Kernel: `struct memcg_stock_pcp`, with one group instead of
/// several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stock {
    css: CssId,
    nr_pages: u64,
}

// The stocks of all CPUs. A stock holds one reference to its group.
impl MemCgroups {
    /// Takes pages of memory for a group from this CPU's stock; returns whether the stock had enough. Kernel:
    /// `consume_stock`.
    #[inline]
    pub(crate) fn consume_stock(&self, group: &MemCgroup, nr_pages: u64, cpu: CpuId) -> bool {
        // A stock is the rest of a batch, so it never holds a whole batch.
        self.options.has_stock && nr_pages < MEMCG_CHARGE_BATCH && self.take_from_stock(group.css(), nr_pages, cpu)
    }

    fn take_from_stock(&self, css: CssId, nr_pages: u64, cpu: CpuId) -> bool {
        let Ok(mut stock) = self.stocks.lock(cpu) else { return false };
        match &mut *stock {
            Some(stock) if stock.css == css && stock.nr_pages >= nr_pages => stock.nr_pages -= nr_pages,
            _ => return false,
        }
        true
    }

    /// Stores charged pages in this CPU's stock for its next charges. Pages of another group, and pages over the
    /// limit of a stock, are uncharged. Kernel: `refill_stock`.
    pub(crate) fn refill_stock(&self, group: &MemCgroup, nr_pages: u64, cpu: CpuId) {
        self.css_get(group, 1);
        let css = group.css();
        let left = match self.stocks.lock(cpu).as_deref_mut() {
            Ok(Some(mine)) if mine.css == css && mine.nr_pages + nr_pages < MEMCG_CHARGE_BATCH => {
                mine.nr_pages += nr_pages;
                Some(Stock { css, nr_pages: 0 })
            }
            Ok(stock) => stock.replace(Stock { css, nr_pages }),
            Err(_) => Some(Stock { css, nr_pages }),
        };
        left.into_iter().for_each(|stock| self.return_stock(stock));
    }

    /// Uncharges the stocks of all CPUs. Kernel: `drain_all_stock`.
    pub fn drain_stocks(&self) {
        let mut taken = Vec::new();
        self.stocks.for_each(|stock| taken.extend(stock.take()));
        taken.into_iter().for_each(|stock| self.return_stock(stock));
    }

    /// Uncharges pages of a stock and drops the stock's reference to the group.
    fn return_stock(&self, stock: Stock) {
        let group = self.get(stock.css);
        if stock.nr_pages > 0 {
            self.uncharge_memory(group, stock.nr_pages);
        }
        self.css_put(group, 1);
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
}
