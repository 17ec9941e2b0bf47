//! Tests of the OOM killer with threads: tasks end while they fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use swapcore::base::limits::PAGE_SIZE;
use swapcore::memcg::{Hierarchy, MemcgEvent};
use swapcore::mm::VmaOptions;
use swapcore::{Config, CpuId, GroupHandle, Mm, Profile, Swap, SwapError};

use crate::common::{CPU, assert_empty, load, ram, swap_on};

const NR_PAGES: u64 = 48;
const LIMIT: &str = "256K";

fn machine() -> Arc<Swap> {
    let mut config = Config { memcg: Some(Hierarchy::V2), memory_pages: 4096, ..Config::new(2, Profile::Newest) };
    for (name, word) in [("memcg_stock", "off"), ("oom", "kill")] {
        config.switches.set(name, word).expect("a switch");
    }
    swap_on(config, ram(32))
}

/// Writes the pages of a task until the task ends. Returns whether the OOM killer has ended the task.
fn run(mm: &Mm, cpu: CpuId) -> bool {
    let vma = match mm.mmap(NR_PAGES, VmaOptions { anon_order: 2, ..VmaOptions::default() }) {
        Ok(vma) => vma,
        Err(error) => return error == SwapError::Killed,
    };
    for page in vma.pages().start.0..vma.pages().end.0 {
        match mm.write(page * PAGE_SIZE as u64, &page.to_ne_bytes(), cpu) {
            Ok(()) => {}
            Err(SwapError::Killed | SwapError::OverLimit { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    mm.is_killed()
}

#[test]
fn tasks_that_end_in_a_fault_leave_no_page_behind() {
    let swap = machine();
    let group = GroupHandle::root(&swap).expect("memcg").create("a").expect("a group");
    swap.memcg_write(group.css(), "memory.max", LIMIT, false, CPU).expect("a limit");
    let nr_killed = Arc::new(AtomicU64::new(0));
    let loads: Vec<_> = (0..4)
        .map(|number| {
            let (swap, css, nr_killed) = (swap.clone(), group.css(), nr_killed.clone());
            thread::spawn(move || {
                let goes_on = load(|| nr_killed.load(Ordering::Relaxed) > 0);
                while goes_on() {
                    let mm = Mm::in_group(swap.clone(), css).expect("an online group");
                    nr_killed.fetch_add(u64::from(run(&mm, CpuId(number % 2))), Ordering::Relaxed);
                }
            })
        })
        .collect();
    loads.into_iter().for_each(|handle| handle.join().expect("no panic"));
    let nr_killed = nr_killed.load(Ordering::Relaxed);
    swap.check().expect("every invariant");
    // A task can be killed after its last access, so that `run` does not see it.
    assert!(group.group().events(MemcgEvent::OomKill) >= nr_killed);
    assert!(nr_killed > 0, "four tasks need more than the limit and the device together");
    assert_empty(&swap);
}
