//! Random programs that run on the allocator and on a naive model. The allocator and the model agree on every slot,
//! count, list, hint and priority.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use swapcore::cluster::ListId;
use swapcore::table::EntryKind;
use swapcore::{Config, CpuId, DeviceSpec, Order, Profile, Swap, SwapError, SwpEntry, SwpOffset, SwpType, Workers};

use super::model::{Model, NR_ORDERS, Place, Rules};
use crate::common::C;

const NR_CPUS: usize = 2;
const MAX_DEVICES: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Alloc { order: u8, cpu: u16 },
    AllocMany { n: usize, order: u8, cpu: u16 },
    Put { run: Index, skip: Index, nr: Index },
    PutAll { run: Index },
    Dup { run: Index, times: u32 },
    FreeEveryOther { device: Index },
    RunWorkers,
    Swapon(DeviceSpec),
    Swapoff { device: Index, by_hook: bool },
}

fn order() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), 0..NR_ORDERS as u8]
}

fn device() -> impl Strategy<Value = DeviceSpec> {
    let size = prop_oneof![2..3 * C, (1..=4u32).prop_map(|n| n * C)];
    let bad_pages = prop_oneof![3 => Just(Vec::new()), 1 => vec(any::<Index>(), 1..6)];
    let priority = select(vec![None, Some(0), Some(5), Some(5), Some(9)]);
    (size, bad_pages, priority).prop_map(|(max_pages, bad, priority)| {
        // Slot 1 is never bad, so that every device has a slot to hand out.
        let choices = (max_pages - 2) as usize;
        let mut bad_pages: Vec<u32> =
            bad.iter().filter(|_| choices > 0).map(|page| page.index(choices.max(1)) as u32 + 2).collect();
        bad_pages.sort_unstable();
        bad_pages.dedup();
        DeviceSpec { bad_pages, priority, ..DeviceSpec::new(max_pages) }
    })
}

fn op() -> impl Strategy<Value = Op> {
    let cpu = || 0..NR_CPUS as u16;
    let index = any::<Index>;
    prop_oneof![
        6 => (order(), cpu()).prop_map(|(order, cpu)| Op::Alloc { order, cpu }),
        4 => (1..900usize, order(), cpu()).prop_map(|(n, order, cpu)| Op::AllocMany { n, order, cpu }),
        6 => (index(), index(), index()).prop_map(|(run, skip, nr)| Op::Put { run, skip, nr }),
        4 => index().prop_map(|run| Op::PutAll { run }),
        2 => (index(), select(vec![1, 2, 14, 16])).prop_map(|(run, times)| Op::Dup { run, times }),
        1 => index().prop_map(|device| Op::FreeEveryOther { device }),
        1 => Just(Op::RunWorkers),
        1 => device().prop_map(Op::Swapon),
        1 => (index(), any::<bool>()).prop_map(|(device, by_hook)| Op::Swapoff { device, by_hook }),
    ]
}

/// A run that was handed out earlier. Some of its slots may be free again or belong to a newer run.
#[derive(Clone, Copy, Debug)]
struct Run {
    ty: u8,
    first: u32,
    nr: u32,
}

fn entry(ty: u8, slot: u32) -> SwpEntry {
    SwpEntry::new(SwpType(ty), SwpOffset(slot))
}

/// The allocator, the model, and the runs that were allocated.
struct Pair {
    swap: Swap,
    model: Model,
    runs: Vec<Run>,
}

impl Pair {
    fn new(profile: Profile, workers: Workers) -> Self {
        let rules = Rules {
            descending: profile == Profile::V618,
            relocate: profile == Profile::Series,
            inline: workers == Workers::Inline,
        };
        let config = Config { workers, ..Config::new(NR_CPUS, profile) };
        let swap = Swap::with_config(config).expect("a valid machine");
        Self { swap, model: Model::new(NR_CPUS, rules), runs: Vec::new() }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Alloc { order, cpu } => {
                self.alloc(*order, *cpu);
            }
            Op::AllocMany { n, order, cpu } => {
                (0..*n).take_while(|_| self.alloc(*order, *cpu)).count();
            }
            Op::Put { run, skip, nr } => {
                if let Some(run) = self.pick(run) {
                    let skip = skip.index(run.nr as usize) as u32;
                    self.put(Run { first: run.first + skip, nr: nr.index((run.nr - skip) as usize) as u32 + 1, ..run });
                }
            }
            Op::PutAll { run } => {
                if let Some(run) = self.pick(run) {
                    self.put(run);
                }
            }
            Op::Dup { run, times } => {
                if let Some(run) = self.pick(run) {
                    self.dup(run, *times);
                }
            }
            Op::FreeEveryOther { device } => {
                if let Some(ty) = self.pick_device(device) {
                    let slots: Vec<u32> = self.model.devices[&ty].slots.keys().copied().step_by(2).collect();
                    slots.into_iter().for_each(|first| self.put(Run { ty, first, nr: 1 }));
                }
            }
            Op::RunWorkers => {
                self.swap.run_workers();
                self.model.run_workers();
            }
            Op::Swapon(spec) => self.swapon(spec),
            Op::Swapoff { device, by_hook } => {
                if let Some(ty) = self.pick_device(device) {
                    self.swapoff(ty, *by_hook);
                }
            }
        }
        self.compare();
    }

    fn pick(&self, run: &Index) -> Option<Run> {
        (!self.runs.is_empty()).then(|| self.runs[run.index(self.runs.len())])
    }

    fn pick_device(&self, device: &Index) -> Option<u8> {
        let types: Vec<u8> = self.model.devices.keys().copied().collect();
        (!types.is_empty()).then(|| types[device.index(types.len())])
    }

    /// Allocates a run in the allocator and in the model. Returns whether a run was free.
    fn alloc(&mut self, order: u8, cpu: u16) -> bool {
        let got = self.swap.alloc(Order::new(order).expect("an order"), CpuId(cpu));
        let want = self.model.alloc(order.into(), cpu.into());
        match (&got, want) {
            (Ok(got), Some((ty, slot))) => assert_eq!(*got, entry(ty, slot)),
            (Err(SwapError::NoSpace { .. }), None) => return false,
            _ => panic!("order {order}: allocator {got:?}, model {want:?}"),
        }
        self.runs.extend(want.map(|(ty, first)| Run { ty, first, nr: 1 << order }));
        true
    }

    /// Drops one reference of each slot of a run. If a slot has no reference, the test expects an error and no
    /// change.
    fn put(&mut self, run: Run) {
        let got = self.swap.put(entry(run.ty, run.first), run.nr, CpuId(0));
        if self.model.is_referenced(run.ty, run.first, run.nr) {
            got.expect("every slot has a reference");
            self.model.put(run.ty, run.first, run.nr);
        } else {
            let outside = run.first == 0 || run.first + run.nr > self.model.devices[&run.ty].max_pages;
            let is_refused = match got {
                Err(SwapError::BadRange { .. }) => outside,
                Err(SwapError::NotInUse(_) | SwapError::BadSlot(_)) => !outside,
                _ => false,
            };
            assert!(is_refused, "{run:?}: {got:?}");
        }
    }

    fn dup(&mut self, run: Run, times: u32) {
        for _ in 0..times {
            let got = self.swap.dup(entry(run.ty, run.first), run.nr, CpuId(1));
            if self.model.is_referenced(run.ty, run.first, run.nr) {
                got.expect("every slot has a reference");
                self.model.dup(run.ty, run.first, run.nr);
            } else {
                assert!(matches!(got, Err(SwapError::NotInUse(_))), "{run:?}: {got:?}");
            }
        }
    }

    fn swapon(&mut self, spec: &DeviceSpec) {
        if self.model.devices.len() < MAX_DEVICES {
            let device = self.swap.swapon(spec).expect("a valid device");
            let ty = self.model.swapon(spec.max_pages, &spec.bad_pages, spec.priority.map(i32::from));
            assert_eq!(device.ty(), SwpType(ty));
            assert_eq!(device.pages(), self.model.devices[&ty].pages);
        }
    }

    fn swapoff(&mut self, ty: u8, by_hook: bool) {
        let device = self.swap.device(SwpType(ty)).expect("it is on");
        let mut unused = Vec::new();
        let swap = &self.swap;
        let mut put_all = |entry: SwpEntry, count| {
            unused.push((entry.offset().0, count));
            (0..count).try_for_each(|_| swap.put(entry, 1, CpuId(0)))
        };
        if by_hook {
            swap.swapoff(&device, &mut put_all).expect("everything was given back");
            let device = &self.model.devices[&ty];
            let in_use: Vec<_> = device.slots.iter().filter(|(_, count)| **count != u32::MAX).collect();
            assert!(unused.iter().map(|(slot, count)| (slot, count)).eq(in_use), "type {ty}: other slots were unused");
        } else if self.model.devices[&ty].inuse > 0 {
            // The hook frees nothing, so the swapoff fails. The device is then behind the devices with the same
            // priority.
            let got = swap.swapoff(&device, |_, _| Ok(()));
            assert!(matches!(got, Err(SwapError::StillInUse { .. })), "{got:?}");
            self.model.fail_swapoff(ty);
            return;
        } else {
            swap.swapoff(&device, |_, _| panic!("nothing is in use")).expect("nothing is in use");
        }
        self.model.swapoff(ty);
        self.runs.retain(|run| run.ty != ty);
    }

    /// Compares counters, lists, hints and the order of devices, and proves the invariants of the allocator.
    fn compare(&self) {
        self.swap.check().expect("invariants");
        assert_eq!(self.swap.nr_swap_pages(), i64::from(self.model.nr_swap_pages()));
        assert_eq!(self.swap.vm_swap_full(), self.model.is_half_full());
        let avail: Vec<u8> = self.swap.dump_avail().into_iter().map(|ty| ty.0).collect();
        assert_eq!(avail, self.model.avail);
        let devices = self.swap.dump_devices();
        assert_eq!(devices.len(), self.model.devices.len());
        for (dump, (ty, device)) in devices.iter().zip(&self.model.devices) {
            assert_eq!((dump.ty, dump.prio, dump.inuse_pages), (SwpType(*ty), device.prio, device.inuse.into()));
            let mut lists: Vec<_> = dump.lists.iter().map(|(id, list)| (place_of(*id), list)).collect();
            lists.sort_by_key(|(place, _)| *place);
            let lists: Vec<_> =
                lists.into_iter().map(|(place, list)| (place, list.iter().map(|c| c.0).collect())).collect();
            assert_eq!(lists, device.lists(), "type {ty}");
        }
        for (cpu, (real, model)) in self.swap.dump_hints().iter().zip(&self.model.hints).enumerate() {
            let model = model.map(|hint| hint.map_or(SwpEntry::NONE, |(ty, slot)| entry(ty, slot)));
            // A hint with slot 0 means no hint, but still has the type of a device, as in the kernel. This type has
            // no effect, so the test does not compare it.
            let real = real.map(|hint| if hint.offset().0 == 0 { SwpEntry::NONE } else { hint });
            assert_eq!(real, model, "cpu {cpu}");
        }
    }

    /// Compares the kind and count of every slot.
    fn compare_slots(&self) {
        let mut cpu = self.swap.on_cpu(CpuId(0)).expect("a CPU");
        for (ty, device) in &self.model.devices {
            for slot in 0..device.max_pages {
                let want = match device.slots.get(&slot) {
                    None => (EntryKind::Null, 0),
                    Some(&u32::MAX) => (EntryKind::Bad, 0),
                    Some(&count) => (EntryKind::Shadow, count),
                };
                let at = entry(*ty, slot);
                let kind = cpu.lookup(at).expect("a slot of the device").kind();
                assert_eq!((kind, cpu.swap_count(at).expect("a slot of the device")), want, "{at}");
            }
        }
    }

    /// Drops every reference and proves that the devices are empty.
    fn drain(mut self) {
        self.compare_slots();
        for ty in self.model.devices.keys().copied().collect::<Vec<_>>() {
            for (slot, count) in self.model.devices[&ty].slots.clone() {
                let times = if count == u32::MAX { 0 } else { count };
                (0..times).for_each(|_| self.put(Run { ty, first: slot, nr: 1 }));
            }
            assert_eq!(self.swap.inuse_pages(SwpType(ty)), 0);
        }
        self.compare();
    }
}

fn place_of(list: ListId) -> Place {
    match list {
        ListId::Free => Place::Free,
        ListId::Nonfull(order) => Place::Nonfull(order.index()),
        ListId::Frag(order) => Place::Frag(order.index()),
        ListId::Full => Place::Full,
        ListId::Discard => panic!("no device here discards"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_agree_with_the_model(
        profile in select(vec![Profile::V618, Profile::P3, Profile::Series, Profile::Newest]),
        workers in select(vec![Workers::Inline, Workers::Manual]),
        devices in vec(device(), 1..=2),
        ops in vec(op(), 1..50),
    ) {
        let mut pair = Pair::new(profile, workers);
        devices.iter().for_each(|spec| pair.swapon(spec));
        ops.iter().for_each(|op| pair.step(op));
        pair.drain();
    }

    #[test]
    fn no_two_runs_of_a_full_device_overlap(spec in device(), orders in vec(order(), 1..200)) {
        let mut pair = Pair::new(Profile::Newest, Workers::Inline);
        pair.swapon(&spec);
        for order in orders {
            pair.alloc(order, 0);
        }
        while pair.alloc(0, 0) {}
        let mut slots: Vec<u32> = pair.runs.iter().flat_map(|run| run.first..run.first + run.nr).collect();
        slots.sort_unstable();
        let usable: Vec<u32> = (1..spec.max_pages).filter(|slot| !spec.bad_pages.contains(slot)).collect();
        prop_assert_eq!(slots, usable);
        pair.drain();
    }
}
