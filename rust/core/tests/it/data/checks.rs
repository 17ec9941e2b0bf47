//! Tests of `Swap::check` while other threads work: each invariant holds whenever the check runs. Each element of
//! `WORKLOADS` changes the state that its invariants describe, while one thread calls `Swap::check` again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::types::CssId;
use swapcore::memcg::Hierarchy;
use swapcore::show::check::INVARIANTS;
use swapcore::zswap::ZswapOptions;
use swapcore::{
    Config, CpuId, FolioRef, GroupHandle, MappedFolio, Orders, Profile, Swap, SwapDevice, Swapin, SwpEntry, Visibility,
};

use crate::common::{Load, ghost_on, load, noise, order, page_of, ram, storage_on, virtual_spec};

const THREADS: u16 = 3;
const CPU_OF_CHECK: usize = 1;

/// The state that the threads of a workload share.
struct Machine {
    swap: Arc<Swap>,
    devices: Vec<Arc<SwapDevice>>,
    groups: Vec<GroupHandle>,
}

/// One step of a thread: an operation on the machine, on the slots that the thread holds and on its CPU.
type Step = fn(&Machine, &mut Vec<SwpEntry>, &mut ChaCha8Rng, CpuId);

struct Workload {
    name: &'static str,
    /// Numbers of the invariants that describe the state that the workload changes.
    invariants: &'static [&'static str],
    has_ghost: bool,
    has_zswap: bool,
    step: Step,
}

const WORKLOADS: [Workload; 6] = [
    Workload {
        name: "slots",
        invariants: &["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I11", "I12"],
        has_ghost: false,
        has_zswap: false,
        step: step_slots,
    },
    Workload {
        name: "folios of groups",
        invariants: &["I10", "I13", "I14", "I15", "I16", "I17", "I18", "I19", "I20"],
        has_ghost: false,
        has_zswap: false,
        step: step_folios,
    },
    Workload {
        name: "groups that come and go",
        invariants: &["I16", "I17", "I18", "I19", "I20"],
        has_ghost: false,
        has_zswap: false,
        step: step_groups,
    },
    Workload {
        name: "zswap",
        invariants: &["I17", "I18", "I19", "I21"],
        has_ghost: false,
        has_zswap: true,
        step: step_zswap,
    },
    Workload {
        name: "virtual slots",
        invariants: &["I18", "I21", "I22", "I23"],
        has_ghost: true,
        has_zswap: true,
        step: step_virtual,
    },
    Workload {
        name: "devices that go off and on",
        invariants: &["I5", "I6", "I7", "I11", "I12", "I22", "I23"],
        has_ghost: true,
        has_zswap: false,
        step: step_devices,
    },
];

impl Machine {
    fn new(workload: &Workload) -> Self {
        let nr_cpus = usize::from(THREADS) + CPU_OF_CHECK;
        let zswap = workload.has_zswap.then(|| ZswapOptions { max_pool_percent: 1, ..ZswapOptions::default() });
        let config =
            Config { memcg: Some(Hierarchy::V2), memory_pages: 4096, zswap, ..Config::new(nr_cpus, Profile::Newest) };
        let swap = Arc::new(Swap::with_config(config).expect("these go together"));
        let mut devices = vec![storage_on(&swap, ram(8192), 5), storage_on(&swap, ram(8192), 1)];
        if workload.has_ghost {
            devices.push(ghost_on(&swap, 1 << 20, virtual_spec(Visibility::Hidden), 10));
        }
        let root = GroupHandle::root(&swap).expect("memcg is on");
        let groups = (0..THREADS).map(|cpu| root.create(&format!("cpu {cpu}")).expect("a new name")).collect();
        Self { swap, devices, groups }
    }

    /// Allocates a folio of a random order, charged to the group of a CPU. Returns `None` when memory or the limit of
    /// the group is used up.
    fn folio(&self, rng: &mut ChaCha8Rng, cpu: CpuId) -> Option<FolioRef<'_>> {
        let log2 = [0, 0, 0, 2, 4, 9][rng.random_range(0..6)];
        let data = page_of(rng.random());
        self.swap.folio_with_in(order(log2), &data, self.groups[cpu.index()].css(), cpu).ok()
    }

    fn out(&self, rng: &mut ChaCha8Rng, cpu: CpuId) -> Option<SwpEntry> {
        let folio = self.folio(rng, cpu)?;
        match self.swap.swap_out(MappedFolio::map(folio), cpu) {
            Ok(entry) => Some(entry),
            Err(kept) => {
                self.swap.folio_unmap(kept.folio, cpu).expect("a CPU");
                None
            }
        }
    }

    fn swap_in(&self, entry: SwpEntry, cpu: CpuId) {
        let how = Swapin { faulting: self.groups[cpu.index()].css(), ..Swapin::new(cpu, Orders::ZERO) };
        match self.swap.swap_in(entry, 1, &how) {
            Ok(mapped) => self.swap.folio_unmap(mapped, cpu).expect("a CPU"),
            Err(error) => assert!([12, 16].contains(&error.errno()), "ENOMEM or EBUSY, not {error}"),
        }
    }
}

fn take(held: &mut Vec<SwpEntry>, rng: &mut ChaCha8Rng) -> Option<SwpEntry> {
    let at = rng.random_range(0..held.len().max(1));
    (at < held.len()).then(|| held.swap_remove(at))
}

fn step_slots(m: &Machine, held: &mut Vec<SwpEntry>, rng: &mut ChaCha8Rng, cpu: CpuId) {
    match rng.random_range(0..5) {
        0..2 => held.extend(m.swap.alloc(order([0, 0, 2, 9][rng.random_range(0..4)]), cpu)),
        2 => take(held, rng).into_iter().for_each(|entry| drop(m.swap.put(entry, 1, cpu))),
        3 => {
            let Some(&entry) = held.last() else { return };
            let mut on_cpu = m.swap.on_cpu(cpu).expect("a CPU");
            if on_cpu.dup(entry, 1).is_ok() {
                on_cpu.put(entry, 1).expect("in use");
            }
        }
        _ => drop(m.swap.run_workers()),
    }
}

fn step_folios(m: &Machine, held: &mut Vec<SwpEntry>, rng: &mut ChaCha8Rng, cpu: CpuId) {
    let css = m.groups[cpu.index()].css();
    match rng.random_range(0..16) {
        0..7 => held.extend(m.out(rng, cpu)),
        7..13 => take(held, rng).into_iter().for_each(|entry| m.swap_in(entry, cpu)),
        13 => drop(m.folio(rng, cpu)),
        14 => drop(m.swap.shrink_swap_cache(8, cpu)),
        _ => {
            let max = ["max", "4M", "2M"][rng.random_range(0..3)];
            let file = ["memory.max", "memory.swap.max"][rng.random_range(0..2)];
            m.swap.memcg_write(css, file, max, false, cpu).expect("a limit");
        }
    }
}

fn step_groups(m: &Machine, held: &mut Vec<SwpEntry>, rng: &mut ChaCha8Rng, cpu: CpuId) {
    let parent = &m.groups[cpu.index()];
    let Ok(group) = parent.create("child") else { return };
    let folio = m.swap.folio_with_in(order(0), b"data", group.css(), cpu);
    if let Ok(folio) = folio
        && let Ok(entry) = m.swap.swap_out(MappedFolio::map(folio), cpu)
    {
        held.push(entry);
    }
    group.remove().expect("no task and no child");
    if held.len() > 16 {
        take(held, rng).into_iter().for_each(|entry| m.swap_in(entry, cpu));
    }
}

fn step_zswap(m: &Machine, held: &mut Vec<SwpEntry>, rng: &mut ChaCha8Rng, cpu: CpuId) {
    match rng.random_range(0..8) {
        // The results are ignored, because a writeback may find no page, or a page that another thread uses.
        0 => drop(m.swap.shrink_memcg(m.groups[cpu.index()].css(), cpu)),
        1 => drop(m.swap.zswap_shrink_worker(cpu)),
        2 => held.last().into_iter().for_each(|&entry| drop(m.swap.zswap_writeback_entry(entry, cpu))),
        _ => step_folios(m, held, rng, cpu),
    }
}

fn step_virtual(m: &Machine, held: &mut Vec<SwpEntry>, rng: &mut ChaCha8Rng, cpu: CpuId) {
    match rng.random_range(0..8) {
        0..2 => {
            let Some(&entry) = held.last() else { return };
            let to = &m.devices[rng.random_range(0..2)];
            drop(m.swap.move_backing(entry, to.ty(), cpu));
        }
        2 => {
            let folio = m.swap.folio_with_in(order(0), &noise(rng.random()), CssId::ROOT, cpu).expect("memory");
            if m.swap.folio_alloc_swap(&folio, cpu).is_ok() {
                drop(m.swap.folio_realloc_swap(&folio, cpu));
            }
        }
        _ => step_zswap(m, held, rng, cpu),
    }
}

fn step_devices(m: &Machine, held: &mut Vec<SwpEntry>, rng: &mut ChaCha8Rng, cpu: CpuId) {
    if cpu.0 == 0 {
        let device = storage_on(&m.swap, ram(2048), 20);
        drop(m.swap.resize(&m.devices[2], [1 << 20, 1 << 19][rng.random_range(0..2)]));
        // The result is ignored. If a slot of the device is in use, the device stays on until the subsystem is
        // dropped.
        drop(m.swap.swapoff_without_hook(&device));
        return;
    }
    step_virtual(m, held, rng, cpu);
}

fn run(workload: &Workload) {
    let m = Machine::new(workload);
    let nr_checks = std::sync::atomic::AtomicU64::new(0);
    let goes_on = load(|| nr_checks.load(Ordering::Relaxed) > 20);
    let is_broken = AtomicBool::new(false);
    let (m, goes_on, is_broken, nr_checks) = (&m, &goes_on, &is_broken, &nr_checks);
    std::thread::scope(|scope| {
        for cpu in 0..THREADS {
            scope.spawn(move || {
                let (mut held, mut rng) = (Vec::new(), ChaCha8Rng::seed_from_u64(cpu.into()));
                while goes_on() && !is_broken.load(Ordering::Relaxed) {
                    (workload.step)(m, &mut held, &mut rng, CpuId(cpu));
                }
            });
        }
        while goes_on() {
            let checked = m.swap.check();
            nr_checks.fetch_add(1, Ordering::Relaxed);
            is_broken.store(checked.is_err(), Ordering::Relaxed);
            assert_eq!(checked, Ok(()), "{}, after {nr_checks:?} checks", workload.name);
        }
    });
    println!("{}: {} checks", workload.name, nr_checks.load(Ordering::Relaxed));
    m.swap.check().expect("every invariant");
}

#[test]
fn the_workloads_change_the_state_of_every_invariant() {
    for (number, _) in INVARIANTS {
        assert!(WORKLOADS.iter().any(|workload| workload.invariants.contains(&number)), "{number}");
    }
}

#[test]
fn slots_are_sound_at_any_time() {
    run(&WORKLOADS[0]);
}

#[test]
fn folios_of_groups_are_sound_at_any_time() {
    run(&WORKLOADS[1]);
}

#[test]
fn groups_that_come_and_go_are_sound_at_any_time() {
    run(&WORKLOADS[2]);
}

#[test]
fn zswap_is_sound_at_any_time() {
    run(&WORKLOADS[3]);
}

#[test]
fn virtual_slots_are_sound_at_any_time() {
    run(&WORKLOADS[4]);
}

#[test]
fn devices_that_go_off_and_on_are_sound_at_any_time() {
    run(&WORKLOADS[5]);
}

#[test]
fn address_spaces_are_sound_at_any_time() {
    let config = Config { memory_pages: 2048, ..Config::new(usize::from(THREADS) + CPU_OF_CHECK, Profile::Newest) };
    let config = Config { memcg: Some(Hierarchy::V2), ..config };
    let swap = Arc::new(Swap::with_config(config).expect("these go together"));
    storage_on(&swap, ram(1 << 14), 1);
    let goes_on = &load(|| true);
    std::thread::scope(|scope| {
        for cpu in 0..THREADS {
            let swap = &swap;
            scope.spawn(move || Load { may_fail: true, ..Load::new(cpu, 1024) }.run(swap, goes_on));
        }
        while goes_on() {
            assert_eq!(swap.check(), Ok(()));
        }
    });
    swap.check().expect("every invariant");
}
