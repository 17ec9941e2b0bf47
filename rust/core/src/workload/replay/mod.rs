//! Replays of recorded workloads. A trace is a recorded list of allocations and frees. `strategies` replays a trace
//! through a strategy, which is an allocator without page data, and `folios` replays a trace with folios that have
//! data. `accesses` replays a list of page accesses in an address space.
//!
//! A trace does not record the slot of an allocation, because the replayed allocator chooses it. When a large request
//! fails, the replay requests a slot for each page, in the order in which the kernel splits a folio. In this order
//! the head page comes before the other pages, and the other pages follow from the last page down to the second page.

mod accesses;
mod contents;
mod folios;
mod strategies;

pub use accesses::{AccessReplay, AccessReport, Accesses};
pub use folios::{FolioReplay, FolioReport};
use rustix::time::{ClockId, clock_gettime};
pub use strategies::Report;

use crate::base::error::{Result, SwapError};
use crate::base::limits::SWAP_NR_ORDERS;
use crate::base::types::{CpuId, Order};

/// Number of clock readings that measure the cost of one reading.
const CLOCK_LOOKS: usize = 64;

/// One recorded operation.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// An allocation of slots for a new folio.
    Alloc { order: Order, cpu: CpuId, folio: u32 },
    /// A free of some pages of a folio.
    Free { folio: u32, first: u16, nr_pages: u16, cpu: CpuId },
}

/// A checked trace, ready to replay.
#[derive(Debug)]
pub struct Trace {
    ops: Vec<Op>,
    /// Number of the first page of each folio. The pages of all folios are numbered in the order of allocation.
    page_base: Vec<u32>,
    nr_pages: u32,
    nr_cpus: usize,
    peak_pages: u64,
    /// Index of the operation that is the peak of the trace: after this operation the largest number of pages is in
    /// use.
    peak_at: usize,
    by_order: [u64; SWAP_NR_ORDERS],
}

/// The columns of a trace, with one entry per operation.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// Kind of the operation: 0 for an allocation, 1 for a free.
    pub op: &'a [u8],
    /// CPU of the operation.
    pub cpu: &'a [u8],
    /// Number of the folio that the operation allocates or frees. Folios are numbered from 0 in the order of their
    /// allocations.
    pub folio: &'a [u32],
    /// Index in the folio of the first page that a free frees.
    pub first: &'a [u16],
    /// Number of pages that the operation allocates or frees.
    pub nr: &'a [u16],
}

/// A trace under construction, with a record of the pages in use. `Builder` checks each operation before it adds the
/// operation to the trace.
struct Builder {
    trace: Trace,
    is_used: Vec<bool>,
    used_pages: u64,
}

impl Builder {
    fn alloc(&mut self, index: usize, folio: u32, cpu: CpuId, nr: u16) -> Result<()> {
        let bad = |what| SwapError::BadTrace { index, what };
        if folio as usize != self.trace.page_base.len() {
            return Err(bad("allocations must number folios 0, 1, 2 ... in order"));
        }
        if !nr.is_power_of_two() {
            return Err(bad("pages of an allocation must be a power of two"));
        }
        let order = Order::new(nr.trailing_zeros() as u8).ok_or(bad("pages of an allocation are over 512"))?;
        self.trace.page_base.push(self.trace.nr_pages);
        let nr_pages = self.trace.nr_pages.checked_add(nr.into()).ok_or(bad("more than 2^32 pages in all"))?;
        self.trace.nr_pages = nr_pages;
        self.is_used.resize(nr_pages as usize, true);
        self.trace.by_order[order.index()] += 1;
        self.trace.ops.push(Op::Alloc { order, cpu, folio });
        self.used_pages += nr as u64;
        if self.used_pages > self.trace.peak_pages {
            self.trace.peak_pages = self.used_pages;
            self.trace.peak_at = index;
        }
        Ok(())
    }

    fn free(&mut self, index: usize, folio: u32, cpu: CpuId, first: u16, nr_pages: u16) -> Result<()> {
        let bad = |what| SwapError::BadTrace { index, what };
        let base = *self.trace.page_base.get(folio as usize).ok_or(bad("a folio is freed before it is allocated"))?;
        let end = self.trace.page_base.get(folio as usize + 1).copied().unwrap_or(self.trace.nr_pages);
        let from = base + first as u32;
        if nr_pages == 0 || from + nr_pages as u32 > end {
            return Err(bad("a free reaches beyond its folio"));
        }
        for used in &mut self.is_used[from as usize..from as usize + nr_pages as usize] {
            if !std::mem::take(used) {
                return Err(bad("a page is freed twice"));
            }
        }
        self.trace.ops.push(Op::Free { folio, first, nr_pages, cpu });
        self.used_pages -= nr_pages as u64;
        Ok(())
    }
}

impl Trace {
    /// Checks the columns and copies them into a trace. Errors: `BadTrace` (EINVAL), which names the operation.
    pub fn new(columns: Columns<'_>) -> Result<Self> {
        let len = columns.op.len();
        let lens = [columns.cpu.len(), columns.folio.len(), columns.first.len(), columns.nr.len()];
        if lens.iter().any(|&other| other != len) {
            return Err(SwapError::BadTrace { index: 0, what: "columns differ in length" });
        }
        let trace = Self {
            ops: Vec::with_capacity(len),
            page_base: Vec::new(),
            nr_pages: 0,
            nr_cpus: columns.cpu.iter().max().map_or(1, |&cpu| cpu as usize + 1),
            peak_pages: 0,
            peak_at: 0,
            by_order: [0; SWAP_NR_ORDERS],
        };
        let mut builder = Builder { trace, is_used: Vec::new(), used_pages: 0 };
        for index in 0..len {
            let (folio, cpu) = (columns.folio[index], CpuId(columns.cpu[index].into()));
            match columns.op[index] {
                0 => builder.alloc(index, folio, cpu, columns.nr[index])?,
                1 => builder.free(index, folio, cpu, columns.first[index], columns.nr[index])?,
                _ => return Err(SwapError::BadTrace { index, what: "op must be 0 (allocate) or 1 (free)" }),
            }
        }
        Ok(builder.trace)
    }

    /// Returns the number of operations.
    pub fn nr_ops(&self) -> usize {
        self.ops.len()
    }

    /// Returns the number of allocations.
    pub fn nr_allocations(&self) -> u64 {
        self.by_order.iter().sum()
    }

    /// Returns the number of CPUs that operations name.
    pub fn nr_cpus(&self) -> usize {
        self.nr_cpus
    }

    /// Returns the largest number of pages in use.
    pub fn peak_pages(&self) -> u64 {
        self.peak_pages
    }

    /// Returns the number of allocations by order.
    pub fn allocations_by_order(&self) -> &[u64; SWAP_NR_ORDERS] {
        &self.by_order
    }
}

/// The CPU clock of the current thread, corrected for the cost of reading the clock.
struct Clock {
    look_ns: u64,
}

impl Clock {
    fn new() -> Self {
        let looks = (0..CLOCK_LOOKS).map(|_| {
            let start = cpu_ns();
            cpu_ns() - start
        });
        Self { look_ns: looks.min().unwrap_or(0) }
    }

    /// Runs a function and adds the CPU time of the function to `total_ns`.
    fn time<T>(&self, total_ns: &mut u64, call: impl FnOnce() -> T) -> T {
        let start = cpu_ns();
        let result = call();
        *total_ns += (cpu_ns() - start).saturating_sub(self.look_ns);
        result
    }
}

fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Returns the page indices of a split folio in the order in which the kernel allocates their slots.
fn split_order(nr_pages: u32) -> impl Iterator<Item = u32> {
    std::iter::once(0).chain((1..nr_pages).rev())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{Ram, SwapStorage};
    use crate::{Discard, Profile, Swap};

    /// Makes a subsystem with one device.
    pub(super) fn swap(storage: Arc<dyn SwapStorage>) -> Swap {
        let swap = Swap::new(1, Profile::Newest).expect("one CPU");
        swap.swapon_storage(storage, None, Discard::None).expect("a device");
        swap
    }

    pub(super) fn ram(pages: u32) -> Arc<Ram> {
        Arc::new(Ram::new(pages).expect("a size"))
    }

    /// Makes a trace from (op, folio, first, nr) on CPU 0.
    pub(super) fn columns(ops: &[(u8, u32, u16, u16)]) -> Result<Trace> {
        let op: Vec<_> = ops.iter().map(|op| op.0).collect();
        let folio: Vec<_> = ops.iter().map(|op| op.1).collect();
        let first: Vec<_> = ops.iter().map(|op| op.2).collect();
        let nr: Vec<_> = ops.iter().map(|op| op.3).collect();
        Trace::new(Columns { op: &op, cpu: &vec![0; op.len()], folio: &folio, first: &first, nr: &nr })
    }

    #[test]
    fn bad_traces_name_the_operation() {
        let bad = |ops: &[_]| columns(ops).map(|_| ()).expect_err("refused").to_string();
        assert!(bad(&[(0, 1, 0, 1)]).contains("operation 0"));
        assert!(bad(&[(0, 0, 0, 3)]).contains("power of two"));
        assert!(bad(&[(0, 0, 0, 1024)]).contains("over 512"));
        assert!(bad(&[(0, 0, 0, 4), (1, 0, 2, 4)]).contains("beyond"));
        let twice = bad(&[(0, 0, 0, 4), (1, 0, 1, 2), (1, 0, 2, 1)]);
        assert!(twice.contains("operation 2 of the trace: a page is freed twice"));
        assert!(bad(&[(2, 0, 0, 1)]).contains("op must be"));
        assert!(bad(&[(1, 7, 0, 1)]).contains("before it is allocated"));
    }
}
