//! The counter of one group: the usage, the limits, and the number of refused charges. Also the stocks: each CPU
//! charges one batch of pages in advance, so that most charges write no shared counter.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::{MemCgroup, MemCgroups};
use crate::base::limits::{MEMCG_CHARGE_BATCH, PAGE_SIZE};
use crate::base::types::{CpuId, CssId};

/// The value for "no limit": the largest number of pages whose bytes fit a signed word. Kernel: `PAGE_COUNTER_MAX`.
pub const PAGE_COUNTER_MAX: u64 = i64::MAX as u64 / PAGE_SIZE as u64;

/// Pages charged to one group. Kernel: `struct page_counter`; differs: a counter has no link to the counters of
/// ancestors, because [`MemCgroups`] visits the ancestors; the group stores the protection (min, low).
#[derive(Debug)]
#[repr(align(64))]
pub struct PageCounter {
    usage: AtomicI64,
    max: AtomicU64,
    high: AtomicU64,
    watermark: AtomicU64,
    /// The largest usage since the last reset of a peak, at most `watermark`. Kernel: `local_watermark`.
    local_watermark: AtomicU64,
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
            local_watermark: AtomicU64::new(0),
            failcnt: AtomicU64::new(0),
            underflow: AtomicU64::new(0),
        }
    }
}

// Relaxed throughout, because no thread draws a conclusion from one field about another field. One atomic addition
// and its result decide whether usage would exceed the limit.
impl PageCounter {
    /// Returns the number of charged pages.
    pub fn usage_pages(&self) -> u64 {
        self.usage.load(Ordering::Relaxed).max(0) as u64
    }

    /// Returns the limit in pages. [`PAGE_COUNTER_MAX`] means no limit.
    pub fn max_pages(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// Sets the limit, even if usage is above the new limit.
    pub fn set_max(&self, pages: u64) {
        self.max.store(pages.min(PAGE_COUNTER_MAX), Ordering::Relaxed);
    }

    /// Sets the limit unless usage is above the new limit; returns whether the limit was set. Kernel:
    /// `page_counter_set_max`.
    pub fn try_set_max(&self, pages: u64) -> bool {
        let old = self.max.swap(pages.min(PAGE_COUNTER_MAX), Ordering::Relaxed);
        // Later charges read the new limit, so usage above the new limit can only come from earlier charges.
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

    /// Returns the largest usage so far. A charge that an ancestor refused afterwards counts too.
    pub fn watermark_pages(&self) -> u64 {
        self.watermark.load(Ordering::Relaxed)
    }

    /// Returns the largest usage since the last reset of a peak.
    pub(super) fn local_watermark_pages(&self) -> u64 {
        self.local_watermark.load(Ordering::Relaxed)
    }

    /// Sets both watermarks to the present usage. Kernel: `page_counter_reset_watermark`.
    pub fn reset_watermark(&self) {
        let usage_pages = self.usage_pages();
        self.local_watermark.store(usage_pages, Ordering::Relaxed);
        self.watermark.store(usage_pages, Ordering::Relaxed);
    }

    /// Sets `local_watermark`, the largest usage since the last reset of a peak, to the present usage. Returns the
    /// present usage and the old `local_watermark`.
    pub(super) fn reset_local_watermark(&self) -> (u64, u64) {
        let usage_pages = self.usage_pages();
        (usage_pages, self.local_watermark.swap(usage_pages, Ordering::Relaxed))
    }

    /// Returns how often this counter refused a charge.
    pub fn failcnt(&self) -> u64 {
        self.failcnt.load(Ordering::Relaxed)
    }

    /// Sets the count of refusals to 0.
    pub fn reset_failcnt(&self) {
        self.failcnt.store(0, Ordering::Relaxed);
    }

    /// Returns the number of pages that were uncharged without a charge. The kernel prints a warning on each such
    /// uncharge.
    pub fn underflow_pages(&self) -> u64 {
        self.underflow.load(Ordering::Relaxed)
    }

    /// Returns the number of pages between usage and the limit; negative when usage is above the limit.
    pub fn margin_pages(&self) -> i64 {
        self.max_pages() as i64 - self.usage_pages() as i64
    }

    /// Charges this counter regardless of its limit. Kernel: one step of `page_counter_charge`.
    pub(super) fn charge(&self, nr_pages: u64) {
        let usage = self.usage.fetch_add(nr_pages as i64, Ordering::Relaxed) + nr_pages as i64;
        self.raise_watermark(usage);
    }

    /// Charges this counter if its limit allows the charge; returns whether the counter was charged. If
    /// `tracks_failcnt` is true, a refusal is counted in `failcnt`. Kernel: one step of `page_counter_try_charge`.
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

    /// Uncharges this counter. Kernel: `page_counter_cancel`.
    ///
    /// When more pages are uncharged than were charged, usage stays at 0 and the difference is counted, because such
    /// an uncharge is a defect of the caller.
    pub(super) fn uncharge(&self, nr_pages: u64) {
        let usage = self.usage.fetch_sub(nr_pages as i64, Ordering::Relaxed) - nr_pages as i64;
        if usage < 0 {
            self.usage.fetch_add(-usage, Ordering::Relaxed);
            self.underflow.fetch_add(-usage as u64, Ordering::Relaxed);
        }
    }

    fn raise_watermark(&self, usage: i64) {
        // The local watermark is read before any write, because most charges raise no watermark and so write nothing.
        // The comparison with the local watermark is sufficient for these charges, because the local watermark is
        // never above `watermark`.
        if usage > self.local_watermark.load(Ordering::Relaxed) as i64 {
            self.local_watermark.fetch_max(usage as u64, Ordering::Relaxed);
            self.watermark.fetch_max(usage as u64, Ordering::Relaxed);
        }
    }

    /// Resets the counter for the next group that uses the structure.
    pub(super) fn reset(&self) {
        self.usage.store(0, Ordering::Relaxed);
        [&self.max, &self.high].into_iter().for_each(|limit| limit.store(PAGE_COUNTER_MAX, Ordering::Relaxed));
        let counts = [&self.watermark, &self.local_watermark, &self.failcnt, &self.underflow];
        counts.into_iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

/// Number of groups for which one CPU has pages in advance. Kernel: `NR_MEMCG_STOCK`.
const NR_MEMCG_STOCK: usize = 7;

/// The pages that one CPU has charged in advance for one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stock {
    css: CssId,
    nr_pages: u64,
}

/// The pages that one CPU has charged in advance. A slot holds one reference to its group. Kernel: `struct
/// memcg_stock_pcp`.
pub(super) type CpuStocks = [Option<Stock>; NR_MEMCG_STOCK];

/// The slot whose pages make room for an eighth group. Kernel: a random slot; differs: always the first slot, because
/// equal runs give equal results.
const EVICTED_SLOT: usize = 0;

// The functions for the stocks of all CPUs.
impl MemCgroups {
    /// Takes `nr_pages` of memory for a group from this CPU's stock; returns whether the stock had enough pages for
    /// the group. Kernel: `consume_stock`.
    #[inline]
    pub(crate) fn consume_stock(&self, group: &MemCgroup, nr_pages: u64, cpu: CpuId) -> bool {
        // A stock is the rest of a batch, so a stock never has enough pages for a charge of a whole batch.
        self.options.has_stock && nr_pages < MEMCG_CHARGE_BATCH && self.take_from_stock(group.css(), nr_pages, cpu)
    }

    fn take_from_stock(&self, css: CssId, nr_pages: u64, cpu: CpuId) -> bool {
        let Ok(mut stocks) = self.stocks.lock(cpu) else { return false };
        let is_enough = |stock: &&mut Stock| stock.css == css && stock.nr_pages >= nr_pages;
        let Some(stock) = stocks.iter_mut().flatten().find(is_enough) else { return false };
        stock.nr_pages -= nr_pages;
        true
    }

    /// Stores charged pages of a group in this CPU's stock for later charges. If the stock of the group would exceed
    /// a whole batch, all its pages are uncharged. If the CPU has stocks of [`NR_MEMCG_STOCK`] other groups, the pages
    /// of one stock are uncharged. Kernel: `refill_stock`.
    pub(crate) fn refill_stock(&self, group: &MemCgroup, nr_pages: u64, cpu: CpuId) {
        self.css_get(group, 1);
        let css = group.css();
        let added = Stock { css, nr_pages };
        let left = match self.stocks.lock(cpu).as_deref_mut() {
            Ok(stocks) => Self::add_to_stocks(stocks, added),
            Err(_) => Some(added),
        };
        left.into_iter().for_each(|stock| self.return_stock(stock));
    }

    /// Adds pages, with a reference to their group, to the stocks of a CPU. Returns the pages and the reference that
    /// the stocks do not keep.
    fn add_to_stocks(stocks: &mut CpuStocks, added: Stock) -> Option<Stock> {
        if let Some(slot) = stocks.iter_mut().find(|slot| slot.is_some_and(|stock| stock.css == added.css)) {
            let nr_pages = slot.map_or(0, |stock| stock.nr_pages) + added.nr_pages;
            if nr_pages <= MEMCG_CHARGE_BATCH {
                *slot = Some(Stock { nr_pages, ..added });
                return Some(Stock { nr_pages: 0, ..added });
            }
            // The slot keeps its reference and no page.
            *slot = Some(Stock { nr_pages: 0, ..added });
            return Some(Stock { nr_pages, ..added });
        }
        let slot = stocks.iter().position(Option::is_none).unwrap_or(EVICTED_SLOT);
        stocks[slot].replace(added)
    }

    /// Uncharges all stocks of each CPU that has pages for the group `top` or for a group below. Kernel:
    /// `drain_all_stock`; differs: stocks without pages also drop their reference to `top` or to the group below.
    pub fn drain_stocks_below(&self, top: &MemCgroup) {
        let is_below = |stock: &Stock| self.levels(self.get(stock.css)).any(|level| level.css() == top.css());
        let mut taken = Vec::new();
        self.stocks.for_each(|stocks| {
            let is_drained = stocks.iter().flatten().any(|stock| stock.nr_pages > 0 && is_below(stock));
            let goes = |stock: &mut Stock| is_drained || is_below(stock);
            taken.extend(stocks.iter_mut().filter_map(|slot| slot.take_if(goes)));
        });
        taken.into_iter().for_each(|stock| self.return_stock(stock));
    }

    /// Uncharges all stocks of all CPUs, also the stocks without pages, which only hold references.
    pub fn drain_stocks(&self) {
        let mut taken = Vec::new();
        self.stocks.for_each(|stocks| taken.extend(stocks.iter_mut().filter_map(Option::take)));
        taken.into_iter().for_each(|stock| self.return_stock(stock));
    }

    /// Uncharges the pages of a stock and drops the stock's reference to its group.
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
