//! Random programs over groups, folios and slots: after every step the counters are what tables and folios say.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::memcg::{DeadSwapin, Hierarchy, MemcgSwitches, OwnerStore};
use swapcore::mm::{Mm, VmaOptions};
use swapcore::readahead::Vpn;
use swapcore::storage::Ram;
use swapcore::zswap::ZswapOptions;
use swapcore::{
    Config, CpuId, Discard, MappedFolio, Order, Orders, Profile, Swap, Swapin, Switches, SwpEntry, Visibility,
};

use crate::common::{CPU, ghost_on, order, stress_time, used_slots, virtual_spec};

/// One step; numbers are taken modulo the number of choices.
#[derive(Clone, Debug)]
enum Op {
    Create { parent: usize, swap_max: Option<u64>, memory_max: Option<u64> },
    Remove { group: usize },
    Limit { group: usize, swap_max: u64, memory_max: u64 },
    New { group: usize, order: u8, is_zero: bool },
    AllocSwap { folio: usize },
    FreeSwap { folio: usize },
    Drop { folio: usize },
    Forget { folio: usize },
    Out { folio: usize },
    In { slot: usize, group: usize, order: u8 },
    Dup { slot: usize },
    Put { slot: usize, nr: usize },
    Split { folio: usize },
    Migrate { folio: usize },
    Bare { order: u8 },
    Shrink,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let some = 0..64usize;
    let limit = prop_oneof![Just(None), (0..40u64).prop_map(Some)];
    let op = prop_oneof![
        2 => (some.clone(), limit.clone(), limit).prop_map(|(parent, swap_max, memory_max)| Op::Create { parent, swap_max, memory_max }),
        2 => some.clone().prop_map(|group| Op::Remove { group }),
        1 => (some.clone(), 0..60u64, 0..60u64).prop_map(|(group, swap_max, memory_max)| Op::Limit { group, swap_max, memory_max }),
        6 => (some.clone(), 0..5u8, any::<bool>()).prop_map(|(group, order, is_zero)| Op::New { group, order, is_zero }),
        2 => some.clone().prop_map(|folio| Op::AllocSwap { folio }),
        1 => some.clone().prop_map(|folio| Op::FreeSwap { folio }),
        1 => some.clone().prop_map(|folio| Op::Drop { folio }),
        1 => some.clone().prop_map(|folio| Op::Forget { folio }),
        6 => some.clone().prop_map(|folio| Op::Out { folio }),
        6 => (some.clone(), some.clone(), 0..5u8).prop_map(|(slot, group, order)| Op::In { slot, group, order }),
        1 => some.clone().prop_map(|slot| Op::Dup { slot }),
        2 => (some.clone(), 1..12usize).prop_map(|(slot, nr)| Op::Put { slot, nr }),
        1 => some.clone().prop_map(|folio| Op::Split { folio }),
        1 => some.prop_map(|folio| Op::Migrate { folio }),
        1 => (0..3u8).prop_map(|order| Op::Bare { order }),
        1 => Just(Op::Shrink),
    ];
    vec(op, 1..60)
}

/// A subsystem with the groups, folios and slots of a program.
struct Machine<'s> {
    swap: &'s Swap,
    groups: Vec<CssId>,
    folios: Vec<MappedFolio<'s>>,
    /// One reference each.
    slots: Vec<SwpEntry>,
}

impl<'s> Machine<'s> {
    fn group(&self, number: usize) -> CssId {
        self.groups[number % self.groups.len()]
    }

    fn take(&mut self, number: usize) -> Option<MappedFolio<'s>> {
        (!self.folios.is_empty()).then(|| self.folios.swap_remove(number % self.folios.len()))
    }

    /// A step that fails changes only what the program holds.
    fn step(&mut self, op: &Op) {
        let groups = self.swap.memcg().expect("enabled");
        match *op {
            Op::Create { parent, swap_max, memory_max } => {
                if let Ok(group) = groups.create(self.group(parent), &self.groups.len().to_string()) {
                    group.swap.set_max(swap_max.unwrap_or(u64::MAX));
                    group.memory.set_max(memory_max.unwrap_or(u64::MAX));
                    self.groups.push(group.css());
                }
            }
            Op::Remove { group } => {
                let css = self.group(group);
                if groups.remove(css).is_ok() {
                    self.groups.retain(|&other| other != css);
                }
            }
            Op::Limit { group, swap_max, memory_max } => {
                let group = groups.get(self.group(group));
                group.swap.set_max(swap_max);
                group.memory.set_max(memory_max);
            }
            Op::New { group, order: log2, is_zero } => {
                let data = vec![u8::from(!is_zero); 64];
                if let Ok(folio) = self.swap.folio_with_in(order(log2), &data, self.group(group), CPU) {
                    self.folios.push(MappedFolio::map(folio));
                }
            }
            Op::AllocSwap { folio } if !self.folios.is_empty() => {
                let folio = &self.folios[folio % self.folios.len()];
                let _ = self.swap.on_cpu(CPU).expect("a cpu").folio_alloc_swap(folio.folio().folio());
            }
            Op::FreeSwap { folio } if !self.folios.is_empty() => {
                let folio = &self.folios[folio % self.folios.len()];
                let _ = self.swap.on_cpu(CPU).expect("a cpu").folio_free_swap(folio.folio().folio());
            }
            Op::Forget { folio } if !self.folios.is_empty() => {
                let folio = &self.folios[folio % self.folios.len()];
                let mut on_cpu = self.swap.on_cpu(CPU).expect("a cpu");
                let _ = on_cpu.swap_cache_del_folio(folio.folio().folio(), swapcore::table::Shadow::default());
            }
            Op::Drop { folio } => {
                if let Some(folio) = self.take(folio) {
                    self.swap.folio_unmap(folio, CPU).expect("a cpu");
                }
            }
            Op::Out { folio } => self.swap_out(folio),
            Op::In { slot, group, order } => self.swap_in(slot, group, order),
            Op::Dup { slot } if !self.slots.is_empty() => {
                let entry = self.slots[slot % self.slots.len()];
                self.swap.dup(entry, 1, CPU).expect("it has a reference");
                self.slots.push(entry);
                self.slots.sort_unstable();
            }
            Op::Put { slot, nr } if !self.slots.is_empty() => {
                let first = slot % self.slots.len();
                let run = self.slots[first..].iter().zip(0u32..).take(nr);
                let nr = run.take_while(|&(&entry, n)| entry == self.slots[first].plus(n)).count();
                let taken: Vec<_> = self.slots.drain(first..first + nr).collect();
                self.swap.put(taken[0], nr as u32, CPU).expect("one reference each");
            }
            Op::Split { folio } => {
                if let Some(folio) = self.take(folio) {
                    match self.swap.folio_split(folio, Order::ZERO, CPU) {
                        Ok(parts) => self.folios.extend(parts),
                        Err((folio, _)) => self.folios.push(folio),
                    }
                }
            }
            Op::Migrate { folio } => {
                if let Some(folio) = self.take(folio) {
                    let (Ok(folio) | Err((folio, _))) = self.swap.folio_migrate(folio, CPU);
                    self.folios.push(folio);
                }
            }
            Op::Bare { order: log2 } => {
                if let Ok(entry) = self.swap.alloc(order(log2), CPU) {
                    self.hold(entry, 1 << log2);
                }
            }
            Op::Shrink => {
                self.swap.shrink_swap_cache(u64::MAX, CPU).expect("a cpu");
            }
            _ => {}
        }
    }

    fn hold(&mut self, entry: SwpEntry, nr_pages: u32) {
        self.slots.extend((0..nr_pages).map(|page| entry.plus(page)));
        self.slots.sort_unstable();
    }

    fn swap_out(&mut self, folio: usize) {
        let Some(folio) = self.take(folio) else { return };
        let pages = folio.pages();
        match self.swap.swap_out(folio, CPU) {
            Ok(entry) => self.hold(entry.plus(pages.start), pages.len() as u32),
            Err(kept) => self.folios.push(kept.folio),
        }
    }

    fn swap_in(&mut self, slot: usize, group: usize, log2: u8) {
        if self.slots.is_empty() {
            return;
        }
        let first = slot % self.slots.len();
        let entry = self.slots[first];
        let how = Swapin { faulting: self.group(group), ..Swapin::new(CPU, Orders::one(order(log2))) };
        if let Ok(mapped) = self.swap.swap_in(entry, 1, &how) {
            self.slots.remove(first);
            self.folios.push(mapped);
        }
    }
}

/// The devices in front of the device with storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Front {
    Nothing,
    /// A virtual device with zswap.
    Virtual,
}

fn run(hierarchy: Hierarchy, wish: MemcgSwitches, front: Front, ops: &[Op]) -> Result<(), TestCaseError> {
    let switches = Switches { memcg: wish, ..Profile::Newest.switches() };
    let zswap = (front == Front::Virtual).then(|| ZswapOptions { max_pool_percent: 1, ..ZswapOptions::default() });
    let config = Config { memcg: Some(hierarchy), memory_pages: 1024, switches, zswap, ..Config::default() };
    let swap = Swap::with_config(config).expect("these go together");
    if front == Front::Virtual {
        ghost_on(&swap, 1 << 16, virtual_spec(Visibility::Hidden), 10);
    }
    swap.swapon_storage(Arc::new(Ram::new(2048).expect("a size")), None, Discard::None).expect("a device");
    let mut machine = Machine { swap: &swap, groups: vec![CssId::ROOT], folios: Vec::new(), slots: Vec::new() };
    for (number, op) in ops.iter().enumerate() {
        machine.step(op);
        let checked = swap.check();
        prop_assert!(checked.is_ok(), "after step {number}, {op:?}: {checked:?}");
    }
    let Machine { folios, slots, .. } = machine;
    for folio in folios {
        swap.folio_unmap(folio, CPU).expect("a cpu");
    }
    for slot in slots {
        swap.put(slot, 1, CPU).expect("one reference");
    }
    swap.shrink_swap_cache(u64::MAX, CPU).expect("a cpu");
    swap.check().expect("every invariant");
    prop_assert_eq!((used_slots(&swap), swap.memory_of_folios().nr_used_pages()), (0, 0));
    let groups = swap.memcg().expect("enabled");
    prop_assert!(
        groups.subtree(CssId::ROOT).into_iter().all(|css| groups.get(css).is_online()),
        "a dead group is left"
    );
    Ok(())
}

/// Every owner store with every rule for dead owners that it can keep.
fn wishes() -> Vec<MemcgSwitches> {
    let stores = [OwnerStore::Shadow, OwnerStore::Array, OwnerStore::ClusterTable, OwnerStore::Trampoline];
    let rules = [DeadSwapin::Reparent, DeadSwapin::FaultMm, DeadSwapin::ReparentIfShared];
    let both = stores.into_iter().flat_map(|owner_store| rules.into_iter().map(move |rule| (owner_store, rule)));
    both.filter(|&(store, rule)| store != OwnerStore::Shadow || rule != DeadSwapin::FaultMm)
        .map(|(owner_store, rule)| MemcgSwitches { owner_store, dead_swapin: Some(rule), ..MemcgSwitches::CANON })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn counters_of_v2_are_what_tables_and_folios_say(ops in ops()) {
        wishes().into_iter().try_for_each(|wish| run(Hierarchy::V2, wish, Front::Nothing, &ops))?;
    }

    #[test]
    fn counters_of_v1_are_what_tables_and_folios_say(ops in ops()) {
        wishes().into_iter().try_for_each(|wish| run(Hierarchy::V1, wish, Front::Nothing, &ops))?;
    }

    #[test]
    fn counters_of_v2_with_virtual_slots_are_what_tables_and_folios_say(ops in ops()) {
        wishes().into_iter().try_for_each(|wish| run(Hierarchy::V2, wish, Front::Virtual, &ops))?;
    }

    #[test]
    fn counters_of_v1_with_virtual_slots_are_what_tables_and_folios_say(ops in ops()) {
        wishes().into_iter().try_for_each(|wish| run(Hierarchy::V1, wish, Front::Virtual, &ops))?;
    }
}

/// The load of one thread: makes, fills, empties and removes groups, swaps folios of any group, and leaves slots to
/// other threads.
fn hammer(swap: &Arc<Swap>, cpu: CpuId, slots: &Mutex<Vec<SwpEntry>>, until: Instant) -> u64 {
    let groups = swap.memcg().expect("enabled");
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(cpu.0));
    let mut steps = 0;
    while Instant::now() < until {
        let parent = groups.create(CssId::ROOT, &format!("parent {cpu:?} {steps}")).expect("an id");
        parent.memory.set_max(200);
        parent.swap.set_max(if rng.random_ratio(1, 4) { 100 } else { u64::MAX });
        let child = groups.create(parent.css(), "child").expect("an id");
        let mm = Mm::in_group(swap.clone(), child.css()).expect("online");
        let vma = mm.mmap(256, VmaOptions { anon_order: 2, ..VmaOptions::default() }).expect("a mapping");
        for _ in 0..300 {
            steps += 1;
            let page = Vpn(vma.pages().start.0 + rng.random_range(0..256));
            // Refused when neither memory nor swap has room: nothing changes then.
            let _ = mm.write(page.0 * PAGE_SIZE as u64, &[cpu.0 as u8 + 1], cpu);
        }
        for _ in 0..30 {
            steps += 1;
            let owner = if rng.random() { child.css() } else { parent.css() };
            let log2 = rng.random_range(0..5);
            let Ok(folio) = swap.folio_with_in(order(log2), &[1; 99], owner, cpu) else { continue };
            match swap.swap_out(MappedFolio::map(folio), cpu) {
                Ok(entry) => {
                    let mut slots = slots.lock().expect("no thread panicked");
                    slots.extend((0..1 << log2).map(|page| entry.plus(page)));
                }
                Err(kept) => swap.folio_unmap(kept.folio, cpu).expect("a cpu"),
            }
        }
        drop(mm);
        drop(vma);
        // Slots of the removed groups stay in use; other threads swap them in.
        groups.remove(child.css()).expect("no task is in it");
        groups.remove(parent.css()).expect("its child is gone");
        for _ in 0..40 {
            steps += 1;
            let taken = {
                let mut slots = slots.lock().expect("no thread panicked");
                let nr = slots.len();
                (nr > 0).then(|| slots.swap_remove(rng.random_range(0..nr)))
            };
            let Some(entry) = taken else { break };
            let how = Swapin::new(cpu, Orders::one(order(rng.random_range(0..4))));
            if rng.random_ratio(1, 2)
                && let Ok(mapped) = swap.swap_in(entry, 1, &how)
            {
                swap.folio_unmap(mapped, cpu).expect("a cpu");
            } else {
                swap.put(entry, 1, cpu).expect("one reference");
            }
        }
    }
    steps
}

#[test]
fn eight_threads_charge_swap_and_remove_groups() {
    for (number, wish) in wishes().into_iter().enumerate() {
        for hierarchy in [Hierarchy::V2, Hierarchy::V1] {
            let switches = Switches { memcg: wish, ..Profile::Newest.switches() };
            let config =
                Config { memcg: Some(hierarchy), memory_pages: 16384, switches, ..Config::new(8, Profile::Newest) };
            let swap = Arc::new(Swap::with_config(config).expect("these go together"));
            swap.swapon_storage(Arc::new(Ram::new(1 << 16).expect("a size")), None, Discard::None).expect("a device");
            let slots = Mutex::default();
            let until = Instant::now() + stress_time() / (2 * wishes().len() as u32);
            let steps: u64 = std::thread::scope(|scope| {
                let spawn = |cpu| {
                    scope.spawn({
                        let (swap, slots) = (&swap, &slots);
                        move || hammer(swap, CpuId(cpu), slots, until)
                    })
                };
                let running: Vec<_> = (0..8).map(spawn).collect();
                running.into_iter().map(|thread| thread.join().expect("no thread panicked")).sum()
            });
            swap.check().expect("counters are what tables and folios say");
            for slot in slots.into_inner().expect("no thread panicked") {
                swap.put(slot, 1, CPU).expect("one reference");
            }
            swap.shrink_swap_cache(u64::MAX, CPU).expect("a cpu");
            swap.check().expect("every invariant");
            let groups = swap.memcg().expect("enabled");
            assert_eq!(groups.subtree(CssId::ROOT), [CssId::ROOT], "a dead group is left");
            assert_eq!(
                (used_slots(&swap), swap.memory_of_folios().nr_used_pages(), groups.root().id_refs()),
                (0, 0, 1)
            );
            println!("{number} {hierarchy:?} {:?}: {steps} steps", wish.owner_store);
        }
    }
}
