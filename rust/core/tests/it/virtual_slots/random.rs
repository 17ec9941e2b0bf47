//! Random programs over a virtual device with zswap and two real devices behind it, with failures of every kind at every
//! step: data is never lost, nothing leaks, and every invariant holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::memcg::Hierarchy;
use swapcore::storage::{FaultPlan, Faulty, Ram};
use swapcore::zswap::{ZswapFaults, ZswapOptions};
use swapcore::{Config, Discard, MappedFolio, Orders, Profile, Swap, Swapin, SwpEntry, SwpType, Visibility};

use crate::common::{CPU, ghost_on, nr_programs, order, page_of, virtual_spec};

/// A real device that can be turned off and on, and made to fail.
struct Real {
    faulty: Arc<Faulty>,
    ty: Option<SwpType>,
}

/// The state of a program: references to slots, and mapped folios with the tag of each page.
struct Machine<'s> {
    swap: &'s Swap,
    rng: ChaCha8Rng,
    groups: Vec<CssId>,
    reals: Vec<Real>,
    folios: Vec<(MappedFolio<'s>, Vec<u64>)>,
    slots: Vec<(SwpEntry, u64)>,
    next_tag: u64,
    /// The number of refusals and failures, by step.
    failed: BTreeMap<&'static str, u64>,
}

impl<'s> Machine<'s> {
    fn pick(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.rng.random_range(0..len))
    }

    fn note<T, E>(&mut self, what: &'static str, result: Result<T, E>) -> Option<T> {
        if result.is_err() {
            *self.failed.entry(what).or_default() += 1;
        }
        result.ok()
    }

    fn new_folio(&mut self) {
        let log2 = [0, 0, 0, 1, 2, 4][self.rng.random_range(0..6)];
        let nr_pages = 1usize << log2;
        let kind = self.rng.random_range(0..5);
        let tags: Vec<u64> = (0..nr_pages as u64)
            .map(|_| {
                self.next_tag += 4;
                // Whole folios of zeros, too.
                self.next_tag + if kind == 0 { 0 } else { self.rng.random_range(0..4) }
            })
            .collect();
        let data: Vec<u8> = tags.iter().flat_map(|&tag| page_of(tag)).collect();
        let group = self.groups[self.rng.random_range(0..self.groups.len())];
        let folio = self.swap.folio_with_in(order(log2), &data, group, CPU);
        if let Some(folio) = self.note("new", folio) {
            self.folios.push((MappedFolio::map(folio), tags));
        }
    }

    fn swap_out(&mut self) {
        let Some(at) = self.pick(self.folios.len()) else { return };
        let (folio, tags) = self.folios.swap_remove(at);
        let pages = folio.pages();
        match self.swap.swap_out(folio, CPU) {
            Ok(entry) => {
                let mapped = pages.clone().map(|page| (entry.plus(page), tags[page as usize]));
                self.slots.extend(mapped);
            }
            Err(kept) => {
                *self.failed.entry("swap_out").or_default() += 1;
                self.folios.push((kept.folio, tags));
            }
        }
    }

    fn swap_in(&mut self) {
        let Some(at) = self.pick(self.slots.len()) else { return };
        let (entry, _) = self.slots[at];
        let how = Swapin::new(CPU, Orders::one(order(self.rng.random_range(0..5))));
        let mapped = self.swap.swap_in(entry, 1, &how);
        let Some(mapped) = self.note("swap_in", mapped) else { return };
        let (_, tag) = self.slots.swap_remove(at);
        // Only the mapped page is known: others of a large folio may have no reference any more.
        let mut tags = vec![0; mapped.folio().nr_pages() as usize];
        tags[mapped.pages().start as usize] = tag;
        check_page(&mapped, mapped.pages().start, tag);
        self.folios.push((mapped, tags));
    }

    fn rewrite(&mut self) {
        let Some(at) = self.pick(self.folios.len()) else { return };
        let (folio, tags) = &mut self.folios[at];
        // Shared with other references to the slots: a write would need a copy.
        if folio.folio().entry().is_some() || folio.folio().mapcount() != folio.pages().len() as u32 {
            return;
        }
        self.next_tag += 4;
        let (page, tag) = (folio.pages().start, self.next_tag + 3);
        let mut bytes = folio.folio().bytes_mut().expect("no views");
        bytes[page as usize * PAGE_SIZE..][..PAGE_SIZE].copy_from_slice(&page_of(tag));
        drop(bytes);
        folio.folio().set(swapcore::FolioFlags::DIRTY);
        tags[page as usize] = tag;
    }

    fn drop_folio(&mut self) {
        let Some(at) = self.pick(self.folios.len()) else { return };
        let (folio, tags) = self.folios.swap_remove(at);
        folio.pages().for_each(|page| check_page(&folio, page, tags[page as usize]));
        self.swap.folio_unmap(folio, CPU).expect("a cpu");
    }

    fn put(&mut self) {
        let Some(at) = self.pick(self.slots.len()) else { return };
        let (entry, _) = self.slots.swap_remove(at);
        self.swap.put(entry, 1, CPU).expect("it has a reference");
    }

    fn dup(&mut self) {
        let Some(at) = self.pick(self.slots.len()) else { return };
        let slot = self.slots[at];
        self.swap.dup(slot.0, 1, CPU).expect("it has a reference");
        self.slots.push(slot);
    }

    /// Moves the data of a slot, cached or not: to zswap, to another device, or back.
    fn move_about(&mut self) {
        let Some(at) = self.pick(self.slots.len()) else { return };
        let (entry, _) = self.slots[at];
        match self.rng.random_range(0..4) {
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
            2 => {
                let folio = self.swap.swapin_entry(entry, &Swapin::new(CPU, Orders::ZERO));
                if let Some(folio) = self.note("swapin_entry", folio) {
                    let result = self.swap.folio_realloc_swap(&folio, CPU);
                    self.note("realloc", result);
                }
            }
            _ => {
                self.swap.shrink_swap_cache(self.rng.random_range(1..40), CPU).expect("a cpu");
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
        let seed = self.rng.random();
        self.swap
            .zswap()
            .set_faults(ZswapFaults { entry_alloc, pool_alloc, compress, decompress, seed })
            .expect("probabilities");
    }

    fn no_faults(&mut self) {
        self.reals.iter().for_each(|real| real.faulty.set_plan(FaultPlan::default()).expect("no faults"));
        self.swap.zswap().set_faults(ZswapFaults::default()).expect("no faults");
    }

    fn limits(&mut self) {
        let groups = self.swap.memcg().expect("enabled");
        let group = groups.get(self.groups[self.rng.random_range(1..self.groups.len())]);
        let most = if self.rng.random_ratio(1, 2) { u64::MAX } else { self.rng.random_range(0..60) };
        group.swap.set_max(most);
    }

    fn off_and_on(&mut self) {
        let at = self.rng.random_range(0..self.reals.len());
        match self.reals[at].ty {
            Some(ty) => {
                let device = self.swap.device(ty).expect("it is on");
                let result = self.swap.swapoff(&device, |_, _| unreachable!("no slot of it has a reference"));
                if self.note("swapoff", result).is_some() {
                    self.reals[at].ty = None;
                }
            }
            None => self.turn_on(at),
        }
    }

    fn turn_on(&mut self, at: usize) {
        let device = self.swap.swapon_storage(self.reals[at].faulty.clone(), Some(1), Discard::None);
        self.reals[at].ty = Some(device.expect("it was off").ty());
    }

    fn step(&mut self) {
        match self.rng.random_range(0..26) {
            0..6 => self.new_folio(),
            6..11 => self.swap_out(),
            11..14 => self.swap_in(),
            14 => self.rewrite(),
            15 => self.drop_folio(),
            16 => self.put(),
            17 => self.dup(),
            18..21 => self.move_about(),
            21 => self.plan_faults(),
            22 => self.no_faults(),
            23 => self.limits(),
            24 => self.off_and_on(),
            _ => {
                let result = self.swap.zswap_shrink_worker(CPU);
                self.note("worker", result);
            }
        }
    }

    /// Everything comes back as it was, and then nothing is left.
    fn finish(mut self) -> BTreeMap<&'static str, u64> {
        self.no_faults();
        for at in 0..self.reals.len() {
            if self.reals[at].ty.is_none() {
                self.turn_on(at);
            }
        }
        for &css in &self.groups[1..] {
            let group = self.swap.memcg().expect("enabled").get(css);
            group.swap.set_max(u64::MAX);
        }
        while let Some((entry, tag)) = self.slots.pop() {
            let mapped = loop {
                match self.swap.swap_in(entry, 1, &Swapin::new(CPU, Orders::ZERO)) {
                    Ok(mapped) => break mapped,
                    // Memory is short, so a folio is dropped.
                    Err(error) if error.errno() == 12 && !self.folios.is_empty() => self.drop_folio(),
                    Err(error) => panic!("{entry} does not come back: {error}"),
                }
            };
            check_page(&mapped, mapped.pages().start, tag);
            self.swap.folio_unmap(mapped, CPU).expect("a cpu");
        }
        while !self.folios.is_empty() {
            self.drop_folio();
        }
        self.swap.shrink_swap_cache(u64::MAX, CPU).expect("a cpu");
        self.swap.check().expect("every invariant");
        for device in self.swap.devices() {
            assert_eq!(self.swap.inuse_pages(device.ty()), 0, "slots of type {} leaked", device.ty().0);
        }
        let stored = self.swap.zswap().stats().into_iter().find(|(name, _)| *name == "stored_pages");
        assert_eq!(stored.map(|(_, value)| value), Some(0), "zswap entries leaked");
        assert_eq!(self.swap.memory_of_folios().nr_used_pages(), 0, "folios leaked");
        for &css in &self.groups[1..] {
            let group = self.swap.memcg().expect("enabled").get(css);
            assert_eq!((group.swap.usage_pages(), group.memory.usage_pages()), (0, 0), "charges leaked");
        }
        self.failed
    }
}

fn check_page(folio: &MappedFolio<'_>, page: u32, tag: u64) {
    let bytes = folio.folio().bytes().expect("no views");
    assert!(bytes[page as usize * PAGE_SIZE..][..PAGE_SIZE] == page_of(tag), "page {page} of tag {tag} changed");
}

fn run(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let hierarchy = if rng.random_ratio(1, 4) { Hierarchy::V1 } else { Hierarchy::V2 };
    let zswap = ZswapOptions { is_enabled: rng.random_ratio(3, 4), max_pool_percent: 4, ..ZswapOptions::default() };
    let config =
        Config { memcg: Some(hierarchy), memory_pages: 512, zswap: Some(zswap), ..Config::new(1, Profile::Newest) };
    let swap = Swap::with_config(config).expect("these go together");
    ghost_on(&swap, 1 << 20, virtual_spec(Visibility::Visible), 10);
    let groups = swap.memcg().expect("enabled");
    let groups = vec![
        CssId::ROOT,
        groups.create(CssId::ROOT, "a").expect("a name").css(),
        groups.create(CssId::ROOT, "b").expect("a name").css(),
    ];
    let real = |pages| {
        let faulty = Arc::new(Faulty::new(Arc::new(Ram::new(pages).expect("a size")), seed));
        Real { faulty, ty: None }
    };
    // One of them is soon full.
    let reals = vec![real(64), real(2048)];
    let (folios, slots) = (Vec::new(), Vec::new());
    let mut machine =
        Machine { swap: &swap, rng, groups, reals, folios, slots, next_tag: seed << 20, failed: BTreeMap::new() };
    (0..2).for_each(|at| machine.turn_on(at));
    for step in 0..60 {
        machine.step();
        let checked = swap.check();
        assert!(checked.is_ok(), "seed {seed}, after step {step}: {checked:?}");
    }
    machine.finish()
}

#[test]
fn nothing_is_lost_or_leaked_whatever_fails() {
    let runs = nr_programs(300);
    let mut failed: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..runs {
        let one = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        one.into_iter().for_each(|(what, nr)| *failed.entry(what).or_default() += nr);
    }
    println!("{runs} programs; refused or failed: {failed:?}");
    for what in ["swap_out", "swap_in", "writeback", "move", "realloc", "swapoff"] {
        assert!(failed.contains_key(what), "no {what} ever failed: {failed:?}");
    }
}
