//! Stocks: pages of memory that are charged to a group in advance, one batch a CPU, so that most charges touch no
//! shared counter.

use crate::base::error::Result;
use crate::base::limits::MEMCG_CHARGE_BATCH;
use crate::base::types::{CpuId, CssId};
use crate::containers::percpu::PerCpu;

/// The pages that one CPU holds in advance for one group. Kernel: `struct memcg_stock_pcp`, with one group instead of
/// several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stock {
    pub(super) css: CssId,
    pub(super) nr_pages: u64,
}

/// The stocks of all CPUs.
#[derive(Debug)]
pub(super) struct Stocks(PerCpu<Option<Stock>>);

impl Stocks {
    pub(super) fn new(nr_cpus: usize) -> Result<Self> {
        Ok(Self(PerCpu::new(nr_cpus, |_| None)?))
    }

    /// Takes pages for a group; returns whether the stock had enough.
    pub(super) fn consume(&self, css: CssId, nr_pages: u64, cpu: CpuId) -> bool {
        let Ok(mut stock) = self.0.lock(cpu) else { return false };
        match &mut *stock {
            Some(stock) if stock.css == css && stock.nr_pages >= nr_pages => {
                stock.nr_pages -= nr_pages;
                true
            }
            _ => false,
        }
    }

    /// Adds pages of a group, with a reference to the group. Returns pages of another group, or pages over the limit
    /// of a stock; the caller uncharges them and drops their reference.
    pub(super) fn refill(&self, css: CssId, nr_pages: u64, cpu: CpuId) -> Option<Stock> {
        let Ok(mut stock) = self.0.lock(cpu) else { return Some(Stock { css, nr_pages }) };
        match &mut *stock {
            Some(mine) if mine.css == css && mine.nr_pages + nr_pages < MEMCG_CHARGE_BATCH => {
                mine.nr_pages += nr_pages;
                Some(Stock { css, nr_pages: 0 })
            }
            stock => stock.replace(Stock { css, nr_pages }),
        }
    }

    /// Takes the stocks of all CPUs.
    pub(super) fn take_all(&self) -> Vec<Stock> {
        let mut taken = Vec::new();
        self.0.for_each(|stock| taken.extend(stock.take()));
        taken
    }
}
