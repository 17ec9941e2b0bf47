//! One swap device: its size, flags and clusters. `lifecycle` turns devices on and off.

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
        /// The device structure is in use. Every device has this flag.
        const USED = 1 << 0;
        /// Allocation may hand slots out.
        const WRITEOK = 1 << 1;
        /// The device was turned on with a form of discard, and its storage can discard.
        const DISCARDABLE = 1 << 2;
        /// The device is not rotational, so each CPU has its own hint: the slot at which its next search starts.
        const SOLIDSTATE = 1 << 4;
        /// The device is a whole block device, so large orders are allowed.
        const BLKDEV = 1 << 6;
        /// The whole device is discarded at swapon.
        const AREA_DISCARD = 1 << 9;
        /// Each cluster is discarded when it empties.
        const PAGE_DISCARD = 1 << 10;
        /// A page must not change while the page is written. The core only shows the flag: see
        /// [`StorageTraits::STABLE_WRITES`].
        const STABLE_WRITES = 1 << 11;
        /// The storage is as fast as memory, so there is no readahead, and the slot of a page that was swapped in is
        /// freed.
        const SYNCHRONOUS_IO = 1 << 12;
        /// The device has no storage, and its clusters exist only while they are used.
        const GHOST = 1 << 13;
        /// The device is a ghost whose slots record where the data of their pages is. Kernel: none.
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

/// Marks as bad the slots of a cluster that lie beyond the end of its device.
fn mark_tail(ci: &mut ClusterGuard<'_>, max_pages: u32) {
    let nr_slots = (max_pages - ci.idx().base().0).min(SWAPFILE_CLUSTER);
    for slot in nr_slots..SWAPFILE_CLUSTER {
        ci.mark_bad(slot as usize);
    }
}

/// Number of bytes that a device takes, by purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceMemory {
    /// Bytes allocated at swapon: the device, its cluster array, and the owner array.
    pub static_bytes: u64,
    /// Bytes of the swap tables of clusters in use.
    pub table_bytes: u64,
    /// Bytes of the second word of each table entry, for clusters in use on a virtual device.
    pub virtual_table_bytes: u64,
    /// Bytes of the extend tables, which contain reference counts over 14.
    pub extend_bytes: u64,
    /// Bytes of released swap tables that the table pool of the device keeps for reuse.
    pub pool_bytes: u64,
    /// Bytes of the owner array of all slots, which is allocated at swapon when owners are stored in an array.
    /// `static_bytes` contains these bytes.
    pub owner_static_bytes: u64,
    /// Bytes of the owner ids of clusters in use, when owners are stored beside the table entries of a cluster.
    pub owner_bytes: u64,
    /// Bytes of the cluster index and of the cluster records of a dynamic device. Only the pages that were ever
    /// written count.
    pub index_bytes: u64,
}

impl DeviceMemory {
    /// Returns the number of bytes for all purposes together.
    pub fn total_bytes(&self) -> u64 {
        let tables = self.table_bytes + self.virtual_table_bytes + self.extend_bytes + self.pool_bytes;
        self.static_bytes + tables + self.owner_bytes + self.index_bytes
    }
}

/// A device that is on. Kernel: `struct swap_info_struct`; differs: `Swap` counts usage per CPU, and a count of full
/// clusters shows whether the device is full, so that the allocation of a slot touches no shared atomic.
#[derive(Debug)]
pub struct SwapDevice {
    ty: SwpType,
    /// Size in slots. The size of a ghost device can change, but only while the changing thread holds every CPU's
    /// local lock.
    max_pages: AtomicU32,
    /// Number of slots that are neither the header nor bad pages.
    pages: AtomicU32,
    ghost: Option<GhostSpec>,
    flags: AtomicU32,
    prio: AtomicI32,
    pub(crate) clusters: Clusters,
    storage: Arc<dyn SwapStorage>,
    /// Exclusive claim on the storage, held until the device is turned off. Kernel: the opened block device.
    claim: SpinMutex<Option<Claim>>,
    /// The storage wants a notice of every slot that is freed.
    pub(crate) wants_free_notify: bool,
    /// Next slot to try on a rotational device, for each order; 0 for none. Kernel: `global_cluster` under its lock.
    pub(crate) next: SpinMutex<[u32; SWAP_NR_ORDERS]>,
    /// The work that frees cached slots of full clusters is queued for this device. Kernel: `reclaim_work`.
    pub(crate) is_reclaim_queued: AtomicBool,
    /// Slots that contain hibernation images. A device with such slots cannot be turned off.
    pub(crate) hibernation: HibernationSlots,
}

/// The slots of one device that contain a hibernation image. The table entries of such slots look like the entries of
/// other slots, so a list of slot numbers is needed. The list is empty except around a suspend.
#[derive(Debug, Default)]
pub(crate) struct HibernationSlots {
    slots: SpinMutex<BTreeSet<u32>>,
    /// Number of listed slots. Every free of a slot reads this number.
    nr: AtomicU32,
}

impl HibernationSlots {
    pub(crate) fn add(&self, offset: SwpOffset) {
        let mut slots = self.slots.lock();
        slots.insert(offset.0);
        // Relaxed: a thread that frees a listed slot received the slot from this thread, after this store.
        self.nr.store(slots.len() as u32, Ordering::Relaxed);
    }

    /// Returns whether a slot contains a part of a hibernation image.
    pub(crate) fn has(&self, offset: SwpOffset) -> bool {
        self.pins() && self.slots.lock().contains(&offset.0)
    }

    /// Returns whether any slot of the device contains a part of a hibernation image.
    #[inline]
    pub(crate) fn pins(&self) -> bool {
        self.nr.load(Ordering::Relaxed) > 0
    }

    /// Removes the slots of a range from the list, because the slots are being freed.
    #[cold]
    pub(crate) fn forget(&self, first: SwpOffset, nr_pages: u32) {
        let mut slots = self.slots.lock();
        (first.0..first.0 + nr_pages).for_each(|offset| {
            slots.remove(&offset);
        });
        self.nr.store(slots.len() as u32, Ordering::Relaxed);
    }
}

/// The choices of a subsystem that apply to all of its devices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceRules<'s> {
    pub(crate) switches: &'s Switches,
    /// The place where owners of slots are stored.
    pub(crate) owners: OwnerForm,
}

impl SwapDevice {
    /// Builds a device that is in no device list yet. Errors: EINVAL when the spec is not valid; `StorageInUse`
    /// (EBUSY); `NoMemory` (ENOMEM).
    pub(crate) fn new(
        ty: SwpType,
        spec: &DeviceSpec,
        storage: Arc<dyn SwapStorage>,
        prio: i32,
        rules: DeviceRules<'_>,
    ) -> Result<Self> {
        let DeviceRules { switches, owners } = rules;
        spec.check()?;
        let claim = Claim::new(&*storage)?;
        let nr_clusters = spec.max_pages.div_ceil(SWAPFILE_CLUSTER);
        let clusters = match spec.ghost {
            None => Clusters::new(nr_clusters, switches.free_order, owners)?,
            Some(ghost) => Clusters::dynamic(nr_clusters, owners, ghost.has_virtual_table)?,
        };
        // The first cluster of a dynamic device exists from swapon to swapoff, because the first cluster contains the
        // header.
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
        // The last cluster of a dynamic device is created on its first use, unless the last cluster is also the first
        // cluster.
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

    /// Returns the size in slots, header included. For a ghost device, the size is a snapshot.
    #[inline]
    pub fn max_pages(&self) -> u32 {
        // Relaxed: the size changes only while the changing thread holds every CPU's local lock, and these locks
        // order the change.
        self.max_pages.load(Ordering::Relaxed)
    }

    /// Changes the size of a ghost device. The caller holds every CPU's local lock.
    pub(crate) fn set_max_pages(&self, max_pages: u32) {
        self.clusters.set_len(max_pages.div_ceil(SWAPFILE_CLUSTER));
        self.max_pages.store(max_pages, Ordering::Relaxed);
        self.pages.store(max_pages - 1, Ordering::Relaxed);
    }

    /// Returns the first slot number that the allocator does not hand out: the size, or a smaller number while the
    /// device is being made smaller.
    pub fn limit_pages(&self) -> u32 {
        self.max_pages().min(self.clusters.nr_open().saturating_mul(SWAPFILE_CLUSTER))
    }

    /// Returns the number of free slots from [`SwapDevice::limit_pages`] on, which the allocator does not hand out.
    /// The caller holds every CPU's local lock. Locks: the lock of each cluster from `limit_pages` on, in turn.
    pub(crate) fn closed_free_pages(&self) -> i64 {
        let (limit_pages, max_pages) = (self.limit_pages(), self.max_pages());
        if limit_pages == max_pages {
            return 0;
        }
        let used = |idx: ClusterIdx| {
            let nr_tail = (u64::from(idx.base().0) + u64::from(SWAPFILE_CLUSTER)).saturating_sub(max_pages.into());
            self.clusters.lock(idx).map_or(0, |ci| i64::from(ci.count()) - nr_tail as i64)
        };
        let nr_used: i64 = self.clusters.live_from(limit_pages / SWAPFILE_CLUSTER).map(used).sum();
        i64::from(max_pages - limit_pages) - nr_used
    }

    /// Returns the number of clusters that exist. On a device with storage all clusters exist.
    pub fn nr_live_clusters(&self) -> u32 {
        self.clusters.nr_live()
    }

    /// Returns whether the device has no storage. Kernel: `SWP_GHOST`.
    #[inline]
    pub fn is_ghost(&self) -> bool {
        self.ghost.is_some()
    }

    /// Returns whether the slots of the device record where the data of their pages is.
    #[inline]
    pub fn is_virtual(&self) -> bool {
        self.has(SwpFlags::VIRTUAL)
    }

    /// Returns the setting that decides which totals count the slots of a ghost device; `None` for a device with
    /// storage.
    pub fn visibility(&self) -> Option<Visibility> {
        self.ghost.map(|ghost| ghost.visibility)
    }

    /// Returns whether the slots of the device count as swap space.
    pub(crate) fn is_counted(&self) -> bool {
        self.visibility().is_none_or(|visibility| visibility == Visibility::Visible)
    }

    /// Creates a cluster of a dynamic device and returns the cluster locked; see [`Clusters::create`].
    pub(crate) fn new_cluster(&self) -> Option<ClusterGuard<'_>> {
        let mut ci = self.clusters.create()?;
        mark_tail(&mut ci, self.max_pages());
        Some(ci)
    }

    /// Creates and destroys one cluster of a ghost device, as a search for slots creates a cluster and the free of
    /// the last slot destroys the cluster. Returns whether a cluster could be created. The function is for
    /// measurements.
    pub fn probe_cluster(&self) -> bool {
        let ci = if self.clusters.is_dynamic() { self.clusters.create() } else { None };
        ci.map(|mut ci| ci.destroy()).is_some()
    }

    /// Limits a ghost device to `nr` clusters from now on. Tests use the limit to simulate exhausted memory.
    pub fn limit_clusters(&self, nr: u32) {
        self.clusters.set_max_live(nr);
    }

    /// Releases the claim on the storage, so that another device may use the storage.
    pub(crate) fn release_claim(&self) {
        let claim = self.claim.lock().take();
        drop(claim);
    }

    /// Returns the storage that contains the pages.
    pub fn storage(&self) -> &Arc<dyn SwapStorage> {
        &self.storage
    }

    /// Returns the number of usable slots.
    pub fn pages(&self) -> u32 {
        // Relaxed: as in `max_pages`.
        self.pages.load(Ordering::Relaxed)
    }

    /// Returns the number of slots marked bad: the header, the bad pages, and the slots of the last cluster beyond
    /// the end of the device. On a dynamic device the slots beyond the end count only while the last cluster exists.
    pub fn nr_bad(&self) -> u32 {
        let (max_pages, pages) = (self.max_pages(), self.pages());
        let nr_tail = max_pages.wrapping_neg() % SWAPFILE_CLUSTER;
        let has_tail = nr_tail > 0 && self.get(SwpOffset(max_pages)).kind() == EntryKind::Bad;
        max_pages - pages + if has_tail { nr_tail } else { 0 }
    }

    /// Returns a snapshot of the flags.
    #[inline]
    pub fn flags(&self) -> SwpFlags {
        // Relaxed: WRITEOK is the only flag that changes. After swapoff clears WRITEOK, swapoff takes every CPU's
        // lock once, and these locks order the change.
        SwpFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Returns whether a flag is set.
    #[inline]
    pub fn has(&self, flag: SwpFlags) -> bool {
        self.flags().contains(flag)
    }

    pub(crate) fn set_writeok(&self, is_on: bool) {
        // Relaxed: as in `flags`.
        if is_on {
            self.flags.fetch_or(SwpFlags::WRITEOK.bits(), Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!SwpFlags::WRITEOK.bits(), Ordering::Relaxed);
        }
    }

    /// Returns the word for the kind of the device: `partition`, `file` or `ghost`. Kernel: the type column of
    /// `/proc/swaps`.
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
        // Relaxed: the priority changes only under `swap_lock`, and readers without `swap_lock` only display the
        // priority.
        self.prio.load(Ordering::Relaxed)
    }

    pub(crate) fn raise_prio(&self) {
        self.prio.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the swap entry of a slot of this device.
    pub fn entry_at(&self, offset: SwpOffset) -> SwpEntry {
        SwpEntry::new(self.ty, offset)
    }

    /// Returns the table entry of a slot, read without a lock. The entry is a snapshot; the entry is NULL when the
    /// cluster has no table.
    #[inline]
    pub fn get(&self, offset: SwpOffset) -> crate::table::SwapTableEntry {
        self.clusters.entry(offset)
    }

    /// Returns the slots whose table entry is neither NULL nor bad, in ascending order, without locks. Clusters that
    /// were never used or do not exist are skipped.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = SwpOffset> {
        let slots = |idx: ClusterIdx| (idx.base().0..=idx.base().0 + (SWAPFILE_CLUSTER - 1)).map(SwpOffset);
        let slots = self.clusters.live().flat_map(slots);
        slots.filter(|&offset| !matches!(self.get(offset).kind(), EntryKind::Null | EntryKind::Bad))
    }

    /// Returns whether a range of slots lies in 1..`max_pages`.
    #[inline]
    pub(crate) fn has_range(&self, offset: SwpOffset, nr_pages: u32) -> bool {
        offset.0 != 0 && nr_pages != 0 && offset.0 as u64 + nr_pages as u64 <= self.max_pages() as u64
    }

    /// Returns the number of bytes that the device takes, by purpose.
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

    /// Returns whether any cluster waits for a discard.
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
