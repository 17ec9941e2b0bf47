//! One swap device: its size, flags and clusters. Turning it on and off is in `swapon` and `swapoff`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use crate::base::error::{Result, SwapError};
use crate::base::limits::{SWAP_NR_ORDERS, SWAPFILE_CLUSTER};
use crate::base::sync::SpinMutex;
use crate::base::types::{ClusterIdx, SwpEntry, SwpOffset, SwpType};
use crate::cluster::{ClusterGuard, Clusters, ListId};
use crate::machine::profile::{GhostCluster0, Switches};
use crate::storage::spec::{DeviceSpec, Discard, GhostSpec, Visibility};
use crate::storage::{Claim, StorageTraits, SwapStorage};
use crate::table::{EntryKind, OwnerForm};

bitflags::bitflags! {
    /// State and kind of a device. Kernel: the `SWP_*` flags, same values.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SwpFlags: u32 {
        /// The device structure is taken.
        const USED = 1 << 0;
        /// Slots may be handed out.
        const WRITEOK = 1 << 1;
        /// Some form of discard was asked for and is possible.
        const DISCARDABLE = 1 << 2;
        /// Not rotational: hints are per CPU.
        const SOLIDSTATE = 1 << 4;
        /// A whole block device: large orders are allowed.
        const BLKDEV = 1 << 6;
        /// Discard everything at swapon.
        const AREA_DISCARD = 1 << 9;
        /// Discard each cluster that empties.
        const PAGE_DISCARD = 1 << 10;
        /// Pages must not change while they are written.
        const STABLE_WRITES = 1 << 11;
        /// As fast as memory: no readahead, and a swapped-in page gives its slot up.
        const SYNCHRONOUS_IO = 1 << 12;
        /// No storage, and clusters that come and go.
        const GHOST = 1 << 13;
        /// A ghost whose slots say where their pages are. Ours.
        const VIRTUAL = 1 << 14;
    }
}

fn flags_of(spec: &DeviceSpec, traits: StorageTraits) -> SwpFlags {
    let mut flags = SwpFlags::USED;
    flags.set(SwpFlags::STABLE_WRITES, traits.contains(StorageTraits::STABLE_WRITES));
    flags.set(SwpFlags::SYNCHRONOUS_IO, traits.contains(StorageTraits::SYNCHRONOUS_IO));
    flags.set(SwpFlags::SOLIDSTATE, !spec.is_rotational);
    flags.set(SwpFlags::BLKDEV, spec.is_block_device);
    flags.set(SwpFlags::GHOST, spec.ghost.is_some());
    flags.set(SwpFlags::VIRTUAL, spec.ghost.is_some_and(|ghost| ghost.has_virtual_table));
    if spec.can_discard && spec.discard != Discard::None {
        flags |= SwpFlags::DISCARDABLE;
        flags.set(SwpFlags::AREA_DISCARD, matches!(spec.discard, Discard::Once | Discard::Both));
        flags.set(SwpFlags::PAGE_DISCARD, matches!(spec.discard, Discard::Pages | Discard::Both));
    }
    flags
}

/// Marks the slots of a cluster that lie beyond the end of its device.
fn mark_tail(ci: &mut ClusterGuard<'_>, max_pages: u32) {
    let nr_slots = (max_pages - ci.idx().base().0).min(SWAPFILE_CLUSTER);
    for slot in nr_slots..SWAPFILE_CLUSTER {
        ci.mark_bad(slot as usize);
    }
}

/// Bytes that a device holds, exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceMemory {
    /// There from swapon on: the device and its cluster array.
    pub static_bytes: u64,
    /// Tables of clusters in use.
    pub table_bytes: u64,
    /// Second words of clusters in use, on a virtual device.
    pub virtual_table_bytes: u64,
    /// Extend tables.
    pub extend_bytes: u64,
    /// Released tables kept for reuse.
    pub pool_bytes: u64,
    /// Owners of slots, where entries do not say: of every slot from swapon on, which `static_bytes` has too.
    pub owner_static_bytes: u64,
    /// Owners of slots of clusters in use.
    pub owner_bytes: u64,
    /// Index and cluster records of a dynamic device: the pages that they ever touched.
    pub index_bytes: u64,
}

impl DeviceMemory {
    /// Returns the sum.
    pub fn total_bytes(&self) -> u64 {
        let tables = self.table_bytes + self.virtual_table_bytes + self.extend_bytes + self.pool_bytes;
        self.static_bytes + tables + self.owner_bytes + self.index_bytes
    }
}

/// A device that is on. Kernel: `struct swap_info_struct`; differs: usage is counted per CPU in `Swap`, and "full" is a
/// count of full clusters, so that a slot costs no shared atomic.
#[derive(Debug)]
pub struct SwapDevice {
    ty: SwpType,
    /// Of a ghost it changes, while every CPU is stopped.
    max_pages: AtomicU32,
    /// Slots that are neither the header nor bad pages.
    pages: AtomicU32,
    ghost: Option<GhostSpec>,
    flags: AtomicU32,
    prio: AtomicI32,
    pub(crate) clusters: Clusters,
    storage: Arc<dyn SwapStorage>,
    /// Until the device is off. Kernel: the opened block device.
    claim: SpinMutex<Option<Claim>>,
    /// The storage wants to hear of every slot that is freed.
    pub(crate) wants_free_notify: bool,
    /// A rotational device's next slot by order, 0 for none. Kernel: `global_cluster` under its lock.
    pub(crate) next: SpinMutex<[u32; SWAP_NR_ORDERS]>,
    /// Kernel: `reclaim_work`, queued.
    pub(crate) is_reclaim_queued: AtomicBool,
    /// Slots of hibernation images: they pin the device.
    pub(crate) hibernation: HibernationSlots,
}

/// The slots of one device that hold a hibernation image. Their entries look like any other's, so they are kept by
/// number; there are none but around a suspend.
#[derive(Debug, Default)]
pub(crate) struct HibernationSlots {
    slots: SpinMutex<BTreeSet<u32>>,
    /// How many: what every free looks at.
    nr: AtomicU32,
}

impl HibernationSlots {
    pub(crate) fn add(&self, offset: SwpOffset) {
        let mut slots = self.slots.lock();
        slots.insert(offset.0);
        // Relaxed: a slot in the set is freed by who got it from this CPU, after this.
        self.nr.store(slots.len() as u32, Ordering::Relaxed);
    }

    /// Says whether a slot is one.
    pub(crate) fn has(&self, offset: SwpOffset) -> bool {
        self.pins() && self.slots.lock().contains(&offset.0)
    }

    /// Says whether there are any.
    #[inline]
    pub(crate) fn pins(&self) -> bool {
        self.nr.load(Ordering::Relaxed) > 0
    }

    /// Forgets those of a range that is being freed.
    #[cold]
    pub(crate) fn forget(&self, first: SwpOffset, nr_pages: u32) {
        let mut slots = self.slots.lock();
        (first.0..first.0 + nr_pages).for_each(|offset| {
            slots.remove(&offset);
        });
        self.nr.store(slots.len() as u32, Ordering::Relaxed);
    }
}

/// What a subsystem decides for all of its devices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceRules<'s> {
    pub(crate) switches: &'s Switches,
    /// Where the owners of slots are kept.
    pub(crate) owners: OwnerForm,
}

impl SwapDevice {
    /// Sets a device up, off the lists. Errors: EINVAL kinds of a bad spec; `NoMemory` (ENOMEM).
    pub(crate) fn new(
        ty: SwpType,
        spec: &DeviceSpec,
        storage: Arc<dyn SwapStorage>,
        prio: i32,
        rules: DeviceRules<'_>,
    ) -> Result<Self> {
        let DeviceRules { switches, owners } = rules;
        spec.check()?;
        let claim = Claim::new(&storage)?;
        let nr_clusters = spec.max_pages.div_ceil(SWAPFILE_CLUSTER);
        let clusters = match spec.ghost {
            None => Clusters::new(nr_clusters, switches.free_order, owners)?,
            Some(ghost) => Clusters::dynamic(nr_clusters, owners, ghost.has_virtual_table)?,
        };
        // The first cluster is there from the start, and has the header for ever.
        drop(clusters.is_dynamic().then(|| clusters.create()));
        let mut with_bad = BTreeSet::new();
        let mut mark = |offset: u32| {
            let offset = SwpOffset(offset);
            with_bad.insert(offset.cluster());
            clusters.lock_used(offset.cluster()).mark_bad(offset.in_cluster())
        };
        mark(0);
        for &page in &spec.bad_pages {
            if !mark(page) {
                return Err(SwapError::BadPageTwice(page));
            }
        }
        // On a dynamic device the last cluster is made later, unless it is the first one.
        let last = SwpOffset(spec.max_pages - 1).cluster();
        if let Some(mut ci) = clusters.lock(last).filter(|_| !spec.max_pages.is_multiple_of(SWAPFILE_CLUSTER)) {
            mark_tail(&mut ci, spec.max_pages);
            with_bad.insert(last);
        }
        let pages = spec.max_pages - 1 - spec.bad_pages.len() as u32;
        if pages == 0 {
            return Err(SwapError::NoGoodPages(spec.max_pages));
        }
        if spec.ghost.is_none() || switches.ghost_cluster0 == GhostCluster0::Listed {
            with_bad.into_iter().for_each(|idx| clusters.list_bad(idx));
        }
        Ok(Self {
            ty,
            max_pages: AtomicU32::new(spec.max_pages),
            pages: AtomicU32::new(pages),
            ghost: spec.ghost,
            flags: AtomicU32::new(flags_of(spec, storage.traits()).bits()),
            prio: AtomicI32::new(prio),
            clusters,
            wants_free_notify: storage.traits().contains(StorageTraits::FREE_NOTIFY),
            storage,
            claim: SpinMutex::new(Some(claim)),
            next: SpinMutex::new([0; SWAP_NR_ORDERS]),
            is_reclaim_queued: AtomicBool::new(false),
            hibernation: HibernationSlots::default(),
        })
    }

    /// Returns the device number.
    pub fn ty(&self) -> SwpType {
        self.ty
    }

    /// Returns the size in slots, header included; of a ghost as it is now.
    #[inline]
    pub fn max_pages(&self) -> u32 {
        // Relaxed: changes only while every CPU is stopped, whose lock orders.
        self.max_pages.load(Ordering::Relaxed)
    }

    /// Changes the size of a ghost. Every CPU is stopped.
    pub(crate) fn set_max_pages(&self, max_pages: u32) {
        self.clusters.set_len(max_pages.div_ceil(SWAPFILE_CLUSTER));
        self.max_pages.store(max_pages, Ordering::Relaxed);
        self.pages.store(max_pages - 1, Ordering::Relaxed);
    }

    /// Returns the slot from which on none is handed out: the size, or less while the device shrinks.
    pub fn limit_pages(&self) -> u32 {
        self.max_pages().min(self.clusters.nr_open().saturating_mul(SWAPFILE_CLUSTER))
    }

    /// Returns how many clusters exist; of a device with storage all of them do.
    pub fn nr_live_clusters(&self) -> u32 {
        self.clusters.nr_live()
    }

    /// Says whether the device has no storage. Kernel: `SWP_GHOST`.
    #[inline]
    pub fn is_ghost(&self) -> bool {
        self.ghost.is_some()
    }

    /// Says whether its slots say where their pages are.
    #[inline]
    pub fn is_virtual(&self) -> bool {
        self.has(SwpFlags::VIRTUAL)
    }

    /// Returns who counts a ghost's slots, `None` of a device with storage.
    pub fn visibility(&self) -> Option<Visibility> {
        self.ghost.map(|ghost| ghost.visibility)
    }

    /// Says whether the slots count as swap space.
    pub(crate) fn is_counted(&self) -> bool {
        self.visibility().is_none_or(|visibility| visibility == Visibility::Visible)
    }

    /// Makes a cluster of a dynamic device, locked; see [`Clusters::create`].
    pub(crate) fn new_cluster(&self) -> Option<ClusterGuard<'_>> {
        let mut ci = self.clusters.create()?;
        mark_tail(&mut ci, self.max_pages());
        Some(ci)
    }

    /// Makes a cluster of a ghost and destroys it, what the search and the last free do to one, and says whether there was
    /// room: for measurements.
    pub fn probe_cluster(&self) -> bool {
        let ci = if self.clusters.is_dynamic() { self.clusters.create() } else { None };
        ci.map(|mut ci| ci.destroy()).is_some()
    }

    /// Lets at most `nr` clusters of a ghost exist from now on: memory that runs out, for tests.
    pub fn limit_clusters(&self, nr: u32) {
        self.clusters.set_max_live(nr);
    }

    /// Lets the storage be another device's from now on.
    pub(crate) fn release_claim(&self) {
        let claim = self.claim.lock().take();
        drop(claim);
    }

    /// Returns where its pages go.
    pub fn storage(&self) -> &Arc<dyn SwapStorage> {
        &self.storage
    }

    /// Returns the usable slots.
    pub fn pages(&self) -> u32 {
        // Relaxed: as in `max_pages`.
        self.pages.load(Ordering::Relaxed)
    }

    /// Returns the slots marked bad: header, bad pages and the tail of the last cluster, on a dynamic device if it exists.
    pub fn nr_bad(&self) -> u32 {
        let (max_pages, pages) = (self.max_pages(), self.pages());
        let nr_tail = max_pages.wrapping_neg() % SWAPFILE_CLUSTER;
        let has_tail = nr_tail > 0 && self.get(SwpOffset(max_pages)).kind() == EntryKind::Bad;
        max_pages - pages + if has_tail { nr_tail } else { 0 }
    }

    /// Returns the flags, a snapshot.
    #[inline]
    pub fn flags(&self) -> SwpFlags {
        // Relaxed: WRITEOK is the only flag that changes; swapoff passes every CPU's lock after clearing it, which orders.
        SwpFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Says whether a flag is set.
    #[inline]
    pub fn has(&self, flag: SwpFlags) -> bool {
        self.flags().contains(flag)
    }

    pub(crate) fn set_writeok(&self, is_on: bool) {
        // Relaxed: see `flags`.
        if is_on {
            self.flags.fetch_or(SwpFlags::WRITEOK.bits(), Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!SwpFlags::WRITEOK.bits(), Ordering::Relaxed);
        }
    }

    /// Returns the word for the kind of the device: `partition`, `file` or `ghost`. Kernel: the type in `/proc/swaps`.
    pub fn kind(&self) -> &'static str {
        match self.has(SwpFlags::BLKDEV) {
            _ if self.is_ghost() => "ghost",
            true => "partition",
            false => "file",
        }
    }

    /// Returns the kernel's names of the flags that are set.
    pub fn flag_names(&self) -> Vec<String> {
        self.flags().iter_names().map(|(name, _)| format!("SWP_{name}")).collect()
    }

    /// Returns the priority.
    pub fn prio(&self) -> i32 {
        // Relaxed: changes only under the device lock of `Swap`; readers elsewhere display it.
        self.prio.load(Ordering::Relaxed)
    }

    pub(crate) fn raise_prio(&self) {
        self.prio.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the entry of one of this device's slots.
    pub fn entry_at(&self, offset: SwpOffset) -> SwpEntry {
        SwpEntry::new(self.ty, offset)
    }

    /// Reads one table entry without a lock; a snapshot, NULL when the cluster has no table.
    #[inline]
    pub fn get(&self, offset: SwpOffset) -> crate::table::SwapTableEntry {
        self.clusters.entry(offset)
    }

    /// Returns the slots that hold something, ascending, without locks: clusters never used, or not there, are passed over.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = SwpOffset> {
        let slots = |idx: ClusterIdx| (idx.base().0..=idx.base().0 + (SWAPFILE_CLUSTER - 1)).map(SwpOffset);
        let slots = self.clusters.live().flat_map(slots);
        slots.filter(|&offset| !matches!(self.get(offset).kind(), EntryKind::Null | EntryKind::Bad))
    }

    /// Says whether a range lies in 1..max_pages.
    #[inline]
    pub(crate) fn has_range(&self, offset: SwpOffset, nr_pages: u32) -> bool {
        offset.0 != 0 && nr_pages != 0 && offset.0 as u64 + nr_pages as u64 <= self.max_pages() as u64
    }

    /// Returns exact byte counts.
    pub fn memory(&self) -> DeviceMemory {
        let (attached, hot) = self.clusters.nr_tables();
        let page = crate::base::limits::PAGE_SIZE as u64;
        let second = if self.is_virtual() { page } else { 0 };
        let (owner_static_bytes, owner_bytes) = self.clusters.owner_bytes();
        DeviceMemory {
            static_bytes: size_of::<Self>() as u64 + self.clusters.static_bytes() + owner_static_bytes,
            table_bytes: attached as u64 * page,
            virtual_table_bytes: attached as u64 * second,
            extend_bytes: self.clusters.extend_bytes(),
            pool_bytes: hot as u64 * (page + second),
            owner_static_bytes,
            owner_bytes,
            index_bytes: self.clusters.index_bytes(),
        }
    }

    /// Says whether clusters wait for a discard.
    pub(crate) fn has_discards(&self) -> bool {
        self.has(SwpFlags::PAGE_DISCARD) && self.clusters.has(ListId::Discard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(spec: &DeviceSpec) -> Result<SwapDevice> {
        let switches = crate::machine::profile::Profile::Newest.switches();
        let rules = DeviceRules { switches: &switches, owners: OwnerForm::Entry };
        SwapDevice::new(SwpType(0), spec, Arc::new(crate::storage::Null::new(spec.clone())), 0, rules)
    }

    #[test]
    fn sizes_count_header_bad_pages_and_tail() {
        let spec = DeviceSpec { bad_pages: vec![600, 1500], ..DeviceSpec::new(4000) };
        let device = make(&spec).expect("a good spec");
        assert_eq!((device.pages(), device.nr_bad()), (3997, 1 + 2 + 96));
        let nonfull = device.clusters.list(ListId::Nonfull(crate::base::types::Order::ZERO));
        assert_eq!(nonfull, [ClusterIdx(0), ClusterIdx(1), ClusterIdx(2), ClusterIdx(7)]);
    }

    #[test]
    fn bad_specs_name_the_value() {
        let bad = |bad_pages: Vec<u32>| make(&DeviceSpec { bad_pages, ..DeviceSpec::new(100) }).map(|_| ());
        assert_eq!(bad(vec![100]), Err(SwapError::BadPageOutOfRange { page: 100, last_page: 99 }));
        assert_eq!(bad(vec![0]), Err(SwapError::BadPageOutOfRange { page: 0, last_page: 99 }));
        assert_eq!(bad(vec![5, 6, 5]), Err(SwapError::BadPageTwice(5)));
        assert_eq!(bad((1..100).collect()), Err(SwapError::NoGoodPages(100)));
        assert_eq!(make(&DeviceSpec::new(1)).map(|_| ()), Err(SwapError::DeviceTooSmall(1)));
        let file = DeviceSpec { is_block_device: false, bad_pages: vec![5], ..DeviceSpec::new(100) };
        assert_eq!(make(&file).map(|_| ()), Err(SwapError::BadPagesOnFile(1)));
    }

    #[test]
    fn a_terabyte_costs_at_most_32_mib() {
        let device = make(&DeviceSpec::new(1 << 28)).expect("lazy memory");
        assert!(device.memory().static_bytes <= 32 << 20, "{:?}", device.memory());
    }
}
