//! Tests of the OOM killer with threads: tasks end while they fault.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use swapcore::base::limits::PAGE_SIZE;
use swapcore::memcg::{Hierarchy, MemcgEvent};
use swapcore::mm::VmaOptions;
use swapcore::{Config, CpuId, GroupHandle, Mm, Profile, Swap, SwapError};

use crate::common::{CPU, assert_empty, ram, stress_time, swap_on};

const NR_PAGES: u64 = 48;
const LIMIT: &str = "256K";

fn machine() -> Arc<Swap> {
    let mut config = Config { memcg: Some(Hierarchy::V2), memory_pages: 4096, ..Config::new(2, Profile::Newest) };
    for (name, word) in [("memcg_stock", "off"), ("oom", "kill")] {
        config.switches.set(name, word).expect("a switch");
    }
    swap_on(config, ram(32))
}

/// Writes and reads pages of a task until the task ends. Returns whether the OOM killer has ended the task.
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
    let (start, time) = (Instant::now(), stress_time());
    let loads: Vec<_> = (0..4)
        .map(|number| {
            let (swap, css) = (swap.clone(), group.css());
            thread::spawn(move || {
                let mut nr_killed = 0;
                while start.elapsed() < time {
                    let mm = Mm::in_group(swap.clone(), css).expect("an online group");
                    nr_killed += u64::from(run(&mm, CpuId(number % 2)));
                }
                nr_killed
            })
        })
        .collect();
    let nr_killed: u64 = loads.into_iter().map(|load| load.join().expect("no panic")).sum();
    swap.check().expect("every invariant");
    // A task can be killed after its last access, so that `run` does not see it.
    assert!(group.group().events(MemcgEvent::OomKill) >= nr_killed);
    assert!(nr_killed > 0, "four tasks need more than the limit and the device together");
    assert_empty(&swap);
}
