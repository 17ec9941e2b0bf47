//! Constants of the core, and compile-time assertions on the relations between the constants.

/// Bytes in one page. A swap slot has the same size.
pub const PAGE_SIZE: usize = 4096;
/// Number of slots in a cluster. Kernel: `SWAPFILE_CLUSTER` with `THP_SWAP` on x86-64.
pub const SWAPFILE_CLUSTER: u32 = 512;
/// The largest order of a request. One run of this order fills a cluster.
pub const MAX_ORDER: u8 = 9;
/// Number of orders, 0..=[`MAX_ORDER`]. Kernel: `SWAP_NR_ORDERS`.
pub const SWAP_NR_ORDERS: usize = MAX_ORDER as usize + 1;
/// Number of low bits of a swap entry that hold the slot offset; the bits above hold the type. Kernel:
/// `SWP_TYPE_SHIFT`.
pub const SWP_TYPE_SHIFT: u32 = 58;
/// Number of swap devices that can be on at the same time, with every kernel option configured. Kernel:
/// `MAX_SWAPFILES`.
pub const MAX_SWAPFILES: usize = 24;
/// Number of slots of the largest device. A swap header with a larger `last_page + 1` is clamped to this number.
pub const MAX_DEVICE_PAGES: u32 = u32::MAX;
/// Number of clusters of the largest device. A dynamic device can grow up to this number of clusters.
pub const MAX_DEVICE_CLUSTERS: u32 = MAX_DEVICE_PAGES.div_ceil(SWAPFILE_CLUSTER);
/// The largest priority that a caller of swapon may set. Kernel: `SWAP_FLAG_PRIO_MASK`.
pub const MAX_PRIORITY: i16 = 32767;
/// Largest number of CPUs of a swap subsystem.
pub const MAX_CPUS: usize = 1024;

/// Number of bits of the swap count in a table entry. Kernel: `SWP_TB_COUNT_BITS`.
pub const SWP_TB_COUNT_BITS: u32 = 4;
/// The count in a table entry that means "the true count is in the extend table". Kernel: `SWP_TB_COUNT_MAX`.
pub const SWP_TB_COUNT_MAX: u8 = (1 << SWP_TB_COUNT_BITS) - 1;
/// Number of bits of the swap count and the zero mark together in a table entry. Kernel: `SWP_TB_FLAGS_BITS`.
pub const SWP_TB_FLAGS_BITS: u32 = SWP_TB_COUNT_BITS + 1;
/// Number of bits of a page frame number in a table entry (52-bit physical addresses, 4 KiB pages).
pub const PFN_BITS: u32 = 40;
/// Number of NUMA node bits in a shadow.
pub const NODES_SHIFT: u32 = 6;
/// Number of private memcg id bits in a shadow. Kernel: `MEM_CGROUP_ID_SHIFT`.
pub const MEM_CGROUP_ID_SHIFT: u32 = 16;
/// Number of eviction age bits in a shadow: all bits except those of the marker, the workingset bit, the node, the
/// memcg id and the flags.
pub const EVICTION_BITS: u32 = 64 - SWP_TB_FLAGS_BITS - 1 - 1 - NODES_SHIFT - MEM_CGROUP_ID_SHIFT;

/// Number of released swap tables that keep their memory for reuse. The memory of further released tables returns to
/// the system.
pub const POOL_TABLES_HOT_MAX: usize = 64;
/// Number of swap tables of a ghost for which address space is reserved at swapon: 256 MiB, for 128 GiB of slots.
/// Address space for further tables is reserved when the tables are needed.
pub const POOL_TABLES_HEAD_MAX: usize = 1 << 16;
/// Number of freed pages that a zram device keeps for reuse: 4 MiB.
pub const ZRAM_SPARE_PAGES_MAX: usize = 1024;
/// Size of a subsystem's memory, in pages, when the configuration gives no size: 16 GiB. The system provides the memory
/// page by page when folios are written.
pub const MEMORY_PAGES_DEFAULT: u64 = 1 << 22;
/// Number of pages of a subsystem's memory for which the first folio reserves address space: 1 GiB. Address space for
/// further pages is reserved when the pages are needed.
pub const MEMORY_PAGES_HEAD_MAX: usize = 1 << 18;
/// Largest number of event records that a CPU may keep: 640 MiB of records.
pub const EVENT_RECORDS_MAX: usize = 1 << 24;
/// Number of pages that a charge of memory takes from the page counters at once. The pages beyond the charge stay in
/// the CPU's stock of charged pages, for the next charges. Kernel: `MEMCG_CHARGE_BATCH`.
pub const MEMCG_CHARGE_BATCH: u64 = 64;
/// log2 of the largest charge, in pages, that is retried as long as reclaim frees pages. Kernel:
/// `PAGE_ALLOC_COSTLY_ORDER`.
pub const PAGE_ALLOC_COSTLY_ORDER: u32 = 3;
/// Number of pages that reclaim scans in one batch. Kernel: `SWAP_CLUSTER_MAX`.
pub const SWAP_CLUSTER_MAX: u64 = 32;
/// The reclaim priority at which reclaim starts. At priority p, reclaim scans the size of an LRU list in pages,
/// shifted right by p. Kernel: `DEF_PRIORITY`.
pub const DEF_PRIORITY: u8 = 12;
/// Largest number of retries, after reclaim, of a single-page allocation, a charge, or a write to a memory limit.
/// Retries are needed because other threads can take the memory that reclaim frees. A charge does not count its retry
/// after it drained the CPUs' stocks, nor its retries while the limit has room for the charge after reclaim. Kernel:
/// `MAX_RECLAIM_RETRIES`.
pub const MAX_RECLAIM_RETRIES: u32 = 16;
/// The largest swappiness that is a weight of anonymous pages against file pages. Kernel: `MAX_SWAPPINESS`.
pub const MAX_SWAPPINESS: u8 = 200;
/// The swappiness with which reclaim takes anonymous pages only. Kernel: `SWAPPINESS_ANON_ONLY`.
pub const SWAPPINESS_ANON_ONLY: u8 = 201;
/// Number of rounds for which a thread spins on a held lock before the thread yields its CPU in each further round.
pub const LOCK_SPINS: u32 = 64;
/// Number of passes of swapoff over a device before swapoff fails because slots stay in use.
pub const UNUSE_PASSES_MAX: u32 = 16;
/// Number of columns of the table that defines the free list order `columns` of `FreeOrder`. Kernel:
/// `SWAP_CLUSTER_COLS` up to 6.17.
pub const SWAP_CLUSTER_COLS: u32 = 32;
/// Largest number of bad pages in a SWAPSPACE2 header. Kernel: `MAX_SWAP_BADPAGES`.
pub const MAX_SWAP_BADPAGES: usize = (PAGE_SIZE - 10 - 1536) / 4;

/// Largest page size for which the reader of a SWAPSPACE2 header looks for the signature: 64 KiB, as `swapon(8)` does.
pub const SWAP_HEADER_BYTES_MAX: usize = 64 << 10;
/// Largest label in a SWAPSPACE2 header, in bytes. Kernel: `sws_volume`.
pub const SWAP_LABEL_BYTES_MAX: usize = 16;

const _: () = assert!(1 << MAX_ORDER == SWAPFILE_CLUSTER, "the largest order fills one cluster exactly");
const _: () = assert!(SWAPFILE_CLUSTER <= u16::MAX as u32, "a cluster's count is 16 bits wide");
const _: () = assert!(MAX_SWAPFILES <= 1 << (63 - SWP_TYPE_SHIFT), "5 bits hold every type");
const _: () = assert!(PFN_BITS + 2 + SWP_TB_FLAGS_BITS <= 64, "a table entry with a frame number fits 64 bits");
const _: () = assert!(EVICTION_BITS == 41 - NODES_SHIFT, "anon eviction bits are 41 - NODES_SHIFT");
const _: () = assert!(MAX_SWAP_BADPAGES == 637, "the header page holds up to 637 bad pages");
const _: () = assert!(MAX_DEVICE_PAGES as u64 <= (1 << SWP_TYPE_SHIFT), "a slot offset fits a swap entry");
/// Number of slots in one tree of zswap entries: 64 MiB of pages. Kernel: `ZSWAP_ADDRESS_SPACE_PAGES`.
pub const ZSWAP_TREE_PAGES: u64 = 1 << 14;
/// Number of hash maps over which the zswap entries are spread. All entries of one tree are in the same map.
pub(crate) const ZSWAP_MAP_SHARDS: usize = 64;
/// Largest number of zswap pools at one time. Kernel: the pool number in a zswap entry has 8 bits.
pub(crate) const ZSWAP_POOLS_MAX: usize = 255;
/// Largest number of zswap entries that one scan of a group's zswap entries examines. Kernel: `SWAP_CLUSTER_MAX` per
/// node.
pub(crate) const ZSWAP_SHRINK_BATCH: u64 = 32;
/// Number of failures after which the shrink worker of zswap stops. Kernel: `MAX_RECLAIM_RETRIES` of the worker.
pub(crate) const ZSWAP_SHRINK_FAILURES_MAX: u32 = 16;
