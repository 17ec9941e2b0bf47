//! The batches of folios that each CPU has for the LRU lists. The kernel collects up to 31 new folios on a CPU before
//! it adds these folios to their lists, so a list is shorter than the number of its pages until the batch is drained.
//!
//! The batches exist only with the switch `lru_add_batch`. A folio of a batch is linked into its list at once, and
//! the batch only records that the list counts the folio later. The order of a list is the same with both methods,
//! because every scan of a list drains the batch of its CPU first.

use std::sync::Arc;

use super::{Folio, Memory};
use crate::base::error::Result;
use crate::base::types::{CpuId, Pfn};
use crate::containers::percpu::PerCpu;
use crate::workingset::{LruList, Lruvec};

/// Number of folios that a batch holds. Kernel: `PAGEVEC_SIZE`.
const LRU_BATCH_FOLIOS: usize = 31;

/// A folio that its list does not count yet.
#[derive(Debug)]
struct BatchedFolio {
    pfn: Pfn,
    lruvec: Arc<Lruvec>,
    list: LruList,
    nr_pages: u32,
}

/// The batch of each CPU. Kernel: `lru_add` of `struct cpu_fbatches`.
#[derive(Debug)]
pub(super) struct LruBatches(PerCpu<Vec<BatchedFolio>>);

fn drain(batch: &mut Vec<BatchedFolio>) {
    for folio in batch.drain(..) {
        folio.lruvec.add_batched_pages(folio.list, -i64::from(folio.nr_pages));
    }
}

impl Memory {
    /// Makes the batches of `nr_cpus` CPUs. Errors: `BadNrCpus` (EINVAL).
    pub(crate) fn with_lru_batches(mut self, nr_cpus: usize) -> Result<Self> {
        self.lru_batches = Some(LruBatches(PerCpu::new(nr_cpus, |_| Vec::with_capacity(LRU_BATCH_FOLIOS))?));
        Ok(self)
    }

    /// Adds a folio to the batch of a CPU. The caller adds the folio to the list `list`. A full batch, and a large
    /// folio, drain the batch. Does nothing without the switch `lru_add_batch`, and under MGLRU. Kernel:
    /// `folio_add_lru`.
    #[inline]
    pub(crate) fn lru_batch_add(&self, folio: Folio<'_>, list: LruList, cpu: CpuId) {
        if let Some(batches) = &self.lru_batches
            && !self.lru_gen_enabled()
            && let Ok(mut batch) = batches.0.lock(cpu)
        {
            let (lruvec, nr_pages) = (self.lruvec_of(folio).clone(), folio.nr_pages());
            lruvec.add_batched_pages(list, nr_pages.into());
            batch.push(BatchedFolio { pfn: folio.pfn(), lruvec, list, nr_pages });
            if nr_pages > 1 || batch.len() == LRU_BATCH_FOLIOS {
                drain(&mut batch);
            }
        }
    }

    /// Makes the lists count the folios in the batch of a CPU. Kernel: `lru_add_drain`.
    #[inline]
    pub(crate) fn lru_batch_drain(&self, cpu: CpuId) {
        if let Some(batches) = &self.lru_batches
            && let Ok(mut batch) = batches.0.lock(cpu)
        {
            drain(&mut batch);
        }
    }

    /// Makes the lists count the folios in the batch of every CPU. Kernel: `lru_add_drain_all`.
    pub(crate) fn lru_batch_drain_all(&self) {
        if let Some(batches) = &self.lru_batches {
            batches.0.for_each(drain);
        }
    }

    /// Drains the batch of a CPU if the batch holds the folio, because the reference of the batch would make the
    /// folio look shared. Kernel: `lru_add_drain`, before references are counted.
    #[inline]
    pub(crate) fn lru_batch_drain_for(&self, folio: Folio<'_>, cpu: CpuId) {
        if let Some(batches) = &self.lru_batches
            && let Ok(mut batch) = batches.0.lock(cpu)
            && batch.iter().any(|batched| batched.pfn == folio.pfn())
        {
            drain(&mut batch);
        }
    }
}
