//! Memory cgroups: usage and limits of memory and swap, by group. This folder has no code for folios or slots;
//! `slots/owner.rs` and higher folders charge groups for folios and slots.
//!
//! Groups are stored in an arena, and [`CssId`] finds a group without a lock. A freed group keeps its place in the
//! arena, and the next group that is created below the same parent reuses the place. So a reference to a group is
//! always valid, and the parent of a group's LRU lists never changes.
//!
//! Locks: the tree lock is taken before the id lock (`lowest_free`) and before the policy lock of a group. The stock
//! of each CPU, the registered hooks, and the queue of notices for the hooks have locks of their own. All other
//! fields are atomic.

mod counter;
mod group;
mod options;
mod peak;
mod policy;
mod protection;
mod rfc_literal;
#[cfg(test)]
mod tests;

use std::array;
use std::collections::{BTreeMap, HashMap};
use std::iter::successors;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::io::Errno;

use counter::CpuStocks;
pub use counter::{PAGE_COUNTER_MAX, PageCounter};
use group::NR_STATS;
pub use group::{MemCgroup, MemcgEvent, MemcgStat, SWAPPINESS_DEFAULT};
pub use options::{DeadSwapin, Hierarchy, IdOnlyRefault, MemcgOptions, MemcgSwitches, OwnerStore, RefaultJudge};
pub(crate) use peak::Descriptor;
#[cfg(test)]
pub(crate) use policy::SwapinProbe;
pub use policy::{DeadOwnerAnswer, GroupPolicy, LimitKind, MemcgPolicy, RefaultNotice, RefaultRule};
pub(crate) use policy::{LimitNotice, Policies};
pub(crate) use protection::Protection;

use crate::base::error::{Result, SwapError};
use crate::base::sync::SpinMutex;
use crate::base::types::{CssId, MemcgId};
use crate::containers::percpu::PerCpu;
use crate::containers::zeroed::MappedSlice;

/// Largest number of ancestors of a group. The depth of root is 0.
pub const MEMCG_DEPTH_MAX: u32 = 64;
/// Size of the map of private ids. The ids are 1..=65,535; 0 is no id. Kernel: `MEM_CGROUP_ID_MAX`.
const NR_IDS: usize = 1 << 16;
/// Number of groups in the first segment of the arena. Each further segment has twice as many groups as the segment
/// before.
const SEGMENT_GROUPS: usize = 64;
const NR_SEGMENTS: usize = 20;

/// One of the two counters of a group. Kernel: `memcg->memory`, and the union of `memcg->swap` and `memcg->memsw`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CounterKind {
    /// Memory.
    Memory,
    /// Swap on v2; memory and swap together on v1.
    Swap,
}

/// The place of one group in the tree. The counters of the group are in [`MemCgroup`].
#[derive(Debug, Default)]
struct Node {
    name: String,
    /// Creation number of the group among the children of its parent.
    serial: u64,
    /// Numbers of the children that are not freed, by creation number.
    children: BTreeMap<u64, CssId>,
    /// Numbers of the online children, by name.
    names: HashMap<String, CssId>,
    /// Numbers of the freed children, whose places new children reuse.
    spare: Vec<CssId>,
}

/// The memory controller of one machine.
#[derive(Debug)]
pub struct MemCgroups {
    options: MemcgOptions,
    segments: [OnceLock<Box<[OnceLock<MemCgroup>]>>; NR_SEGMENTS],
    /// Nodes by the array index of the group number. The index of root is 0.
    tree: SpinMutex<Vec<Node>>,
    /// Group number by private id; 0 for an id that is not in use.
    ids: MappedSlice<AtomicU32>,
    /// Every id below this id is in use.
    lowest_free: SpinMutex<u32>,
    /// Pages of memory that each CPU has charged in advance.
    stocks: PerCpu<CpuStocks>,
    /// A high limit was set for some group at some time. Before that, charges do not check high limits.
    has_high: AtomicBool,
    /// `memory.min` or `memory.low` was set for some group at some time. Before that, reclaim computes no protection.
    has_protection: AtomicBool,
    /// The policy table of some group had a list of devices at some time.
    has_device_lists: AtomicBool,
}

fn place(css: CssId) -> (usize, usize) {
    let index = css.0 as usize - 1;
    let segment = (index / SEGMENT_GROUPS + 1).ilog2() as usize;
    (segment, index - SEGMENT_GROUPS * ((1 << segment) - 1))
}

impl MemCgroups {
    /// Makes the controller and its root group. Errors: `NoMemory` (ENOMEM), `BadNrCpus` (EINVAL).
    pub fn new(options: MemcgOptions, nr_cpus: usize) -> Result<Self> {
        let groups = Self {
            options,
            segments: array::from_fn(|_| OnceLock::new()),
            tree: SpinMutex::default(),
            ids: MappedSlice::zeroed(NR_IDS)?,
            lowest_free: SpinMutex::new(1),
            stocks: PerCpu::new(nr_cpus, |_| CpuStocks::default())?,
            has_high: AtomicBool::new(false),
            has_protection: AtomicBool::new(false),
            has_device_lists: AtomicBool::new(false),
        };
        let root = groups.place_group(None, &mut groups.tree.lock())?;
        groups.bring_online(root)?;
        Ok(groups)
    }

    /// Returns the options.
    #[inline]
    pub fn options(&self) -> &MemcgOptions {
        &self.options
    }

    /// Returns whether memory and swap are charged to one counter, as on v1. Kernel: `do_memsw_account`.
    #[inline]
    pub fn do_memsw_account(&self) -> bool {
        self.options.hierarchy == Hierarchy::V1
    }

    /// Returns the root group. Kernel: `root_mem_cgroup`.
    pub fn root(&self) -> &MemCgroup {
        self.get(CssId::ROOT)
    }

    /// Returns a group by its number. Panics when no group ever had the number.
    #[inline]
    pub fn get(&self, css: CssId) -> &MemCgroup {
        let (segment, index) = place(css);
        let group = self.segments[segment].get().and_then(|groups| groups[index].get());
        group.expect("a number comes from a group")
    }

    /// Returns a group and its ancestors, without root, which is never charged.
    ///
    /// Kernel: a charge also reaches the counters of root, but no file shows the counters of root.
    pub fn charged_levels<'a>(&'a self, group: &'a MemCgroup) -> impl Iterator<Item = &'a MemCgroup> {
        let not_root = |level: &MemCgroup| level.parent().filter(|&parent| parent != CssId::ROOT);
        let first = Some(group).filter(|group| !group.is_root());
        successors(first, move |level| not_root(level).map(|parent| self.get(parent)))
    }

    /// Returns a group and all its ancestors.
    pub fn levels<'a>(&'a self, group: &'a MemCgroup) -> impl Iterator<Item = &'a MemCgroup> {
        successors(Some(group), |level| level.parent().map(|parent| self.get(parent)))
    }

    /// Charges a group and its ancestors regardless of limits. Kernel: `page_counter_charge`.
    pub fn charge(&self, group: &MemCgroup, which: CounterKind, nr_pages: u64) {
        self.charged_levels(group).for_each(|level| level.counter(which).charge(nr_pages));
    }

    /// Uncharges a group and its ancestors. Kernel: `page_counter_uncharge`.
    pub fn uncharge(&self, group: &MemCgroup, which: CounterKind, nr_pages: u64) {
        self.charged_levels(group).for_each(|level| level.counter(which).uncharge(nr_pages));
    }

    /// Charges a group and all its ancestors, or none of these groups. The error is the group whose counter refused
    /// the charge. Kernel: `page_counter_try_charge`.
    pub fn try_charge<'a>(
        &'a self,
        group: &'a MemCgroup,
        which: CounterKind,
        nr_pages: u64,
    ) -> std::result::Result<(), &'a MemCgroup> {
        // Only the counter of memory counts refusals, so `memory.memsw.failcnt` stays 0.
        let tracks_failcnt = self.do_memsw_account() && which == CounterKind::Memory;
        for level in self.charged_levels(group) {
            if !level.counter(which).try_charge(nr_pages, tracks_failcnt) {
                let below = self.charged_levels(group).take_while(|below| below.css() != level.css());
                below.for_each(|below| below.counter(which).uncharge(nr_pages));
                return Err(level);
            }
        }
        Ok(())
    }

    /// Raises an event at a group and, on v2 without the switch `memory_localevents`, at all its ancestors except root.
    /// Kernel: `memcg_memory_event`.
    pub(crate) fn raise(&self, group: &MemCgroup, event: MemcgEvent) {
        // Relaxed: no thread draws a conclusion from one count about other data.
        group.events_local[event as usize].fetch_add(1, Ordering::Relaxed);
        let raise = |level: &MemCgroup| _ = level.events[event as usize].fetch_add(1, Ordering::Relaxed);
        let is_local = self.do_memsw_account() || self.options.has_local_events;
        if is_local { raise(group) } else { self.charged_levels(group).for_each(raise) }
    }

    /// Raises the event `oom` at the group `level`, whose limit refused a charge of `charged`. If `memory.oom.group`
    /// is set at a group on the path from `charged` up to `level`, the event `oom_group_kill` is raised at the
    /// highest such group.
    ///
    /// Kernel: `mem_cgroup_out_of_memory`, `mem_cgroup_get_oom_group`; differs: no task is killed, and the group
    /// `charged` stands for the group of the task that the OOM killer would choose.
    pub(crate) fn raise_oom(&self, level: &MemCgroup, charged: &MemCgroup) {
        self.raise(level, MemcgEvent::Oom);
        let mut oom_group = None;
        for group in self.charged_levels(charged) {
            oom_group = if group.is_oom_group() { Some(group) } else { oom_group };
            if group.css() == level.css() {
                break;
            }
        }
        if let Some(oom_group) = oom_group {
            self.raise(oom_group, MemcgEvent::OomGroupKill);
        }
    }

    /// Returns whether the OOM killer finds a task to kill when the limit of the group `level` refuses a charge: a
    /// task in the group or below, unless the OOM killer is off for the group. Kernel: `mem_cgroup_oom`,
    /// `select_bad_process`.
    pub(crate) fn has_oom_victim(&self, level: &MemCgroup) -> bool {
        !level.is_oom_kill_disabled() && self.subtree(level.css()).iter().any(|&css| self.get(css).nr_tasks() > 0)
    }

    /// Returns a statistic, summed over a group and all its descendants, including removed and freed descendants.
    /// Kernel: `memcg_page_state`.
    pub fn stat(&self, group: &MemCgroup, stat: MemcgStat) -> i64 {
        let own = |group: &MemCgroup| group.stat_local(stat) + group.stat_gone(stat);
        self.subtree(group.css()).into_iter().map(|css| own(self.get(css))).sum()
    }

    /// Returns a group and all its descendants that are not freed, parents before children, in order of creation.
    ///
    /// Kernel: `mem_cgroup_iter`.
    pub fn subtree(&self, top: CssId) -> Vec<CssId> {
        let tree = self.tree.lock();
        let (mut found, mut todo) = (Vec::new(), vec![top]);
        while let Some(css) = todo.pop() {
            found.push(css);
            todo.extend(tree[css.index()].children.values().rev());
        }
        found
    }

    /// Returns the numbers of the children of a group that are not freed.
    pub fn children(&self, css: CssId) -> Vec<CssId> {
        self.tree.lock()[css.index()].children.values().copied().collect()
    }

    /// Returns the name of a group, "" for root.
    pub fn name(&self, css: CssId) -> String {
        self.tree.lock()[css.index()].name.clone()
    }

    /// Returns the path of a group from root, with slashes between the names.
    pub fn path(&self, css: CssId) -> String {
        let mut names: Vec<_> = self.levels(self.get(css)).map(|level| self.name(level.css())).collect();
        names.reverse();
        if names.len() == 1 { "/".into() } else { names.join("/") }
    }

    /// Returns a group below `parent` that is not online: a freed child if there is one, else a new group. Errors:
    /// `NoMemory` (ENOMEM).
    fn place_group(&self, parent: Option<&MemCgroup>, tree: &mut Vec<Node>) -> Result<&MemCgroup> {
        if let Some(spare) = parent.and_then(|parent| tree[parent.css().index()].spare.pop()) {
            return Ok(self.get(spare));
        }
        let css = CssId(tree.len() as u32 + 1);
        let (segment, index) = place(css);
        let groups = self.segments.get(segment).ok_or(SwapError::NoMemory(size_of::<MemCgroup>() as u64))?;
        let groups = groups.get_or_init(|| (0..SEGMENT_GROUPS << segment).map(|_| OnceLock::new()).collect());
        tree.push(Node::default());
        Ok(groups[index].get_or_init(|| MemCgroup::new(css, parent, self.options.stat_reads)))
    }

    /// Gives a group a private id and its first references. Errors: `Cgroup` (ENOSPC) when every id is in use.
    fn bring_online(&self, group: &MemCgroup) -> Result<()> {
        let id = self.alloc_id(group.css())?;
        group.renew(group.parent().map(|parent| self.get(parent)));
        group.lruvec().set_memcg(id);
        // Relaxed: no other thread finds the group before `create` inserts the group into the tree, and the tree lock
        // publishes the insertion.
        group.id.store(id.0.into(), Ordering::Relaxed);
        group.id_refs.store(1, Ordering::Relaxed);
        // One reference for the online state, one for the private id. Release pairs with the Acquire in `css_tryget`.
        group.css_refs.store(2, Ordering::Release);
        group.is_online.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Creates a child group of `parent`. Kernel: `mkdir`.
    ///
    /// Errors, all `Cgroup`: EINVAL when the name cannot be the name of a directory; ENODEV when the parent is
    /// removed; EEXIST when the name is in use; EAGAIN when the group would be deeper than [`MEMCG_DEPTH_MAX`];
    /// ENOSPC when every private id is in use. Locks: the tree lock.
    pub fn create(&self, parent: CssId, name: &str) -> Result<&MemCgroup> {
        let parent = self.get(parent);
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\n', '\0']) || name.len() > 255 {
            let what = format!("{name:?} is no name for a group: 1 to 255 bytes without / and newline, not . or ..");
            return Err(SwapError::cgroup(Errno::INVAL, what));
        }
        let mut tree = self.tree.lock();
        Self::check_online(parent, &tree)?;
        if tree[parent.css().index()].names.contains_key(name) {
            return Err(SwapError::cgroup(Errno::EXIST, format!("there is a group {name:?} already")));
        }
        if parent.depth() >= MEMCG_DEPTH_MAX {
            let what =
                format!("a group at depth {} would be over the {MEMCG_DEPTH_MAX} there may be", parent.depth() + 1);
            return Err(SwapError::cgroup(Errno::AGAIN, what));
        }
        let group = self.place_group(Some(parent), &mut tree)?;
        if let Err(error) = self.bring_online(group) {
            tree[parent.css().index()].spare.push(group.css());
            return Err(error);
        }
        self.css_get(parent, 1);
        let above = &mut tree[parent.css().index()];
        let serial = above.children.last_key_value().map_or(0, |(last, _)| last + 1);
        above.children.insert(serial, group.css());
        above.names.insert(name.into(), group.css());
        let node = &mut tree[group.css().index()];
        (node.name, node.serial) = (name.into(), serial);
        Ok(group)
    }

    /// Returns the error for a removed group (ENODEV).
    pub(crate) fn removed(name: &str) -> SwapError {
        SwapError::cgroup(Errno::NODEV, format!("the group {name:?} is removed"))
    }

    /// Checks that a group is not removed. Errors: `Cgroup` (ENODEV).
    fn check_online(group: &MemCgroup, tree: &[Node]) -> Result<()> {
        let removed = || Self::removed(&tree[group.css().index()].name);
        group.is_online().then_some(()).ok_or_else(removed)
    }

    /// Takes a group offline. No task can enter the group afterwards, and the group is freed when its last reference
    /// is dropped. Kernel: `rmdir`, `mem_cgroup_css_offline`.
    ///
    /// Errors, all `Cgroup`: EINVAL for root; ENODEV when the group is already removed; EBUSY when the group has
    /// children or tasks. Locks: the tree lock.
    pub fn remove(&self, css: CssId) -> Result<()> {
        let group = self.get(css);
        if group.is_root() {
            return Err(SwapError::cgroup(Errno::INVAL, "the root cannot be removed".into()));
        }
        {
            let mut tree = self.tree.lock();
            let node = &tree[css.index()];
            Self::check_online(group, &tree)?;
            let nr_children = node.names.len();
            let nr_tasks = group.nr_tasks();
            if nr_children > 0 || nr_tasks > 0 {
                let what = format!("{:?} has {nr_children} groups below it and {nr_tasks} tasks in it", node.name);
                return Err(SwapError::cgroup(Errno::BUSY, what));
            }
            group.is_online.store(false, Ordering::Relaxed);
            let name = node.name.clone();
            let parent = group.parent().expect("not root");
            tree[parent.index()].names.remove(&name);
        }
        group.min_pages.store(0, Ordering::Relaxed);
        group.low_pages.store(0, Ordering::Relaxed);
        self.drain_stocks_below(group);
        self.id_put(group, 1);
        self.css_put(group, 1);
        Ok(())
    }

    /// Adds a task to a group. Errors: `Cgroup` (ENODEV) when the group is removed. Locks: the tree lock.
    pub fn enter(&self, css: CssId) -> Result<()> {
        let tree = self.tree.lock();
        let group = self.get(css);
        Self::check_online(group, &tree)?;
        group.nr_tasks.fetch_add(1, Ordering::Relaxed);
        self.css_get(group, 1);
        Ok(())
    }

    /// Removes a task from a group.
    pub fn leave(&self, css: CssId) {
        let group = self.get(css);
        group.nr_tasks.fetch_sub(1, Ordering::Relaxed);
        self.css_put(group, 1);
    }

    /// Takes `nr` references to a group to which the caller already holds a reference. Kernel: `css_get_many`.
    #[inline]
    pub(crate) fn css_get(&self, group: &MemCgroup, nr: u64) {
        // Relaxed: the caller holds a reference, or keeps the group alive in another way.
        group.css_refs.fetch_add(nr, Ordering::Relaxed);
    }

    /// Takes a reference to a group unless the group is freed; returns whether a reference was taken. Kernel:
    /// `css_tryget`.
    pub(crate) fn css_tryget(&self, group: &MemCgroup) -> bool {
        let more = |refs: u64| (refs > 0).then_some(refs + 1);
        // Acquire pairs with the Release in `bring_online`: the thread reads the fields that `bring_online` set, also
        // for a reused group.
        group.css_refs.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).is_ok()
    }

    /// Drops `nr` references. The drop of the last reference frees the group. Kernel: `css_put_many`.
    #[inline]
    pub(crate) fn css_put(&self, group: &MemCgroup, nr: u64) {
        // AcqRel: every access to the group under a reference happens before the reuse of the group.
        let old = group.css_refs.fetch_sub(nr, Ordering::AcqRel);
        debug_assert!(old >= nr, "{nr} references dropped, but only {old} exist");
        if old == nr {
            self.free(group);
        }
    }

    #[cold]
    fn free(&self, group: &MemCgroup) {
        let parent = self.get(group.parent().expect("root has a reference for ever"));
        {
            let mut tree = self.tree.lock();
            group.hand_over(parent);
            let serial = tree[group.css().index()].serial;
            let node = &mut tree[parent.css().index()];
            node.children.remove(&serial);
            node.spare.push(group.css());
        }
        self.css_put(parent, 1);
    }

    /// Gives a group the lowest free private id. Errors: `Cgroup` (ENOSPC).
    fn alloc_id(&self, css: CssId) -> Result<MemcgId> {
        let mut lowest = self.lowest_free.lock();
        // Relaxed: the lock of `lowest_free` protects every change of `ids`; `lookup` explains its reads without the
        // lock.
        let free = (*lowest..NR_IDS as u32).find(|&id| self.ids[id as usize].load(Ordering::Relaxed) == 0);
        let what = || format!("all {} private ids are in use", NR_IDS - 1);
        let id = free.ok_or_else(|| SwapError::cgroup(Errno::NOSPC, what()))?;
        self.ids[id as usize].store(css.0, Ordering::Relaxed);
        *lowest = id + 1;
        Ok(MemcgId(id as u16))
    }

    /// Returns the group of a private id, or `None` for 0 and for a released id. Kernel:
    /// `mem_cgroup_from_private_id`.
    #[inline]
    pub fn lookup(&self, id: MemcgId) -> Option<&MemCgroup> {
        // Relaxed: the caller has pinned the id through a slot, or tolerates that the id has meanwhile passed to
        // another group.
        match self.ids[usize::from(id.0)].load(Ordering::Relaxed) {
            0 => None,
            css => Some(self.get(CssId(css))),
        }
    }

    /// Pins the private id of a group `nr` times. If the id is released, pins the id of the nearest ancestor whose id
    /// is not released. Returns the group whose id was pinned. Kernel: `mem_cgroup_private_id_get_online`, which also
    /// checks the pins and not the online state.
    pub(crate) fn id_get_online<'a>(&'a self, group: &'a MemCgroup, nr: u64) -> &'a MemCgroup {
        let pin = |level: &&MemCgroup| {
            let more = |refs: u64| (refs > 0).then_some(refs + nr);
            // Relaxed: the count alone decides, and the id is stable while the count is not 0.
            level.id_refs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
        };
        self.levels(group).find(pin).expect("root's id is never released")
    }

    /// Drops `nr` pins of the private id of a group. The drop of the last pin releases the id, and another group may
    /// get the id at once. Kernel: `mem_cgroup_private_id_put`.
    pub(crate) fn id_put(&self, group: &MemCgroup, nr: u64) {
        let old = group.id_refs.fetch_sub(nr, Ordering::Relaxed);
        debug_assert!(old >= nr, "{nr} pins dropped, but only {old} exist");
        if old == nr {
            let mut lowest = self.lowest_free.lock();
            let id = group.id.swap(0, Ordering::Relaxed);
            self.ids[id as usize].store(0, Ordering::Relaxed);
            group.lruvec().set_memcg(MemcgId(0));
            *lowest = (*lowest).min(id);
            drop(lowest);
            self.css_put(group, 1);
        }
    }

    /// Returns the group if the group is online, else its nearest online ancestor, without a reference.
    pub(crate) fn nearest_online<'a>(&'a self, group: &'a MemCgroup) -> &'a MemCgroup {
        self.levels(group).find(|level| level.is_online()).expect("root is online")
    }

    /// Returns the group if the group is online, else its nearest online ancestor, with a reference. Kernel:
    /// `mem_cgroup_tryget_online`, repeated for each ancestor.
    pub(crate) fn get_nearest_online<'a>(&'a self, group: &'a MemCgroup) -> &'a MemCgroup {
        loop {
            let online = self.nearest_online(group);
            if self.css_tryget(online) {
                return online;
            }
        }
    }

    /// Uncharges memory, and on v1 memsw too. Kernel: `memcg_uncharge`.
    pub fn uncharge_memory(&self, group: &MemCgroup, nr_pages: u64) {
        self.uncharge(group, CounterKind::Memory, nr_pages);
        if self.do_memsw_account() {
            self.uncharge(group, CounterKind::Swap, nr_pages);
        }
    }

    /// Sets the usage above which the tasks of a group are throttled.
    pub fn set_high(&self, group: &MemCgroup, which: CounterKind, pages: u64) {
        // Relaxed: a charge that reads the old value acts as if it had run before this call.
        self.has_high.store(true, Ordering::Relaxed);
        group.counter(which).set_high(pages);
    }

    /// Returns whether any group had a high limit at some time.
    #[inline]
    pub(crate) fn has_high(&self) -> bool {
        self.has_high.load(Ordering::Relaxed)
    }

    /// Returns the number of swap pages that a group may still use: the minimum over the group and its ancestors. The
    /// number may be negative. Kernel: `mem_cgroup_get_nr_swap_pages`.
    pub fn nr_swap_pages(&self, group: &MemCgroup, nr_free_pages: i64) -> i64 {
        if self.do_memsw_account() {
            return nr_free_pages;
        }
        self.charged_levels(group).map(|level| level.swap.margin_pages()).fold(nr_free_pages, i64::min)
    }

    /// Returns whether a group or an ancestor uses at least half of its swap limit or of its high limit of swap.
    /// Kernel: the memcg part of `mem_cgroup_swap_full`.
    pub fn is_swap_full(&self, group: &MemCgroup) -> bool {
        !self.do_memsw_account()
            && self.charged_levels(group).any(|level| {
                let twice = level.swap.usage_pages() * 2;
                twice >= level.swap.high_pages() || twice >= level.swap.max_pages()
            })
    }

    /// Returns the number of bytes that all groups ever made take, plus the bytes of the used part of the map of
    /// private ids.
    pub fn bytes(&self) -> u64 {
        let nr_groups = self.tree.lock().len();
        let group = size_of::<MemCgroup>() + size_of::<crate::workingset::Lruvec>() + size_of::<Node>();
        (nr_groups * group + usize::min(nr_groups + 1, NR_IDS) * size_of::<AtomicU32>()) as u64
    }
}

const _: () = assert!(NR_STATS < 32, "a group is small");
