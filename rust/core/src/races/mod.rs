//! Tests of every race and every error of the swap cache. In a race test, a second operation runs inside a step of a
//! first operation on the swap cache, on the same thread where possible. The storage `Scripted` and the charge probe
//! `Script` start the second operation through a `Hook`.

mod errors;
mod shmem;
mod swapin;
mod swapout;
mod zswap;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::base::limits::PAGE_SIZE;
use crate::base::types::CssId;
use crate::memcg::{Hierarchy, MemcgStat, SwapinProbe};
use crate::mm::VmaOptions;
use crate::readahead::Vpn;
use crate::storage::{FaultPlan, Faulty, Ram, StorageTraits, SwapStorage};
use crate::table::{EntryKind, Shadow, SwapTableEntry};
use crate::{
    Config, CpuId, DeviceSpec, Discard, FolioFlags, FolioRef, MappedFolio, Mm, OnCpu, Order, Orders, Profile, Result,
    Swap, SwapError, Swapin, Switches, SwpEntry, SwpOffset, SwpType,
};

/// The CPU of the operation in whose step a test runs a second operation.
const CPU: CpuId = CpuId(0);
/// The CPU of the second operation, which runs inside a step of the first operation.
const OTHER: CpuId = CpuId(1);

/// A function of a test. The function runs once, inside the next read, write or charge.
#[derive(Default)]
struct Hook(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hook")
    }
}

impl Hook {
    fn set(&self, call: impl FnOnce() + Send + 'static) {
        *self.0.lock().expect("no panic under the lock") = Some(Box::new(call));
    }

    fn fire(&self) {
        let taken = self.0.lock().expect("no panic under the lock").take();
        if let Some(call) = taken {
            call();
        }
    }
}

/// The hooks for reads, writes and swap-in charges, and the numbers of reads, writes and charges so far.
#[derive(Debug, Default)]
struct Script {
    on_read: Hook,
    on_write: Hook,
    on_charge: Hook,
    on_settlement: Hook,
    reads: AtomicU64,
    writes: AtomicU64,
    charges: AtomicU64,
    refuses_charges: AtomicBool,
}

impl SwapinProbe for Script {
    /// Runs the hook of the test, and then counts or refuses the charge.
    fn before_charge(&self) -> Result<()> {
        self.on_charge.fire();
        if self.refuses_charges.load(Ordering::Relaxed) {
            return Err(SwapError::NoMemory(1));
        }
        self.charges.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn before_settlement(&self) {
        self.on_settlement.fire();
    }
}

/// A storage in memory. Each read or write runs its hook before the transfer, and is counted.
#[derive(Debug)]
struct Scripted {
    ram: Ram,
    is_synchronous: bool,
    script: Arc<Script>,
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
        self.script.writes.fetch_add(1, Ordering::Relaxed);
        self.script.on_write.fire();
        self.ram.write(first, data)
    }

    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()> {
        self.script.reads.fetch_add(1, Ordering::Relaxed);
        self.script.on_read.fire();
        self.ram.read(first, data)
    }

    fn slot_free_notify(&self, first: SwpOffset, nr_pages: u32) {
        self.ram.slot_free_notify(first, nr_pages);
    }
}

/// A subsystem with one device. When a machine is dropped, every invariant must hold and no slot, page or reference
/// may be left.
struct Machine {
    swap: Arc<Swap>,
    storage: Arc<Faulty>,
    script: Arc<Script>,
}

fn machine_with(is_synchronous: bool, choose: impl FnOnce(&mut Switches)) -> Machine {
    let mut config = Config { memory_pages: 8192, memcg: Some(Hierarchy::V2), ..Config::new(2, Profile::Newest) };
    choose(&mut config.switches);
    let swap = Arc::new(Swap::with_config(config).expect("a good config"));
    let script = Arc::new(Script::default());
    swap.policies.swapin_probe.set(script.clone()).expect("a new machine has no probe");
    let scripted = Scripted { ram: Ram::new(4096).expect("memory"), is_synchronous, script: script.clone() };
    let storage = Arc::new(Faulty::new(Arc::new(scripted), 1));
    swap.swapon_storage(storage.clone(), Some(1), Discard::None).expect("a good device");
    Machine { swap, storage, script }
}

/// Makes a machine whose device is synchronous, so that a swap-in takes the order of the swap-out and frees the
/// slots.
fn machine() -> Machine {
    machine_with(true, |_| ())
}

/// Makes a machine whose device is not synchronous, so that a fault reads single pages and their neighbours.
fn readahead_machine() -> Machine {
    machine_with(false, |_| ())
}

fn order(order: u8) -> Order {
    Order::new(order).expect("an order")
}

impl Machine {
    fn on(&self, cpu: CpuId) -> OnCpu<'_> {
        self.swap.on_cpu(cpu).expect("a CPU")
    }

    /// Makes the next write and the next read fail.
    fn fail_next_transfers(&self) {
        let plan = FaultPlan { fail_write_in: Some(1), fail_read_in: Some(1), ..FaultPlan::default() };
        self.storage.set_plan(plan).expect("a good plan");
    }

    /// Makes a folio that is full of one byte and charged to a group.
    fn folio(&self, css: CssId, order: Order, byte: u8) -> FolioRef<'_> {
        let data = vec![byte; order.nr_pages() as usize * PAGE_SIZE];
        self.swap.folio_with_in(order, &data, css, CPU).expect("memory")
    }

    /// Swaps out a folio of the root group. Returns the entry of the folio's first page.
    fn out(&self, order: Order, byte: u8) -> SwpEntry {
        self.out_of(CssId::ROOT, order, byte)
    }

    fn out_of(&self, css: CssId, order: Order, byte: u8) -> SwpEntry {
        let folio = self.folio(css, order, byte);
        self.swap.swap_out(MappedFolio::map(folio), CPU).map_err(|kept| kept.error).expect("room")
    }

    /// Makes a dirty cached folio whose first `nr_dups` slots have one reference each. Returns the folio and its
    /// entry.
    fn cached(&self, order: Order, byte: u8, nr_dups: u32) -> (FolioRef<'_>, SwpEntry) {
        let folio = self.folio(CssId::ROOT, order, byte);
        let locked = folio.folio().lock();
        self.swap.add_to_swap(&locked, None, CPU).expect("room");
        self.on(CPU).dup_locked(&locked, 0..nr_dups).expect("room");
        let entry = locked.entry().expect("cached");
        drop(locked);
        (folio, entry)
    }

    fn lookup(&self, entry: SwpEntry, cpu: CpuId) -> Option<FolioRef<'_>> {
        self.swap.swap_cache_get_folio(entry, cpu).expect("a slot")
    }

    /// Finds the folio of an entry in the swap cache, or swaps the folio in, as a fault does. The folio is not
    /// mapped.
    fn fault(&self, entry: SwpEntry, order: Order, cpu: CpuId) -> Result<FolioRef<'_>> {
        self.swap.swapin_entry(entry, &Swapin::new(cpu, Orders::one(order)))
    }

    fn try_in(&self, entry: SwpEntry, order: Order, cpu: CpuId) -> Result<MappedFolio<'_>> {
        self.swap.swap_in(entry, order.nr_pages(), &Swapin::new(cpu, Orders::one(order)))
    }

    /// Allocates a folio in the swap cache and reads the folio, as a swap-in does. `meanwhile` runs inside the first
    /// request for memory. The swap-in checks the table once before this request and once after it.
    fn alloc_while(&self, entry: SwpEntry, at: Order, meanwhile: impl Fn() + Sync) -> Result<FolioRef<'_>> {
        let is_first = AtomicBool::new(true);
        let allocate = |order: Order, _gfp| {
            if is_first.swap(false, Ordering::Relaxed) {
                meanwhile();
            }
            self.swap.memory_of_folios().alloc(order)
        };
        let how = Swapin { allocate: Some(&allocate), ..Swapin::new(CPU, Orders::one(at)) };
        let new = self.swap.swap_cache_alloc_folio(entry, &how)?;
        self.swap.swap_read_folio(new.locked, CPU)?;
        let pfn = new.folio.into_raw();
        Ok(FolioRef::adopt(self.swap.memory_of_folios().folio(pfn)))
    }

    fn put(&self, entry: SwpEntry, nr_pages: u32, cpu: CpuId) {
        self.swap.put(entry, nr_pages, cpu).expect("one reference a slot");
    }

    /// Drops a folio that is not mapped, and drops one reference to each of its slots.
    fn forget(&self, folio: FolioRef<'_>, entry: SwpEntry) {
        let nr_pages = folio.nr_pages();
        drop(folio);
        self.put(entry, nr_pages, CPU);
    }

    fn word(&self, entry: SwpEntry) -> SwapTableEntry {
        self.on(CPU).lookup(entry).expect("a slot")
    }

    fn count(&self, entry: SwpEntry) -> u32 {
        self.on(CPU).swap_count(entry).expect("a slot")
    }

    fn reads(&self) -> u64 {
        self.script.reads.load(Ordering::Relaxed)
    }

    fn writes(&self) -> u64 {
        self.script.writes.load(Ordering::Relaxed)
    }

    fn charges(&self) -> u64 {
        self.script.charges.load(Ordering::Relaxed)
    }

    /// Returns the number of swap pages that the root group owns.
    fn owned_pages(&self) -> i64 {
        self.swap.memcg().expect("enabled").root().stat_local(MemcgStat::Swap)
    }

    fn stat(&self, name: &str) -> u64 {
        self.swap.stats().iter().find(|(known, _)| known == name).map(|&(_, value)| value).expect("a counter")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.swap.check().expect("every invariant");
        let used: u64 = self.swap.devices().iter().map(|device| self.swap.inuse_pages(device.ty())).sum();
        let groups = self.swap.memcg().expect("enabled");
        groups.drain_stocks();
        assert_eq!((self.owned_pages(), groups.root().id_refs()), (0, 1), "swap pages and id references of root");
        assert_eq!((used, self.swap.memory_of_folios().nr_used_pages()), (0, 0), "slots and pages in use");
    }
}

/// Waits up to ten seconds for the end of a thread that a hook started. Panics if the thread panicked.
fn join(thread: JoinHandle<()>) {
    let until = Instant::now() + Duration::from_secs(10);
    while !thread.is_finished() {
        assert!(Instant::now() < until, "the second user does not end");
        std::thread::yield_now();
    }
    thread.join().expect("the second user does not panic");
}

fn is_all(folio: &FolioRef<'_>, byte: u8) -> bool {
    folio.bytes().expect("no views").iter().all(|&other| other == byte)
}

/// Makes an address space with a mapping whose pages are full of one byte. Returns the space and the first page.
fn space(m: &Machine, nr_pages: u64, byte: u8) -> (Mm, Vpn) {
    let mm = Mm::new(m.swap.clone());
    let vpn = mm.mmap(nr_pages, VmaOptions::default()).expect("a mapping").pages().start;
    let data = vec![byte; nr_pages as usize * PAGE_SIZE];
    mm.write(vpn.0 * PAGE_SIZE as u64, &data, CPU).expect("memory");
    (mm, vpn)
}

/// Makes an address space like `space` and swaps out every page. Also returns the swap entry of the first page.
fn swapped_space(m: &Machine, nr_pages: u64, byte: u8) -> (Mm, Vpn, SwpEntry) {
    let (mm, vpn) = space(m, nr_pages, byte);
    assert_eq!(pageout(&mm, vpn, nr_pages), nr_pages);
    let entry = entry_of(&mm, vpn);
    (mm, vpn, entry)
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
