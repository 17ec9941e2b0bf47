//! Random programs over groups, tasks, folios and slots. After every step the invariants hold. At the end every page
//! can be swapped in and has its content.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::memcg::{Hierarchy, MemCgroups, MemcgSwitches};
use swapcore::storage::{FaultPlan, Faulty};
use swapcore::table::Shadow;
use swapcore::zswap::{ZswapFaults, ZswapOptions};
use swapcore::{
    Config, FolioFlags, MappedFolio, Order, Orders, Profile, Swap, Swapin, Switches, SwpEntry, SwpType, Visibility,
};

use crate::common::{CPU, assert_empty, ghost_on, order, page_of, ram, storage_on, virtual_spec};
use crate::tasks::Tasks;

const STEPS: u32 = 60;

/// The number of failed steps for each kind of step.
pub(crate) type Failures = BTreeMap<&'static str, u64>;

/// The configuration of the subsystem in which a program runs.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) memcg: MemcgSwitches,
    /// The options of zswap, which stores the pages of a virtual device. With `None` the subsystem has no virtual
    /// device.
    pub(crate) zswap: Option<ZswapOptions>,
    /// If true, zswap and two devices with storage sometimes fail, and the devices are turned off and on. The value
    /// true requires `zswap`.
    pub(crate) has_failures: bool,
}

/// A device with storage. The program turns the device off and on, and makes its reads and writes fail.
struct Real {
    faulty: Arc<Faulty>,
    ty: Option<SwpType>,
}

/// The tag of a page. [`page_of`] returns the content for a tag. The tag is `None` if the content is unknown.
type Tag = Option<u64>;

/// The state of a program: references to slots, and mapped folios with the tag of each page.
struct Machine<'s> {
    swap: &'s Arc<Swap>,
    groups: &'s MemCgroups,
    rng: ChaCha8Rng,
    /// The groups that are online. The first group is root.
    css: Vec<CssId>,
    reals: Vec<Real>,
    tasks: Tasks,
    folios: Vec<(MappedFolio<'s>, Vec<Tag>)>,
    /// The references to slots. Each element is one reference, so a slot can occur several times.
    slots: Vec<(SwpEntry, Tag)>,
    next_tag: u64,
    has_failures: bool,
    failed: Failures,
}

impl<'s> Machine<'s> {
    fn pick(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.rng.random_range(0..len))
    }

    fn pick_group(&mut self) -> CssId {
        self.css[self.rng.random_range(0..self.css.len())]
    }

    fn take_folio(&mut self) -> Option<(MappedFolio<'s>, Vec<Tag>)> {
        self.pick(self.folios.len()).map(|at| self.folios.swap_remove(at))
    }

    fn note<T, E>(&mut self, what: &'static str, result: Result<T, E>) -> Option<T> {
        if result.is_err() {
            *self.failed.entry(what).or_default() += 1;
        }
        result.ok()
    }

    fn new_folio(&mut self) {
        let log2 = [0, 0, 0, 1, 2, 4][self.rng.random_range(0..6)];
        // One folio in five has only tags that are multiples of 4, so that all its pages are zeros.
        let kinds = if self.rng.random_ratio(1, 5) { 1 } else { 4 };
        let mut tag = || {
            self.next_tag += 4;
            self.next_tag + self.rng.random_range(0..kinds)
        };
        let tags: Vec<u64> = (0..1 << log2).map(|_| tag()).collect();
        let data: Vec<u8> = tags.iter().flat_map(|&tag| page_of(tag)).collect();
        let folio = self.swap.folio_with_in(order(log2), &data, self.pick_group(), CPU);
        if let Some(folio) = self.note("new", folio) {
            self.folios.push((MappedFolio::map(folio), tags.into_iter().map(Some).collect()));
        }
    }

    fn swap_out(&mut self) {
        let Some((folio, tags)) = self.take_folio() else { return };
        let pages = folio.pages();
        match self.swap.swap_out(folio, CPU) {
            Ok(entry) => self.slots.extend(pages.map(|page| (entry.plus(page), tags[page as usize]))),
            Err(kept) => {
                self.folios.push((kept.folio, tags));
                self.note("swap_out", Err::<(), _>(kept.error));
            }
        }
    }

    fn swap_in(&mut self) {
        let Some(at) = self.pick(self.slots.len()) else { return };
        let (entry, tag) = self.slots[at];
        let orders = Orders::one(order(self.rng.random_range(0..5)));
        let how = Swapin { faulting: self.pick_group(), ..Swapin::new(CPU, orders) };
        let mapped = self.swap.swap_in(entry, 1, &how);
        let Some(mapped) = self.note("swap_in", mapped) else { return };
        self.slots.swap_remove(at);
        let tags = tags_of(&mapped, tag);
        check_pages(&mapped, &tags);
        self.folios.push((mapped, tags));
    }

    fn rewrite(&mut self) {
        let Some(at) = self.pick(self.folios.len()) else { return };
        let (folio, tags) = &mut self.folios[at];
        let (page, nr_mapped) = (folio.pages().start as usize, folio.pages().len() as u32);
        // The step skips a folio that has slots or other users, because a program that writes to such a folio gets a
        // copy of the folio (copy on write).
        if folio.folio().entry().is_some() || folio.folio().mapcount() != nr_mapped || nr_mapped == 0 {
            return;
        }
        self.next_tag += 4;
        tags[page] = Some(self.next_tag + 3);
        let mut bytes = folio.folio().bytes_mut().expect("no views");
        bytes[page * PAGE_SIZE..][..PAGE_SIZE].copy_from_slice(&page_of(self.next_tag + 3));
        drop(bytes);
        folio.folio().set(FolioFlags::DIRTY);
    }

    fn drop_folio(&mut self) {
        let Some((folio, tags)) = self.take_folio() else { return };
        check_pages(&folio, &tags);
        self.swap.folio_unmap(folio, CPU).expect("a cpu");
    }

    fn split(&mut self) {
        let Some((folio, tags)) = self.take_folio() else { return };
        match self.swap.folio_split(folio, Order::ZERO, CPU) {
            Ok(parts) => self.folios.extend(parts.into_iter().zip(tags).map(|(part, tag)| (part, vec![tag]))),
            Err((folio, _)) => self.folios.push((folio, tags)),
        }
    }

    fn migrate(&mut self) {
        let Some((folio, tags)) = self.take_folio() else { return };
        let (Ok(folio) | Err((folio, _))) = self.swap.folio_migrate(folio, CPU);
        self.folios.push((folio, tags));
    }

    /// Allocates slots for a folio, frees the folio's slots, or removes the folio from the cache. The core may refuse
    /// each of these operations.
    fn change_cache(&mut self) {
        let Some(at) = self.pick(self.folios.len()) else { return };
        let folio = self.folios[at].0.folio().folio();
        let mut on_cpu = self.swap.on_cpu(CPU).expect("a cpu");
        let _ = match self.rng.random_range(0..4) {
            0..2 => on_cpu.folio_alloc_swap(folio).map(drop),
            2 => on_cpu.folio_free_swap(folio).map(drop),
            _ => on_cpu.swap_cache_del_folio(folio, Shadow::default()),
        };
    }

    /// Drops one reference of each slot of a run of 1 to 11 slots.
    fn put(&mut self) {
        self.slots.sort_unstable();
        let Some(at) = self.pick(self.slots.len()) else { return };
        let (first, most) = (self.slots[at].0, self.rng.random_range(1..12));
        let run = self.slots[at..].iter().zip(0..most);
        let nr_pages = run.take_while(|&(&(entry, _), n)| entry == first.plus(n)).count();
        self.slots.drain(at..at + nr_pages);
        self.swap.put(first, nr_pages as u32, CPU).expect("one reference each");
    }

    fn dup(&mut self) {
        let Some(at) = self.pick(self.slots.len()) else { return };
        let slot = self.slots[at];
        self.swap.dup(slot.0, 1, CPU).expect("it has a reference");
        self.slots.push(slot);
    }

    /// Allocates slots without a folio. No data is written to these slots.
    fn alloc_bare(&mut self) {
        let order = order(self.rng.random_range(0..3));
        if let Ok(entry) = self.swap.alloc(order, CPU) {
            self.slots.extend((0..order.nr_pages()).map(|page| (entry.plus(page), None)));
        }
    }

    fn create_group(&mut self) {
        let (parent, name) = (self.pick_group(), self.rng.random::<u64>().to_string());
        if let Ok(group) = self.groups.create(parent, &name) {
            self.css.push(group.css());
        }
    }

    fn remove_group(&mut self) {
        let css = self.pick_group();
        if self.swap.remove_group(css, CPU).is_ok() {
            self.css.retain(|&other| other != css);
        }
    }

    fn limit_group(&mut self) {
        let css = self.pick_group();
        let mut most = || if self.rng.random_ratio(1, 2) { u64::MAX } else { self.rng.random_range(0..60) };
        let group = self.groups.get(css);
        group.swap.set_max(most());
        group.memory.set_max(most());
    }

    /// Writes a file of a group: its protection, its treatment by the OOM killer, or a request for reclaim.
    fn write_file(&mut self) {
        let css = self.pick_group();
        let nr_pages = self.rng.random_range(0..60);
        let (file, text) = match self.rng.random_range(0..6) {
            0 => ("memory.min", format!("{}", nr_pages * PAGE_SIZE)),
            1 => ("memory.low", format!("{}", nr_pages * PAGE_SIZE)),
            2 => ("memory.oom.group", format!("{}", nr_pages % 2)),
            3 => ("memory.zswap.writeback", format!("{}", nr_pages % 2)),
            4 => ("memory.reclaim", format!("{}", nr_pages * PAGE_SIZE)),
            _ => ("memory.reclaim", format!("{} source=zswap", nr_pages * PAGE_SIZE / 4)),
        };
        // Root has only `memory.reclaim`, and v1 has none of these files.
        let result = self.swap.memcg_write(css, file, &text, false, CPU);
        self.note(file, result);
    }

    fn task_step(&mut self) {
        self.next_tag += 4;
        let tag = self.next_tag + self.rng.random_range(0..4);
        let (what, result) = self.tasks.step(self.swap, &self.css, tag, &mut self.rng);
        self.note(what, result);
    }

    /// Moves the data of a slot from zswap to a device, from one device to another device, or to a new slot of a
    /// device.
    fn move_about(&mut self) {
        let Some(at) = self.pick(self.slots.len()) else { return };
        let (entry, _) = self.slots[at];
        match self.rng.random_range(0..3) {
            0 => {
                let result = self.swap.zswap_writeback_entry(entry, CPU);
                self.note("writeback", result);
            }
            1 => {
                let on: Vec<SwpType> = self.reals.iter().filter_map(|real| real.ty).collect();
                if let Some(at) = self.pick(on.len()) {
                    let result = self.swap.move_backing(entry, on[at], CPU);
                    self.note("move", result);
                }
            }
            _ => {
                let folio = self.swap.swapin_entry(entry, &Swapin::new(CPU, Orders::ZERO));
                if let Some(folio) = self.note("swapin_entry", folio) {
                    let result = self.swap.folio_realloc_swap(&folio, CPU);
                    self.note("realloc", result);
                }
            }
        }
    }

    fn plan_faults(&mut self) {
        let mut some = |most: f64| if self.rng.random_ratio(1, 2) { self.rng.random_range(0.0..most) } else { 0.0 };
        let plan =
            FaultPlan { write_error_probability: some(0.5), read_error_probability: some(0.5), ..FaultPlan::default() };
        let (entry_alloc, pool_alloc, compress, decompress) = (some(0.3), some(0.3), some(0.3), some(0.3));
        let at = self.rng.random_range(0..self.reals.len());
        self.reals[at].faulty.set_plan(plan).expect("probabilities");
        let faults = ZswapFaults { entry_alloc, pool_alloc, compress, decompress, seed: self.rng.random() };
        self.swap.zswap().set_faults(faults).expect("probabilities");
    }

    fn no_faults(&mut self) {
        self.reals.iter().for_each(|real| real.faulty.set_plan(FaultPlan::default()).expect("no faults"));
        self.swap.zswap().set_faults(ZswapFaults::default()).expect("no faults");
    }

    fn off_and_on(&mut self) {
        let at = self.rng.random_range(0..self.reals.len());
        let Some(ty) = self.reals[at].ty else { return self.turn_on(at) };
        let device = self.swap.device(ty).expect("it is on");
        let result = self.swap.swapoff(&device, |_, _| unreachable!("no slot of it has a reference"));
        if self.note("swapoff", result).is_some() {
            self.reals[at].ty = None;
        }
    }

    fn turn_on(&mut self, at: usize) {
        self.reals[at].ty = Some(storage_on(self.swap, self.reals[at].faulty.clone(), 1).ty());
    }

    fn step(&mut self) {
        match self.rng.random_range(0..10) {
            0..3 => return self.task_step(),
            3 => return self.write_file(),
            _ => {}
        }
        match self.rng.random_range(0..if self.has_failures { 40 } else { 31 }) {
            0..6 => self.new_folio(),
            6..12 => self.swap_out(),
            12..16 => self.swap_in(),
            16 => self.rewrite(),
            17 => self.drop_folio(),
            18..20 => self.put(),
            20..22 => self.dup(),
            22 => self.split(),
            23 => self.migrate(),
            24..26 => self.change_cache(),
            26 => self.create_group(),
            27 => self.remove_group(),
            28 => self.limit_group(),
            29 => drop(self.swap.shrink_swap_cache(self.rng.random_range(1..80), CPU)),
            // Programs with failures, which turn devices off, do not allocate slots without a folio, because such a
            // slot with a reference prevents a swapoff.
            30 if !self.has_failures => self.alloc_bare(),
            30..36 => self.move_about(),
            36 => self.plan_faults(),
            37 => self.no_faults(),
            38 => self.off_and_on(),
            _ => {
                let result = self.swap.zswap_shrink_worker(CPU);
                self.note("worker", result);
            }
        }
    }

    /// Swaps a slot in. While memory is short, the function drops folios and tries again.
    fn take_back(&mut self, entry: SwpEntry) -> MappedFolio<'s> {
        loop {
            match self.swap.swap_in(entry, 1, &Swapin::new(CPU, Orders::ZERO)) {
                Ok(mapped) => return mapped,
                Err(error) if error.errno() == 12 && !self.folios.is_empty() => self.drop_folio(),
                Err(error) => panic!("{entry} does not come back: {error}"),
            }
        }
    }

    /// Swaps every slot in and compares its content. Then frees all folios and slots, and checks that no slot and no
    /// page stays in use.
    fn finish(mut self) -> Failures {
        self.no_faults();
        (0..self.reals.len()).for_each(|at| {
            if self.reals[at].ty.is_none() {
                self.turn_on(at);
            }
        });
        for group in self.css[1..].iter().map(|&css| self.groups.get(css)) {
            group.swap.set_max(u64::MAX);
            group.memory.set_max(u64::MAX);
        }
        let mut tasks = std::mem::take(&mut self.tasks);
        tasks.end(|| {
            let has_folio = !self.folios.is_empty();
            self.drop_folio();
            has_folio
        });
        while let Some((entry, tag)) = self.slots.pop() {
            if tag.is_none() {
                self.swap.put(entry, 1, CPU).expect("one reference");
                continue;
            }
            let mapped = self.take_back(entry);
            check_pages(&mapped, &tags_of(&mapped, tag));
            self.swap.folio_unmap(mapped, CPU).expect("a cpu");
        }
        while !self.folios.is_empty() {
            self.drop_folio();
        }
        assert_empty(self.swap);
        let stored = self.swap.zswap().stats().into_iter().find(|(name, _)| *name == "stored_pages");
        assert_eq!(stored.map(|(_, value)| value), Some(0), "zswap entries leaked");
        let is_online = |&css: &CssId| self.groups.get(css).is_online();
        assert!(self.groups.subtree(CssId::ROOT).iter().all(is_online), "a removed group is not freed");
        for group in self.css[1..].iter().map(|&css| self.groups.get(css)) {
            assert_eq!((group.swap.usage_pages(), group.memory.usage_pages()), (0, 0), "charges leaked");
        }
        self.failed
    }
}

/// Returns the tags of a folio that was swapped in for one page. The tags of the other pages are `None`, because the
/// slots of these pages may have no reference and then their content is unknown.
fn tags_of(folio: &MappedFolio<'_>, tag: Tag) -> Vec<Tag> {
    let mut tags = vec![None; folio.folio().nr_pages() as usize];
    tags[folio.pages().start as usize] = tag;
    tags
}

fn check_pages(folio: &MappedFolio<'_>, tags: &[Tag]) {
    let bytes = folio.folio().bytes().expect("no views");
    for page in folio.pages().map(|page| page as usize) {
        let content = &bytes[page * PAGE_SIZE..][..PAGE_SIZE];
        assert!(tags[page].is_none_or(|tag| content == page_of(tag)), "page {page} of tag {:?} changed", tags[page]);
    }
}

/// Runs one program and returns the number of failed steps of each kind. A step that fails must lose no data.
pub(crate) fn run(seed: u64, ground: &Ground) -> Failures {
    let Ground { hierarchy, memcg, zswap, has_failures } = ground.clone();
    let plain = Config::new(1, Profile::Newest);
    let (memory_pages, sizes) = if has_failures { (512, vec![64, 2048]) } else { (1024, vec![2048]) };
    let has_ghost = zswap.is_some();
    let switches = Switches { memcg, ..plain.switches };
    let config = Config { memcg: Some(hierarchy), memory_pages, zswap, switches, ..plain };
    let swap = Arc::new(Swap::with_config(config).expect("these go together"));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    if has_ghost {
        let visibility = if rng.random() { Visibility::Visible } else { Visibility::Hidden };
        ghost_on(&swap, 1 << 20, virtual_spec(visibility), 10);
    }
    let groups = swap.memcg().expect("enabled");
    let group = |name| groups.create(CssId::ROOT, name).expect("a name").css();
    let real = |pages| Real { faulty: Arc::new(Faulty::new(ram(pages), seed)), ty: None };
    let mut machine = Machine {
        swap: &swap,
        groups,
        rng,
        css: vec![CssId::ROOT, group("a"), group("b")],
        reals: sizes.into_iter().map(real).collect(),
        tasks: Tasks::default(),
        folios: Vec::new(),
        slots: Vec::new(),
        next_tag: seed << 20,
        has_failures,
        failed: Failures::new(),
    };
    (0..machine.reals.len()).for_each(|at| machine.turn_on(at));
    for step in 0..STEPS {
        machine.step();
        swap.check().unwrap_or_else(|error| panic!("seed {seed}, after step {step}: {error}"));
    }
    machine.finish()
}
