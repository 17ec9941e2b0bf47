//! Constants of the allocator and the assertions that tie them together.

/// Bytes in one page and so in one swap slot.
pub const PAGE_SIZE: usize = 4096;
/// Slots in a cluster. Kernel: `SWAPFILE_CLUSTER` with `THP_SWAP` on x86-64.
pub const SWAPFILE_CLUSTER: u32 = 512;
/// The largest order of a request; one run of this order fills a cluster.
pub const MAX_ORDER: u8 = 9;
/// Number of orders, 0..=[`MAX_ORDER`]. Kernel: `SWAP_NR_ORDERS`.
pub const SWAP_NR_ORDERS: usize = MAX_ORDER as usize + 1;
/// Bits of an entry that hold the slot offset; the type is in the bits above. Kernel: `SWP_TYPE_SHIFT`.
pub const SWP_TYPE_SHIFT: u32 = 58;
/// Number of swap devices that can be on at the same time, with every kernel option configured. Kernel:
/// `MAX_SWAPFILES`.
pub const MAX_SWAPFILES: usize = 24;
/// The largest device, in slots; `last_page + 1` is clamped to this number.
pub const MAX_DEVICE_PAGES: u32 = u32::MAX;
/// Number of clusters of the largest device. A dynamic device reserves address space for this number of clusters.
pub const MAX_DEVICE_CLUSTERS: u32 = MAX_DEVICE_PAGES.div_ceil(SWAPFILE_CLUSTER);
/// The largest explicit priority. Kernel: `SWAP_FLAG_PRIO_MASK`.
pub const MAX_PRIORITY: i16 = 32767;
/// Largest number of CPUs of a subsystem.
pub const MAX_CPUS: usize = 1024;

/// Bits of the swap count inside a table entry. Kernel: `SWP_TB_COUNT_BITS`.
pub const SWP_TB_COUNT_BITS: u32 = 4;
/// The inline count that means "the true count is in the extend table". Kernel: `SWP_TB_COUNT_MAX`.
pub const SWP_TB_COUNT_MAX: u8 = (1 << SWP_TB_COUNT_BITS) - 1;
/// Number of count bits plus one bit for the zero mark. Kernel: `SWP_TB_FLAGS_BITS`.
pub const SWP_TB_FLAGS_BITS: u32 = SWP_TB_COUNT_BITS + 1;
/// Bits of a page frame number in an entry (52-bit physical addresses, 4 KiB pages).
pub const PFN_BITS: u32 = 40;
/// NUMA node bits of a shadow.
pub const NODES_SHIFT: u32 = 6;
/// Private memcg id bits of a shadow. Kernel: `MEM_CGROUP_ID_SHIFT`.
pub const MEM_CGROUP_ID_SHIFT: u32 = 16;
/// Eviction age bits of a shadow: the bits that are left beside marker, workingset bit, node, memcg id and flags.
pub const EVICTION_BITS: u32 = 64 - SWP_TB_FLAGS_BITS - 1 - 1 - NODES_SHIFT - MEM_CGROUP_ID_SHIFT;

/// Number of released tables that keep their memory for reuse. The memory of further released tables returns to the
/// system.
pub const POOL_TABLES_HOT_MAX: usize = 64;
/// Freed pages that a zram device keeps for reuse: 4 MiB.
pub const ZRAM_SPARE_PAGES_MAX: usize = 1024;
/// Pages of memory of a subsystem when the configuration gives no number: 16 GiB of address space. The system
/// provides the memory page by page when folios are written.
pub const MEMORY_PAGES_DEFAULT: u64 = 1 << 22;
/// Largest number of event records that a CPU may keep: 640 MiB of records.
pub const EVENT_RECORDS_MAX: usize = 1 << 24;
/// Pages of memory that a charge takes from the counters at once; the pages beyond the charge go to the CPU's stock
/// for the next charges. Kernel: `MEMCG_CHARGE_BATCH`.
pub const MEMCG_CHARGE_BATCH: u64 = 64;
/// log2 of the largest charge, in pages, that is repeated as long as reclaim frees pages. Kernel:
/// `PAGE_ALLOC_COSTLY_ORDER`.
pub const PAGE_ALLOC_COSTLY_ORDER: u32 = 3;
/// Pages that reclaim scans in one batch. Kernel: `SWAP_CLUSTER_MAX`.
pub const SWAP_CLUSTER_MAX: u64 = 32;
/// First priority of reclaim. At a priority, reclaim scans the size of a list shifted right by the priority. Kernel:
/// `DEF_PRIORITY`.
pub const DEF_PRIORITY: u8 = 12;
/// Retries of a single-page allocation after reclaim, because other threads can take the memory that reclaim frees.
/// Also the retries of a charge, and of a write to a memory limit, after reclaim. A charge does not count the retry
/// after draining the stocks, nor a retry while reclaim makes room under the limit. Kernel: `MAX_RECLAIM_RETRIES`.
pub const MAX_RECLAIM_RETRIES: u32 = 16;
/// The largest swappiness that weighs anonymous against file pages. Kernel: `MAX_SWAPPINESS`.
pub const MAX_SWAPPINESS: u8 = 200;
/// The swappiness that means anonymous pages only. Kernel: `SWAPPINESS_ANON_ONLY`.
pub const SWAPPINESS_ANON_ONLY: u8 = 201;
/// Rounds that a thread spins on a taken lock before the thread yields its CPU.
pub const LOCK_SPINS: u32 = 64;
/// Passes of swapoff over a device before swapoff fails because slots stay in use.
pub const UNUSE_PASSES_MAX: u32 = 16;
/// Columns of the `columns` free list order. Kernel: `SWAP_CLUSTER_COLS` up to 6.17.
pub const SWAP_CLUSTER_COLS: u32 = 32;
/// Largest number of bad pages in a SWAPSPACE2 header. Kernel: `MAX_SWAP_BADPAGES`.
pub const MAX_SWAP_BADPAGES: usize = (PAGE_SIZE - 10 - 1536) / 4;

const _: () = assert!(1 << MAX_ORDER == SWAPFILE_CLUSTER, "the largest order fills one cluster exactly");
const _: () = assert!(SWAPFILE_CLUSTER <= u16::MAX as u32, "a cluster's count is 16 bits wide");
const _: () = assert!(MAX_SWAPFILES <= 1 << (63 - SWP_TYPE_SHIFT), "5 bits hold the type");
const _: () = assert!(PFN_BITS + 2 + SWP_TB_FLAGS_BITS <= 64, "a PFN entry fits its word");
const _: () = assert!(EVICTION_BITS == 41 - NODES_SHIFT, "anon eviction bits are 41 - NODES_SHIFT");
const _: () = assert!(MAX_SWAP_BADPAGES == 637, "the header page's room for bad pages");
const _: () = assert!(MAX_DEVICE_PAGES as u64 <= (1 << SWP_TYPE_SHIFT), "an offset fits an entry");
/// Slots of one tree of zswap entries, 64 MiB. Kernel: `ZSWAP_ADDRESS_SPACE_PAGES`.
pub const ZSWAP_TREE_PAGES: u64 = 1 << 14;
/// Maps of zswap entries, which all trees share.
pub(crate) const ZSWAP_MAP_SHARDS: usize = 64;
/// Largest number of pools at one time. Kernel: the pool number in an entry has 8 bits.
pub(crate) const ZSWAP_POOLS_MAX: usize = 255;
/// Largest number of entries that one scan of a group writes back. Kernel: `SWAP_CLUSTER_MAX` per node.
pub(crate) const ZSWAP_SHRINK_BATCH: u64 = 32;
/// Failures after which the shrink worker stops. Kernel: `MAX_RECLAIM_RETRIES` of the worker.
pub(crate) const ZSWAP_SHRINK_FAILURES_MAX: u32 = 16;
