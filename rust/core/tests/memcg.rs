//! Random programs over groups, folios and slots: after every step the counters are what tables and folios say.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use swapcore::memcg::{DeadSwapin, Hierarchy, MemcgWish, OwnerStore};
use swapcore::spec::Discard;
use swapcore::storage::Ram;
use swapcore::swapout::MappedFolio;
use swapcore::types::CssId;
use swapcore::{Config, CpuId, Order, Orders, Profile, Swap, Swapin, Switches, SwpEntry};

const CPU: CpuId = CpuId(0);

/// One step; numbers are taken modulo what there is.
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

/// A subsystem with what a program holds of it.
struct Machine<'s> {
    swap: &'s Swap,
    groups: Vec<CssId>,
    folios: Vec<MappedFolio<'s>>,
    /// One reference each.
    slots: Vec<SwpEntry>,
}

fn order(order: u8) -> Order {
    Order::new(order).expect("a small one")
}

impl<'s> Machine<'s> {
    fn group(&self, number: usize) -> CssId {
        self.groups[number % self.groups.len()]
    }

    fn take(&mut self, number: usize) -> Option<MappedFolio<'s>> {
        (!self.folios.is_empty()).then(|| self.folios.swap_remove(number % self.folios.len()))
    }

    /// Whatever fails changes nothing but what the program holds.
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

fn run(hierarchy: Hierarchy, wish: MemcgWish, ops: &[Op]) -> Result<(), TestCaseError> {
    let switches = Switches { memcg: wish, ..Profile::Newest.switches() };
    let config = Config { memcg: Some(hierarchy), memory_pages: 1024, switches, ..Config::default() };
    let swap = Swap::with_config(config).expect("these go together");
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
    let used: u64 = swap.devices().iter().map(|device| swap.inuse_pages(device.ty())).sum();
    prop_assert_eq!((used, swap.memory_of_folios().nr_used_pages()), (0, 0));
    let groups = swap.memcg().expect("enabled");
    prop_assert!(
        groups.subtree(CssId::ROOT).into_iter().all(|css| groups.get(css).is_online()),
        "a dead group is left"
    );
    Ok(())
}

/// Every owner store with every rule for dead owners that it can keep.
fn wishes() -> Vec<MemcgWish> {
    let stores = [OwnerStore::Shadow, OwnerStore::Array, OwnerStore::ClusterTable, OwnerStore::Trampoline];
    let rules = [DeadSwapin::Reparent, DeadSwapin::FaultMm, DeadSwapin::ReparentIfShared];
    let both = stores.into_iter().flat_map(|owner_store| rules.into_iter().map(move |rule| (owner_store, rule)));
    both.filter(|&(store, rule)| store != OwnerStore::Shadow || rule != DeadSwapin::FaultMm)
        .map(|(owner_store, rule)| MemcgWish { owner_store, dead_swapin: Some(rule), ..MemcgWish::CANON })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn counters_of_v2_are_what_tables_and_folios_say(ops in ops()) {
        wishes().into_iter().try_for_each(|wish| run(Hierarchy::V2, wish, &ops))?;
    }

    #[test]
    fn counters_of_v1_are_what_tables_and_folios_say(ops in ops()) {
        wishes().into_iter().try_for_each(|wish| run(Hierarchy::V1, wish, &ops))?;
    }
}
