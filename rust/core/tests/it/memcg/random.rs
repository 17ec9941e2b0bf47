//! Tests with random programs over groups, for every owner store, and tests with threads that charge, swap and remove
//! groups.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::memcg::{DeadSwapin, Hierarchy, MemcgSwitches, OwnerStore};
use swapcore::mm::{Mm, VmaOptions};
use swapcore::readahead::Vpn;
use swapcore::zswap::ZswapOptions;
use swapcore::{Config, CpuId, MappedFolio, Orders, Profile, Swap, Swapin, Switches, SwpEntry};

use crate::common::{CPU, assert_empty, nr_programs, order, ram, stress_time, swap_on};
use crate::programs::{self, Ground};

/// Returns every pair of an owner store (the place where owners of slots are recorded) and a rule for slots of dead
/// owners that the store can implement.
fn wishes() -> Vec<MemcgSwitches> {
    let stores = [OwnerStore::Shadow, OwnerStore::Array, OwnerStore::ClusterTable, OwnerStore::Trampoline];
    let rules = [DeadSwapin::Reparent, DeadSwapin::FaultMm, DeadSwapin::ReparentIfShared];
    let both = stores.into_iter().flat_map(|owner_store| rules.into_iter().map(move |rule| (owner_store, rule)));
    both.filter(|&(store, rule)| store != OwnerStore::Shadow || rule != DeadSwapin::FaultMm)
        .map(|(owner_store, rule)| MemcgSwitches { owner_store, dead_swapin: Some(rule), ..MemcgSwitches::CANON })
        .collect()
}

/// Runs random programs. With `max_pool_percent` the subsystem has virtual slots with zswap, and zswap may take this
/// percentage of memory.
fn run_programs(hierarchy: Hierarchy, max_pool_percent: Option<u32>) {
    let zswap = max_pool_percent.map(|max_pool_percent| ZswapOptions { max_pool_percent, ..ZswapOptions::default() });
    for memcg in wishes() {
        let ground = Ground { hierarchy, memcg, zswap, has_failures: false };
        (0..nr_programs(48)).for_each(|seed| drop(programs::run(seed, &ground)));
    }
}

#[test]
fn counters_of_v2_are_what_tables_and_folios_say() {
    run_programs(Hierarchy::V2, None);
}

#[test]
fn counters_of_v1_are_what_tables_and_folios_say() {
    run_programs(Hierarchy::V1, None);
}

#[test]
fn counters_of_v2_with_virtual_slots_are_what_tables_and_folios_say() {
    run_programs(Hierarchy::V2, Some(1));
}

#[test]
fn counters_of_v1_with_virtual_slots_are_what_tables_and_folios_say() {
    run_programs(Hierarchy::V1, Some(1));
}

/// Runs the load of one thread. The thread creates, fills, empties and removes groups, and swaps out folios of these
/// groups. All threads share the list `slots`, and any thread swaps the slots in or frees the slots.
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
            // The result is ignored. A write fails when neither memory nor swap has room, and then changes nothing.
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
        // Slots of the removed groups stay in use until a thread swaps them in or frees them.
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
            let swap = swap_on(config, ram(1 << 16));
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
            assert_empty(&swap);
            let groups = swap.memcg().expect("enabled");
            assert_eq!(groups.subtree(CssId::ROOT), [CssId::ROOT], "a removed group is not freed");
            assert_eq!(groups.root().id_refs(), 1);
            println!("{number} {hierarchy:?} {:?}: {steps} steps", wish.owner_store);
        }
    }
}

#[test]
fn a_task_moves_between_groups_that_are_removed_while_it_faults() {
    for wish in wishes() {
        let switches = Switches { memcg: wish, ..Profile::Newest.switches() };
        let config =
            Config { memcg: Some(Hierarchy::V2), memory_pages: 4096, switches, ..Config::new(2, Profile::Newest) };
        let swap = swap_on(config, ram(1 << 14));
        let groups = swap.memcg().expect("enabled");
        let mm = Mm::in_group(swap.clone(), CssId::ROOT).expect("online");
        let vma = mm.mmap(512, VmaOptions { anon_order: 2, ..VmaOptions::default() }).expect("a mapping");
        let start = vma.pages().start;
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| {
                for step in 0..2000 {
                    let css = groups.create(CssId::ROOT, &format!("g{step}")).expect("a new name").css();
                    let old = mm.css();
                    mm.enter_group(css).expect("online");
                    // A forked task may still be in the group, so the removal is repeated.
                    while old != CssId::ROOT && swap.remove_group(old, CpuId(1)).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
            for step in 0_u64.. {
                let page = step * 7 % 512;
                let address = (start.0 + page) * PAGE_SIZE as u64;
                mm.write(address, &step.to_ne_bytes(), CPU).expect("a removed group refuses no fault");
                if step % 64 == 0 {
                    mm.pageout(Vpn(start.0 + page)..Vpn(start.0 + 512), CPU).expect("mapped");
                    drop(mm.fork(CPU).expect("a removed group refuses no fork"));
                }
                if mover.is_finished() {
                    break;
                }
            }
        });
        swap.check().expect("counters are what tables and folios say");
        drop((vma, mm));
        assert_empty(&swap);
    }
}
