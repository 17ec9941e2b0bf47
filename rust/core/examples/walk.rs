//! Runs five operations of the core. Each operation has a function of its own, so that a profiler can list the files
//! and functions that the operation enters.
//!
//! `docs/swap-out-and-in.md` has the lists of files and functions, and the command that makes the lists.

use std::sync::Arc;

use swapcore::base::gfp::Gfp;
use swapcore::base::types::CssId;
use swapcore::memcg::{Hierarchy, MemCgroup};
use swapcore::storage::{Ram, SwapStorage, Zram, ZramOptions};
use swapcore::zswap::ZswapOptions;
use swapcore::{Config, CpuId, Discard, MappedFolio, Order, Orders, Profile, Swap, SwapError, Swapin, SwpEntry};

const CPU: CpuId = CpuId(0);
/// The number of pages in a folio of 64 kB.
const NR_PAGES: u32 = 16;

fn machine(storage: Arc<dyn SwapStorage>, zswap: Option<ZswapOptions>) -> Result<Swap, SwapError> {
    let config = Config { memcg: Some(Hierarchy::V2), zswap, ..Config::new(1, Profile::Newest) };
    let swap = Swap::with_config(config)?;
    swap.swapon_storage(storage, Some(1), Discard::None)?;
    Ok(swap)
}

#[inline(never)]
fn walk_alloc(swap: &Swap) -> Result<SwpEntry, SwapError> {
    swap.alloc(Order::ZERO, CPU)
}

#[inline(never)]
fn walk_swap_out<'s>(swap: &'s Swap, folio: MappedFolio<'s>) -> Result<SwpEntry, SwapError> {
    swap.swap_out(folio, CPU).map_err(|kept| kept.error)
}

#[inline(never)]
fn walk_swap_in<'s>(swap: &'s Swap, entry: SwpEntry, how: &Swapin<'s>) -> Result<MappedFolio<'s>, SwapError> {
    swap.swap_in(entry, NR_PAGES, how)
}

#[inline(never)]
fn walk_charge(swap: &Swap, group: &MemCgroup) -> Result<(), SwapError> {
    swap.try_charge(group, NR_PAGES.into(), Gfp::HIGHUSER_MOVABLE, CPU)
}

#[inline(never)]
fn walk_writeback(swap: &Swap, entry: SwpEntry) -> Result<(), SwapError> {
    swap.zswap_writeback_entry(entry, CPU)
}

fn main() -> Result<(), SwapError> {
    let zram = Arc::new(Zram::new(1 << 14, &ZramOptions::default())?);
    let swap = machine(zram, None)?;
    let groups = swap.memcg().expect("v2");
    let group = groups.create(groups.root().css(), "group")?.css();
    walk_alloc(&swap)?;
    let order = Order::new(NR_PAGES.ilog2() as u8).expect("an order");
    let folio = MappedFolio::map(swap.folio_with_in(order, b"a folio of 64 kB", group, CPU)?);
    let entry = walk_swap_out(&swap, folio)?;
    let how = Swapin { faulting: group, ..Swapin::new(CPU, Orders::one(order)) };
    swap.folio_unmap(walk_swap_in(&swap, entry, &how)?, CPU)?;
    walk_charge(&swap, groups.create(groups.root().css(), "charged")?)?;

    let swap = machine(Arc::new(Ram::new(1 << 14)?), Some(ZswapOptions::default()))?;
    let folio = MappedFolio::map(swap.folio_with_in(Order::ZERO, b"a page", CssId::ROOT, CPU)?);
    let entry = swap.swap_out(folio, CPU).map_err(|kept| kept.error)?;
    walk_writeback(&swap, entry)?;
    swap.check()
}
