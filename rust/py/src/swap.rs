//! `Swap`: one machine's swap subsystem.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swapcore::memcg::{Hierarchy, MemcgPolicy};
use swapcore::table::Shadow;
use swapcore::{Config, FolioHandle, Order, Profile, SwapError, Workers};

use crate::arrays::{EntriesArg, SwapBatch};
use crate::batch::DETACH_SLOTS;
use crate::convert::{self, EntryArg, StorageArg};
use crate::device::{SwapDevice, all_memory_dict};
use crate::dump::{device_dict, events_dict, hints_dict};
use crate::entry::SwpEntry;
use crate::errors::Result;
use crate::folio::Folio;
use crate::memcg::MemCgroup;
use crate::mm::Mm;
use crate::number;
use crate::policy::Hooks;
use crate::swapping::How;
use crate::zswap::{ZswapArg, ZswapHandle};

/// One machine's swap subsystem: devices, priorities, per-CPU hints, counters.
///
/// ``profile`` is one of ``v618``, ``p3``, ``series``, ``newest``. ``workers`` is ``inline`` (reclaim_work and discard_work
/// run right after the operation that queued them) or ``manual`` (only in `run_workers`). ``switches`` overrides single
/// choices of the profile by name, see `switches`. ``memory_pages`` (512..=2**31) is what folios may have together, used as it
/// is written; ``workingset`` is ``classic`` (active and inactive lists) or ``mglru`` (generations); ``memcg`` is ``v2``, ``v1`` or ``disabled``; ``zswap`` is the name of
/// a compressor, a `swapcore.Zswap`, or None for no zswap until it is turned on. ``cpu`` arguments mean the CPU whose hints and local lock are used;
/// None is this thread's own number.
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct Swap {
    pub(crate) swap: Arc<swapcore::Swap>,
}

impl Swap {
    /// Takes the local lock of the CPU meant.
    #[inline]
    pub(crate) fn on_cpu(&self, cpu: Option<usize>) -> Result<swapcore::OnCpu<'_>> {
        Ok(self.swap.on_cpu(self.cpu(cpu)?)?)
    }

    fn cpu(&self, cpu: Option<usize>) -> Result<swapcore::CpuId> {
        convert::cpu(cpu, self.swap.nr_cpus())
    }

    fn handle(&self, device: &Arc<swapcore::SwapDevice>) -> SwapDevice {
        SwapDevice::new(self.swap.clone(), device)
    }

    pub(crate) fn own(&self, device: &SwapDevice) -> Result<Arc<swapcore::SwapDevice>> {
        let live = device.live()?;
        if !Arc::ptr_eq(&device.swap, &self.swap) {
            return Err(SwapError::ForeignDevice(live.ty().0).into());
        }
        Ok(live)
    }
}

#[pymethods]
impl Swap {
    #[new]
    #[pyo3(signature = (*, nr_cpus = 1, profile = "newest", workers = "inline", switches = None, memory_pages = 4_194_304,
        workingset = "classic", memcg = "v2", zswap = None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        #[pyo3(from_py_with = number::nr_cpus)] nr_cpus: usize,
        profile: &str,
        workers: &str,
        switches: Option<std::collections::BTreeMap<String, String>>,
        #[pyo3(from_py_with = number::memory_pages)] memory_pages: u64,
        workingset: &str,
        memcg: &str,
        zswap: Option<ZswapArg>,
    ) -> Result<Self> {
        let profile = Profile::from_name(profile)?;
        let workers = Workers::from_name(workers)?;
        let mut choices = profile.switches();
        for (name, word) in switches.unwrap_or_default() {
            choices.set(&name, &word)?;
        }
        let config = Config {
            nr_cpus,
            profile,
            switches: choices,
            workers,
            memory_pages,
            memcg: Hierarchy::from_name(memcg)?,
            workingset: workingset.into(),
            zswap: zswap.map(|zswap| zswap.0),
        };
        Ok(Self { swap: Arc::new(swapcore::Swap::with_config(config)?) })
    }

    /// CPUs of the subsystem.
    #[getter]
    fn nr_cpus(&self) -> usize {
        self.swap.nr_cpus()
    }

    /// The profile that was asked for.
    #[getter]
    fn profile(&self) -> &'static str {
        self.swap.profile().name()
    }

    /// Every switch with its value: ``default_priority`` (``minus_one``/``descending``), ``rule_u``
    /// (``leave``/``relocate``), ``sync_discard`` (``avail``/``active``), ``free_order`` (``ascending``/``columns``),
    /// ``first_search`` (``nonfull``/``free``), ``hibernation`` (``hint``/``search``).
    #[getter]
    fn switches<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let words = PyDict::new(py);
        self.swap.switches().words().iter().try_for_each(|(name, word)| words.set_item(name, word))?;
        Ok(words)
    }

    /// Free slots of all enabled devices.
    #[getter]
    fn nr_swap_pages(&self) -> i64 {
        self.swap.nr_swap_pages()
    }

    /// Usable slots of all enabled devices.
    #[getter]
    fn total_swap_pages(&self) -> u64 {
        self.swap.total_swap_pages()
    }

    /// Slots whose table entry is a folio.
    #[getter]
    fn nr_swapcache_pages(&self) -> u64 {
        self.swap.nr_swapcache_pages()
    }

    /// True when less than half of all slots are free: ``nr_swap_pages * 2 < total_swap_pages``.
    #[getter]
    fn vm_swap_full(&self) -> bool {
        self.swap.vm_swap_full()
    }

    /// The devices that are on, in the order they are tried (the avail list, then the full ones by type).
    #[getter]
    fn devices(&self) -> Vec<SwapDevice> {
        self.swap.devices().iter().map(|device| self.handle(device)).collect()
    }

    /// Compressed memory in front of the devices.
    #[getter]
    fn zswap(&self) -> ZswapHandle {
        ZswapHandle::new(self.swap.clone())
    }

    /// Devices with room that have a place for pages: 0 turns writeback of zswap off.
    #[getter]
    fn nr_real_swapfiles(&self) -> u64 {
        self.swap.nr_real_swapfiles()
    }

    /// Gives a device without pages another size; returns ``max_pages``, its size, and ``limit_pages``, where allocation ends.
    fn resize<'py>(
        &self,
        py: Python<'py>,
        device: &Bound<'py, SwapDevice>,
        #[pyo3(from_py_with = number::slots_or_size)] size: u32,
    ) -> Result<Bound<'py, PyDict>> {
        let live = self.own(device.get())?;
        let resize = py.detach(|| self.swap.resize(&live, size))?;
        let sizes = PyDict::new(py);
        sizes.set_item("max_pages", resize.max_pages)?;
        sizes.set_item("limit_pages", resize.limit_pages)?;
        Ok(sizes)
    }

    /// Turns a device on and returns it. ``storage`` is `swapcore.Zram`, `Ram`, `File`, `Ghost`, `Faulty` or `Null`; ``priority`` is
    /// 0..=32767, or None for the profile's default rule; ``discard`` is None, ``"once"``, ``"pages"`` or ``"both"``.
    #[pyo3(signature = (storage, *, priority = None, discard = None))]
    fn swapon(
        &self,
        py: Python<'_>,
        storage: StorageArg,
        #[pyo3(from_py_with = number::priority_or_none)] priority: Option<i16>,
        discard: Option<&str>,
    ) -> Result<SwapDevice> {
        let discard = convert::discard(discard)?;
        let device = py.detach(|| storage.swapon(&self.swap, priority, discard))?;
        Ok(self.handle(&device))
    }

    /// Turns a device off.
    ///
    /// ``unuse(entry, count)`` is called, with no lock held, for every slot that still has references and must give all
    /// ``count`` of them back: by `swap_in`, `put`, or for an address space ``lambda entry, count: mm.unuse(device)``. It is
    /// called again for slots that are still in use, up to 16 times. None gives references of a `Null` device back itself;
    /// any other device with references is `SwapBusyError` then, and stays on.
    #[pyo3(signature = (device, unuse = None))]
    fn swapoff(&self, py: Python<'_>, device: &Bound<'_, SwapDevice>, unuse: Option<Py<PyAny>>) -> Result<()> {
        self.turn_off(py, &self.own(device.get())?, unuse.as_ref())
    }

    /// Hands out one aligned run of ``1 << order`` slots, swapped out at once (count 1, not cached).
    #[pyo3(signature = (order = 0, *, cpu = None))]
    fn alloc(
        &self,
        #[pyo3(from_py_with = number::order)] order: u64,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<SwpEntry> {
        let order = convert::order(order)?;
        Ok(SwpEntry { entry: self.on_cpu(cpu)?.alloc(order)?, order })
    }

    /// Hands out up to ``n`` runs in one call, exactly those that ``n`` calls of `alloc` would give.
    #[pyo3(signature = (n, order = 0, *, cpu = None))]
    fn alloc_batch(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::nr_runs)] n: usize,
        #[pyo3(from_py_with = number::order)] order: u64,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<SwapBatch> {
        let order = convert::order(order)?;
        let cpu = self.cpu(cpu)?;
        // No more runs can come than there are slots, whatever was asked for; one more, so that the last request fails.
        let n = n.min((self.swap.total_swap_pages() as usize >> order.get()) + 1);
        let mut entries = vec![swapcore::SwpEntry::NONE; n];
        if n << order.get() < DETACH_SLOTS {
            let nr = self.swap.alloc_batch(order, cpu, &mut entries)?;
            entries.truncate(nr);
        } else {
            let nr = py.detach(|| self.alloc_interruptible(order, cpu, &mut entries))?;
            entries.truncate(nr);
        }
        Ok(SwapBatch::new(entries, order))
    }

    /// Takes one reference from each of ``nr`` slots (default: the entry's whole run) and frees those at zero.
    #[pyo3(signature = (entry, nr = None, *, cpu = None))]
    fn free(
        &self,
        entry: EntryArg<'_>,
        #[pyo3(from_py_with = number::nr_slots_or_none)] nr: Option<u32>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        Ok(self.on_cpu(cpu)?.put(entry.entry(), entry.nr_pages(nr))?)
    }

    /// The same as `free`, under the kernel's word for it.
    #[pyo3(signature = (entry, nr = None, *, cpu = None))]
    fn put(
        &self,
        entry: EntryArg<'_>,
        #[pyo3(from_py_with = number::nr_slots_or_none)] nr: Option<u32>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        self.free(entry, nr, cpu)
    }

    /// Frees every run of a batch, or of any C-contiguous uint64 buffer of entries (``order`` is for buffers).
    #[pyo3(signature = (batch, *, order = 0, cpu = None))]
    fn free_batch(
        &self,
        py: Python<'_>,
        batch: EntriesArg<'_>,
        #[pyo3(from_py_with = number::order)] order: u64,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        self.on_batch(py, &batch, order, cpu, swapcore::Swap::put_batch)
    }

    /// The same as `free_batch`, under the kernel's word for it.
    #[pyo3(signature = (batch, *, order = 0, cpu = None))]
    fn put_batch(
        &self,
        py: Python<'_>,
        batch: EntriesArg<'_>,
        #[pyo3(from_py_with = number::order)] order: u64,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        self.free_batch(py, batch, order, cpu)
    }

    /// Adds one reference to each of ``nr`` slots (default: the entry's whole run).
    #[pyo3(signature = (entry, nr = None, *, cpu = None))]
    fn dup(
        &self,
        entry: EntryArg<'_>,
        #[pyo3(from_py_with = number::nr_slots_or_none)] nr: Option<u32>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        Ok(self.on_cpu(cpu)?.dup(entry.entry(), entry.nr_pages(nr))?)
    }

    /// Adds one reference to every slot of every run.
    #[pyo3(signature = (batch, *, order = 0, cpu = None))]
    fn dup_batch(
        &self,
        py: Python<'_>,
        batch: EntriesArg<'_>,
        #[pyo3(from_py_with = number::order)] order: u64,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        self.on_batch(py, &batch, order, cpu, swapcore::Swap::dup_batch)
    }

    /// Returns ``kind`` (``null``, ``shadow``, ``folio``, ``bad``, ``pointer``), ``count``, ``zero``, ``word`` and
    /// ``pfn`` (None unless cached) of one slot, a snapshot; of a ``pointer`` also ``owner`` and ``cache_only``, of a slot of a
    /// virtual device also ``backing``.
    fn lookup<'py>(&self, py: Python<'py>, entry: EntryArg<'_>) -> Result<Bound<'py, PyDict>> {
        self.look_at(py, &entry)
    }

    /// Returns the raw 64-bit table words of many entries (uint64, native order, for ``np.frombuffer``).
    fn lookup_many<'py>(&self, py: Python<'py>, entries: EntriesArg<'_>) -> Result<Bound<'py, PyBytes>> {
        let entries = entries.entries();
        let look = || {
            let mut on_cpu = self.on_cpu(None)?;
            let words = entries.iter().map(|&entry| Ok(on_cpu.lookup(entry)?.raw()));
            words.collect::<Result<Vec<u64>>>()
        };
        let words = if entries.len() >= DETACH_SLOTS { py.detach(look)? } else { look()? };
        convert::words(py, &words)
    }

    /// Returns the reference count of one slot, extend table included.
    fn swap_count(&self, entry: EntryArg<'_>) -> Result<u32> {
        Ok(self.on_cpu(None)?.swap_count(entry.entry())?)
    }

    /// Says where the page of a slot is, and of how many from it on, at most ``nr`` in its cluster, it is there too.
    #[pyo3(signature = (entry, nr = 1))]
    fn backing<'py>(
        &self,
        py: Python<'py>,
        entry: EntryArg<'_>,
        #[pyo3(from_py_with = number::nr_slots)] nr: u32,
    ) -> Result<Bound<'py, PyDict>> {
        self.backing_of(py, &entry, nr)
    }

    /// Gives the virtual slots of a cached folio a run of slots of another device, which is returned.
    #[pyo3(signature = (folio, *, cpu = None))]
    fn folio_realloc_swap(
        &self,
        py: Python<'_>,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<SwpEntry> {
        self.realloc(py, folio, self.cpu(cpu)?)
    }

    /// Moves the page behind a virtual slot, with those of its folio, to another device; returns what became of it.
    #[pyo3(signature = (entry, device, *, cpu = None))]
    fn move_backing(
        &self,
        py: Python<'_>,
        entry: EntryArg<'_>,
        device: &Bound<'_, SwapDevice>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<&'static str> {
        self.move_to(py, &entry, device.get(), self.cpu(cpu)?)
    }

    /// Makes a folio with ``data`` and zeros behind it, charged to ``memcg`` (None: root): dirty, up to date, unlocked, not
    /// mapped, not cached.
    #[pyo3(signature = (order = 0, data = None, *, memcg = None, cpu = None))]
    fn folio(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::order)] order: u64,
        data: Option<&Bound<'_, PyAny>>,
        memcg: Option<&Bound<'_, MemCgroup>>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<Folio> {
        let css = MemCgroup::css_of(memcg, &self.swap)?;
        self.make_folio(py, convert::order(order)?, data, css, self.cpu(cpu)?)
    }

    /// Pages that folios may have together.
    #[getter]
    fn memory_pages(&self) -> u64 {
        self.swap.memory_of_folios().nr_pages()
    }

    /// Pages that folios have now.
    #[getter]
    fn nr_used_pages(&self) -> u64 {
        self.swap.memory_of_folios().nr_used_pages()
    }

    /// log2 of the largest readahead window in pages, 0..=31; settable. Kernel: ``vm.page-cluster``.
    #[getter]
    fn page_cluster(&self) -> u32 {
        self.swap.readahead().page_cluster()
    }

    #[setter]
    fn set_page_cluster(&self, #[pyo3(from_py_with = number::page_cluster)] page_cluster: u32) -> Result<()> {
        Ok(self.swap.readahead().set_page_cluster(page_cluster)?)
    }

    /// Swaps a folio out: slots, unmap, zero check, write, and its memory is free.
    #[pyo3(signature = (folio, *, cpu = None))]
    fn swap_out(
        &self,
        py: Python<'_>,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<SwpEntry> {
        self.swap_out_one(py, folio, self.cpu(cpu)?)
    }

    /// Swaps in what one reference to each of ``nr`` slots (default: the entry's run) stands for and maps it.
    #[pyo3(signature = (entry, nr = None, *, orders = None, cpu = None, memcg = None))]
    fn swap_in(
        &self,
        py: Python<'_>,
        entry: EntryArg<'_>,
        #[pyo3(from_py_with = number::nr_slots_or_none)] nr: Option<u32>,
        #[pyo3(from_py_with = number::orders_or_none)] orders: Option<u16>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
        memcg: Option<&Bound<'_, MemCgroup>>,
    ) -> Result<Folio> {
        self.swap_in_one(py, entry, nr, How { orders, cpu, memcg })
    }

    /// Swaps many folios out in one detached call.
    #[pyo3(signature = (folios, *, cpu = None))]
    fn swap_out_batch(
        &self,
        py: Python<'_>,
        folios: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<Vec<SwpEntry>> {
        self.swap_out_many(py, folios, self.cpu(cpu)?)
    }

    /// Swaps every run of every entry in, in order, as few folios as work out.
    #[pyo3(signature = (entries, *, order = 0, orders = None, cpu = None, memcg = None))]
    fn swap_in_batch(
        &self,
        py: Python<'_>,
        entries: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = number::order)] order: u64,
        #[pyo3(from_py_with = number::orders_or_none)] orders: Option<u16>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
        memcg: Option<&Bound<'_, MemCgroup>>,
    ) -> Result<Vec<Folio>> {
        self.swap_in_many(py, entries, order, How { orders, cpu, memcg })
    }

    /// Splits a folio into folios of a smaller order, mapped and cached as it was; the handle is empty then.
    #[pyo3(signature = (folio, order = 0, *, cpu = None))]
    fn folio_split(
        &self,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::order)] order: u64,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<Vec<Folio>> {
        let (order, cpu) = (convert::order(order)?, self.cpu(cpu)?);
        Ok(self.own_folio(folio)?.folio.split(order, cpu)?.into_iter().map(Folio::new).collect())
    }

    /// Moves a folio's content to other memory; the handle is empty then.
    #[pyo3(signature = (folio, *, cpu = None))]
    fn folio_migrate(
        &self,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<Folio> {
        let cpu = self.cpu(cpu)?;
        Ok(Folio::new(self.own_folio(folio)?.folio.migrate(cpu)?))
    }

    /// Drops folios that only the swap cache holds, until ``nr_pages`` pages are free or all were looked at.
    #[pyo3(signature = (nr_pages = None, *, cpu = None))]
    fn shrink_swap_cache(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::nr_pages_or_none)] nr_pages: Option<u64>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<u64> {
        let cpu = self.cpu(cpu)?;
        Ok(py.detach(|| self.swap.shrink_swap_cache(nr_pages.unwrap_or(u64::MAX), cpu))?)
    }

    /// Reads the aligned block of slots around one into the swap cache and returns its folio, unmapped.
    #[pyo3(signature = (entry, *, cpu = None))]
    fn swap_cluster_readahead(
        &self,
        py: Python<'_>,
        entry: EntryArg<'_>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<Option<Folio>> {
        self.read_around(py, entry, cpu)
    }

    /// Returns the zero mark of a slot and how many slots from it on, at most ``nr_max`` within its cluster, share it.
    fn zero_batch(
        &self,
        entry: EntryArg<'_>,
        #[pyo3(from_py_with = number::nr_slots)] nr_max: u32,
    ) -> Result<(bool, u32)> {
        Ok(self.on_cpu(None)?.zero_batch(entry.entry(), nr_max)?)
    }

    /// Gives a folio its slots, charges them and dirties it: entries hold the folio, count 0.
    #[pyo3(signature = (folio, *, cpu = None))]
    fn folio_alloc_swap(
        &self,
        py: Python<'_>,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<SwpEntry> {
        self.give_slots(py, folio, self.cpu(cpu)?)
    }

    /// Adds one reference to all slots of a cached folio, or to that of one page.
    #[pyo3(signature = (folio, page = None))]
    fn folio_dup_swap(
        &self,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::page_or_none)] page: Option<u32>,
    ) -> Result<()> {
        let mut on_cpu = self.on_cpu(None)?;
        Ok(folio.get().folio.with(|folio| on_cpu.folio_dup_swap(folio.folio(), page))?)
    }

    /// Takes one reference from all slots of a cached folio, or from one; never frees.
    #[pyo3(signature = (folio, page = None))]
    fn folio_put_swap(
        &self,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::page_or_none)] page: Option<u32>,
    ) -> Result<()> {
        let mut on_cpu = self.on_cpu(None)?;
        Ok(folio.get().folio.with(|folio| on_cpu.folio_put_swap(folio.folio(), page))?)
    }

    /// Puts an uncached folio over swapped-out slots (swap-in).
    fn swap_cache_add_folio(&self, folio: &Bound<'_, Folio>, entry: EntryArg<'_>) -> Result<()> {
        let mut on_cpu = self.on_cpu(None)?;
        Ok(folio.get().folio.with(|folio| on_cpu.swap_cache_add_folio(folio.folio(), entry.entry()))?)
    }

    /// Takes a folio out of the cache; slots without references are freed.
    #[pyo3(signature = (folio, *, cpu = None))]
    fn swap_cache_del_folio(
        &self,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        Ok(folio.get().folio.with(|folio| on_cpu.swap_cache_del_folio(folio.folio(), Shadow::default()))?)
    }

    /// Frees the slots of a cached folio unless a slot has references or it is under writeback; says if it did.
    #[pyo3(signature = (folio, *, cpu = None))]
    fn folio_free_swap(
        &self,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<bool> {
        let mut on_cpu = self.on_cpu(cpu)?;
        Ok(folio.get().folio.with(|folio| on_cpu.folio_free_swap(folio.folio()))?)
    }

    /// Returns the folio that caches a slot, or None.
    fn folio_at(&self, entry: EntryArg<'_>) -> Result<Option<Folio>> {
        let folio = self.on_cpu(None)?.swap_cache_get_folio(entry.entry())?;
        Ok(folio.map(|folio| FolioHandle::unmapped(&self.swap, folio)).transpose()?.map(Folio::new))
    }

    /// Hands out one slot of one device for a hibernation image (empty shadow, count 1).
    #[pyo3(signature = (device, *, cpu = None))]
    fn alloc_hibernation(
        &self,
        device: &Bound<'_, SwapDevice>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<SwpEntry> {
        let ty = self.own(device.get())?.ty();
        Ok(SwpEntry { entry: self.on_cpu(cpu)?.alloc_hibernation(ty)?, order: Order::ZERO })
    }

    /// Gives a hibernation slot back.
    #[pyo3(signature = (entry, *, cpu = None))]
    fn free_hibernation(
        &self,
        entry: EntryArg<'_>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        Ok(self.on_cpu(cpu)?.free_hibernation(entry.entry())?)
    }

    /// Makes an empty address space of a task in ``memcg`` (None: root).
    #[pyo3(signature = (memcg = None))]
    fn mm(&self, memcg: Option<&Bound<'_, MemCgroup>>) -> Result<Mm> {
        Mm::new(&self.swap, MemCgroup::css_of(memcg, &self.swap)?)
    }

    /// The root of the memory cgroups; EINVAL while memcg is disabled.
    #[getter]
    fn memcg(&self) -> Result<MemCgroup> {
        MemCgroup::root(&self.swap)
    }

    /// How readily anonymous pages are reclaimed, 0..=200; on v1 root's. Kernel: ``vm.swappiness``.
    #[getter]
    fn swappiness(&self) -> Result<u8> {
        Ok(self.swap.swappiness()?)
    }

    #[setter]
    fn set_swappiness(&self, #[pyo3(from_py_with = number::swappiness)] swappiness: u8) -> Result<()> {
        Ok(self.swap.set_swappiness(swappiness)?)
    }

    /// Hangs the hooks of an object in, in the place of those there are; None takes them away.
    fn set_memcg_policy(&self, policy: Option<&Bound<'_, PyAny>>) -> Result<()> {
        let hooks = policy.map(|policy| Hooks::new(&self.swap, policy)).transpose()?;
        self.swap.set_policy(hooks.map(|hooks| Arc::new(hooks) as Arc<dyn MemcgPolicy>));
        Ok(())
    }

    /// Returns the private id of who is charged for a slot, 0 for nobody; of a slot that a folio caches only where the owner
    /// store keeps it beside the entry.
    fn slot_owner(&self, entry: EntryArg<'_>) -> Result<u16> {
        Ok(self.swap.slot_owner_id(entry.entry())?.0)
    }

    /// Returns, for each slot of a group that is swapped out, the pages evicted or activated since it went (uint64, native
    /// order, for ``np.frombuffer``).
    fn swap_ages<'py>(&self, py: Python<'py>, group: &Bound<'_, MemCgroup>) -> Result<Bound<'py, PyBytes>> {
        let css = MemCgroup::css_of(Some(group), &self.swap)?;
        convert::words(py, &py.detach(|| self.swap.swap_ages(css))?)
    }

    /// Keeps the last ``capacity`` records of each CPU from now on, without those there were; 0 keeps none.
    fn record_events(&self, #[pyo3(from_py_with = number::nr_records)] capacity: usize) -> Result<()> {
        Ok(self.swap.record_events(capacity)?)
    }

    /// Takes the records of all CPUs, by time, as columns for ``np.frombuffer``: ``time_ns`` u8, ``entry`` u8 (0 for none),
    /// ``kind`` u1 (place in the list ``kinds``), ``order`` u1, ``cpu`` u2, ``errno`` i4; and ``nr_lost``.
    ///
    /// Kinds: ``swap_out`` written, ``swap_out_zero`` marked as zeros, ``swap_out_fallback`` no run for a large folio,
    /// ``write_error``, ``swap_in`` read, ``swap_in_zero``, ``swap_in_fallback`` a large order given up, ``read_error``,
    /// ``readahead_hit`` a page read ahead was wanted, ``evict`` a folio left memory.
    fn take_events<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let (records, nr_lost) = py.detach(|| self.swap.take_events());
        events_dict(py, &records, nr_lost)
    }

    /// Runs queued reclaim_work and discard_work of all devices; returns the slots and clusters they released.
    fn run_workers(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.swap.run_workers())
    }

    /// Proves every invariant with all CPUs stopped; raises `InvariantError` naming the first broken one.
    fn check(&self, py: Python<'_>) -> Result<()> {
        Ok(py.detach(|| self.swap.check())?)
    }

    /// Returns counters under kernel names where the kernel has one (``thp_swpout_fallback``,
    /// ``hugepages-64kB.swpout_fallback``, ...).
    fn stats<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let stats = PyDict::new(py);
        self.swap.stats().iter().try_for_each(|(name, value)| stats.set_item(name, value))?;
        Ok(stats)
    }

    /// Returns exact byte counts of the whole subsystem: `SwapDevice.memory` summed, plus ``percpu_bytes`` and
    /// ``folio_header_bytes``, ``memcg_bytes``, ``zswap_entry_bytes`` and ``zswap_map_bytes``.
    fn memory<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        all_memory_dict(py, &self.swap)
    }

    /// Returns the state that decides placement.
    fn dump<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let dump = PyDict::new(py);
        let devices: Result<Vec<_>> = self.swap.dump_devices().iter().map(|device| device_dict(py, device)).collect();
        dump.set_item("devices", devices?)?;
        let hints: Result<Vec<_>> = self.swap.dump_hints().iter().map(|hints| hints_dict(py, hints)).collect();
        dump.set_item("hints", hints?)?;
        dump.set_item("avail", self.swap.dump_avail().iter().map(|ty| ty.0 as u32).collect::<Vec<_>>())?;
        Ok(dump)
    }

    fn __repr__(&self) -> String {
        let (free, total) = (self.swap.nr_swap_pages(), self.swap.total_swap_pages());
        format!("<Swap {}: {} devices, {free} of {total} pages free>", self.profile(), self.swap.devices().len())
    }
}
