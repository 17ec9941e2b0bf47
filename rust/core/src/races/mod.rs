//! Every race and every error of the swap cache, forced. The other side runs inside a step of the first side, on the
//! same thread where possible. The tests' own storage, allocator and memory controller call the other side.

mod errors;
mod shmem;
mod swapin;
mod swapout;
mod zswap;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::base::types::{CpuId, Order, SwpEntry, SwpOffset};
use crate::folio::{FolioFlags, FolioRef};
use crate::machine::profile::{Profile, SwapinCheck};
use crate::machine::{Config, Swap};
use crate::memcg::{Hierarchy, MemcgStat, SwapinProbe};
use crate::mm::{Mm, VmaOptions};
use crate::readahead::Vpn;
use crate::storage::spec::{DeviceSpec, Discard};
use crate::storage::{Ram, StorageTraits, SwapStorage};
use crate::swapping::swapin::{Orders, Swapin};
use crate::swapping::swapout::MappedFolio;
use crate::table::{EntryKind, Shadow};

const CPU: CpuId = CpuId(0);
const OTHER: CpuId = CpuId(1);

/// A function to run inside a step, once.
type Hook = Mutex<Option<Box<dyn FnOnce() + Send>>>;

fn fire(hook: &Hook) {
    let taken = hook.lock().expect("no test panics under it").take();
    if let Some(call) = taken {
        call();
    }
}

/// Memory that runs a hook at the start of a read or write, counts the calls, and fails on demand.
#[derive(Debug)]
struct Scripted {
    ram: Ram,
    is_synchronous: bool,
    on_read: HookCell,
    on_write: HookCell,
    reads: AtomicU64,
    writes: AtomicU64,
    fails: AtomicBool,
}

#[derive(Default)]
struct HookCell(Hook);

impl std::fmt::Debug for HookCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hook")
    }
}

impl Scripted {
    fn result(&self, op: &'static str, first: SwpOffset, len: usize) -> Result<()> {
        if !self.fails.load(Ordering::Relaxed) {
            return Ok(());
        }
        let nr_pages = (len / PAGE_SIZE) as u32;
        Err(SwapError::Io {
            op,
            storage: "scripted".into(),
            first: first.0,
            nr_pages,
            errno: rustix::io::Errno::IO,
            what: "told to".into(),
        })
    }
}

impl SwapStorage for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn spec(&self) -> DeviceSpec {
        self.ram.spec()
    }

    fn traits(&self) -> StorageTraits {
        let mut traits = self.ram.traits();
        traits.set(StorageTraits::SYNCHRONOUS_IO, self.is_synchronous);
        traits
    }

    fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        fire(&self.on_write.0);
        self.result("write", first, data.len())?;
        self.ram.write(first, data)
    }

    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        fire(&self.on_read.0);
        self.result("read", first, data.len())?;
        self.ram.read(first, data)
    }

    fn slot_free_notify(&self, first: SwpOffset, nr_pages: u32) {
        self.ram.slot_free_notify(first, nr_pages);
    }
}

/// The probe of the charges of swap-ins: refuses them on demand, and counts the charges that pass.
#[derive(Debug, Default)]
struct Ledger {
    refuses_swapin: AtomicBool,
    swapin_charges: AtomicU64,
    on_charge: HookCell,
}

impl SwapinProbe for Ledger {
    fn before_charge(&self) -> Result<()> {
        fire(&self.on_charge.0);
        if self.refuses_swapin.load(Ordering::Relaxed) {
            return Err(SwapError::NoMemory(1));
        }
        self.swapin_charges.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

struct Machine {
    swap: Arc<Swap>,
    storage: Arc<Scripted>,
    ledger: Arc<Ledger>,
}

fn machine_with(is_synchronous: bool, swapin_check: SwapinCheck) -> Machine {
    let ledger = Arc::new(Ledger::default());
    let config = Config::new(2, Profile::Newest);
    let switches = crate::machine::profile::Switches { swapin_check, ..config.switches };
    let config = Config { switches, memory_pages: 8192, memcg: Some(Hierarchy::V2), ..config };
    let swap = Arc::new(Swap::with_config(config).expect("a good config"));
    swap.policies.swapin_probe.set(ledger.clone()).expect("a new machine has none");
    let storage = Arc::new(Scripted {
        ram: Ram::new(4096).expect("memory"),
        is_synchronous,
        on_read: HookCell::default(),
        on_write: HookCell::default(),
        reads: AtomicU64::new(0),
        writes: AtomicU64::new(0),
        fails: AtomicBool::new(false),
    });
    swap.swapon_storage(storage.clone(), Some(1), Discard::None).expect("a good device");
    Machine { swap, storage, ledger }
}

fn machine() -> Machine {
    machine_with(true, SwapinCheck::ZeroFirst)
}

fn order(order: u8) -> Order {
    Order::new(order).expect("an order")
}

impl Machine {
    fn hook(&self, hook: &HookCell, call: impl FnOnce() + Send + 'static) {
        *hook.0.lock().expect("no test panics under it") = Some(Box::new(call));
    }

    /// Swaps out a folio of one byte; returns its entry.
    fn out(&self, order: Order, byte: u8) -> SwpEntry {
        let data = vec![byte; order.nr_pages() as usize * PAGE_SIZE];
        let folio = self.swap.folio_with(order, &data).expect("memory");
        self.swap.swap_out(MappedFolio::map(folio), CPU).map_err(|kept| kept.error).expect("room")
    }

    fn try_in(&self, entry: SwpEntry, order: Order, cpu: CpuId) -> Result<MappedFolio<'_>> {
        self.swap.swap_in(entry, order.nr_pages(), &Swapin::new(cpu, Orders::one(order)))
    }

    /// Allocates as a swap-in does and reads. `meanwhile` runs when memory is requested for the first time.
    fn alloc_while(&self, entry: SwpEntry, at: Order, meanwhile: impl Fn() + Sync) -> Result<FolioRef<'_>> {
        let is_first = AtomicBool::new(true);
        let allocate = |order: Order, _gfp| {
            if is_first.swap(false, Ordering::Relaxed) {
                meanwhile();
            }
            self.swap.folio_alloc(order)
        };
        let how = Swapin { allocate: Some(&allocate), ..Swapin::new(CPU, Orders::one(at)) };
        let new = self.swap.swap_cache_alloc_folio(entry, &how)?;
        self.swap.swap_read_folio(new.locked, CPU)?;
        let pfn = new.folio.into_raw();
        Ok(FolioRef::adopt(self.swap.memory_of_folios().folio(pfn)))
    }

    fn word(&self, entry: SwpEntry) -> crate::table::SwapTableEntry {
        self.swap.on_cpu(CPU).expect("a cpu").lookup(entry).expect("a slot")
    }

    fn count(&self, entry: SwpEntry) -> u32 {
        self.swap.on_cpu(CPU).expect("a cpu").swap_count(entry).expect("a slot")
    }

    fn reads(&self) -> u64 {
        self.storage.reads.load(Ordering::Relaxed)
    }

    fn charges(&self) -> u64 {
        self.ledger.swapin_charges.load(Ordering::Relaxed)
    }

    /// Returns the pages of swap that root owns. The tasks of the tests are in root.
    fn owned_pages(&self) -> i64 {
        self.swap.memcg().expect("enabled").root().stat_local(MemcgStat::Swap)
    }

    fn stat(&self, name: &str) -> u64 {
        self.swap.stats().iter().find(|(known, _)| known == name).map(|&(_, value)| value).expect("a counter")
    }

    /// Checks that every reference was dropped and no slot or page is left.
    fn assert_empty(&self) {
        self.swap.check().expect("every invariant");
        let used: u64 = self.swap.devices().iter().map(|device| self.swap.inuse_pages(device.ty())).sum();
        self.swap.memcg().expect("enabled").drain_stocks();
        assert_eq!((self.owned_pages(), self.swap.memcg().expect("enabled").root().id_refs()), (0, 1), "swap of root");
        assert_eq!((used, self.swap.memory_of_folios().nr_used_pages()), (0, 0), "slots and pages in use");
    }
}

fn is_all(folio: &FolioRef<'_>, byte: u8) -> bool {
    folio.bytes().expect("no views").iter().all(|&other| other == byte)
}

/// Makes an address space with one swapped-out page.
fn space(m: &Machine, orders: Orders, nr_pages: u64, byte: u8) -> (Mm, Vpn) {
    let mm = Mm::new(m.swap.clone());
    let anon_order = if orders.bits() == 0 { 0 } else { orders.highest().get() };
    let vma = mm.mmap(nr_pages, VmaOptions { orders, anon_order, ..VmaOptions::default() }).expect("a mapping");
    let vpn = vma.pages().start;
    let data = vec![byte; nr_pages as usize * PAGE_SIZE];
    mm.write(vpn.0 * PAGE_SIZE as u64, &data, CPU).expect("memory");
    (mm, vpn)
}

fn pageout(mm: &Mm, vpn: Vpn, nr_pages: u64) -> u64 {
    mm.pageout(vpn..Vpn(vpn.0 + nr_pages), CPU).expect("mapped").reclaimed_pages
}

fn entry_of(mm: &Mm, vpn: Vpn) -> SwpEntry {
    mm.swap_entry(vpn).expect("mapped").expect("swapped out")
}

fn byte_at(mm: &Mm, vpn: Vpn, cpu: CpuId) -> Result<u8> {
    let mut byte = [0];
    mm.read(vpn.0 * PAGE_SIZE as u64, &mut byte, cpu).map(|()| byte[0])
}

/// Drops the folio of `alloc_while`, as a user without mappings does.
fn forget(machine: &Machine, folio: FolioRef<'_>, entry: SwpEntry) {
    let nr_pages = folio.nr_pages();
    drop(folio);
    machine.swap.put(entry, nr_pages, CPU).expect("one reference a slot");
}

/// Frees an order-2 run unread.
fn drop_slots(machine: &Machine, entry: SwpEntry) {
    machine.swap.put(entry, 4, CPU).expect("one reference a slot");
}
