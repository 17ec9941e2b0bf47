//! Constants of the allocator and the assertions that tie them together.

/// Bytes in one page and so in one swap slot.
pub const PAGE_SIZE: usize = 4096;
/// Slots in a cluster. Kernel: `SWAPFILE_CLUSTER` with `THP_SWAP` on x86-64.
pub const SWAPFILE_CLUSTER: u32 = 512;
/// The largest order a request may have; one run of it fills a cluster.
pub const MAX_ORDER: u8 = 9;
/// Number of orders, 0..=[`MAX_ORDER`]. Kernel: `SWAP_NR_ORDERS`.
pub const SWAP_NR_ORDERS: usize = MAX_ORDER as usize + 1;
/// Bits of an entry that hold the slot offset; the type is above them. Kernel: `SWP_TYPE_SHIFT`.
pub const SWP_TYPE_SHIFT: u32 = 58;
/// Swap devices that can be on at one time, everything configured. Kernel: `MAX_SWAPFILES`.
pub const MAX_SWAPFILES: usize = 24;
/// The largest device, in slots; `last_page + 1` is clamped to it.
pub const MAX_DEVICE_PAGES: u32 = u32::MAX;
/// Clusters of the largest device: what a dynamic device has address space for.
pub const MAX_DEVICE_CLUSTERS: u32 = MAX_DEVICE_PAGES.div_ceil(SWAPFILE_CLUSTER);
/// The largest explicit priority. Kernel: `SWAP_FLAG_PRIO_MASK`.
pub const MAX_PRIORITY: i16 = 32767;
/// CPUs one subsystem may be built for.
pub const MAX_CPUS: usize = 1024;

/// Bits of the swap count inside a table entry. Kernel: `SWP_TB_COUNT_BITS`.
pub const SWP_TB_COUNT_BITS: u32 = 4;
/// The inline count that means "the true count is in the extend table". Kernel: `SWP_TB_COUNT_MAX`.
pub const SWP_TB_COUNT_MAX: u8 = (1 << SWP_TB_COUNT_BITS) - 1;
/// Count bits and the zero mark together. Kernel: `SWP_TB_FLAGS_BITS`.
pub const SWP_TB_FLAGS_BITS: u32 = SWP_TB_COUNT_BITS + 1;
/// Bits of a page frame number in an entry (52-bit physical addresses, 4 KiB pages).
pub const PFN_BITS: u32 = 40;
/// NUMA node bits of a shadow.
pub const NODES_SHIFT: u32 = 6;
/// Private memcg id bits of a shadow. Kernel: `MEM_CGROUP_ID_SHIFT`.
pub const MEM_CGROUP_ID_SHIFT: u32 = 16;
/// Eviction age bits of a shadow: what marker, workingset bit, node, memcg id and flags leave.
pub const EVICTION_BITS: u32 = 64 - SWP_TB_FLAGS_BITS - 1 - 1 - NODES_SHIFT - MEM_CGROUP_ID_SHIFT;

/// Released tables whose memory is kept for reuse; further ones give it back to the system.
pub const POOL_TABLES_HOT_MAX: usize = 64;
/// Pages that a zram device keeps of those it freed, for the next it needs: 4 MiB.
pub const ZRAM_SPARE_PAGES_MAX: usize = 1024;
/// Pages of memory of a subsystem that does not say: 16 GiB of address space, used as folios are written.
pub const MEMORY_PAGES_DEFAULT: u64 = 1 << 22;
/// Records of events that a CPU may keep: 640 MiB of them.
pub const EVENT_RECORDS_MAX: usize = 1 << 24;
/// Pages of memory that a charge takes from the counters at once, for this and the next. Kernel: `MEMCG_CHARGE_BATCH`.
pub const MEMCG_CHARGE_BATCH: u64 = 64;
/// log2 of the pages that are worth every effort. Kernel: of that name.
pub const PAGE_ALLOC_COSTLY_ORDER: u32 = 3;
/// Pages that reclaim looks at in one go. Kernel: `SWAP_CLUSTER_MAX`.
pub const SWAP_CLUSTER_MAX: u64 = 32;
/// The first priority of reclaim: a list is looked at shifted right by it. Kernel: `DEF_PRIORITY`.
pub const DEF_PRIORITY: u8 = 12;
/// Attempts at memory that others take as soon as reclaim frees it, and at a charge beside two for stocks and limits.
/// Kernel: of that name.
pub const MAX_RECLAIM_RETRIES: u32 = 16;
/// The largest swappiness that weighs anonymous against file pages. Kernel: of that name.
pub const MAX_SWAPPINESS: u8 = 200;
/// The swappiness that means anonymous pages only. Kernel: of that name.
pub const SWAPPINESS_ANON_ONLY: u8 = 201;
/// Spins on a taken lock before the thread offers its CPU to others.
pub const LOCK_SPINS: u32 = 64;
/// Passes of swapoff over a device before it gives up on slots that stay in use.
pub const UNUSE_PASSES_MAX: u32 = 16;
/// Columns of the `columns` free list order. Kernel: `SWAP_CLUSTER_COLS` up to 6.17.
pub const SWAP_CLUSTER_COLS: u32 = 32;
/// Bad pages a SWAPSPACE2 header has room for. Kernel: `MAX_SWAP_BADPAGES`.
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
/// Maps that the trees share.
pub(crate) const ZSWAP_MAP_SHARDS: usize = 64;
/// Pools that there may be at one time. Kernel: the number in an entry is 8 bits.
pub(crate) const ZSWAP_POOLS_MAX: usize = 255;
/// Entries that one look at a group writes back at the most. Kernel: `SWAP_CLUSTER_MAX` a node.
pub(crate) const ZSWAP_SHRINK_BATCH: u64 = 32;
/// Failures after which the shrink worker gives up. Kernel: `MAX_RECLAIM_RETRIES` of the worker.
pub(crate) const ZSWAP_SHRINK_FAILURES_MAX: u32 = 16;
