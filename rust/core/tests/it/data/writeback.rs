//! Tests of queued writes with threads. The address spaces are larger than memory, and writes and reads may fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use swapcore::storage::header::SwapHeader;
use swapcore::storage::{FaultPlan, Faulty, File, FileOptions};
use swapcore::{Config, CpuId, Profile, Swap, Writeback};

use crate::common::{CPU, Dir, Load, assert_empty, check_now_and_then, stat, swap_on};

const THREADS: u16 = 3;

/// Runs threads that read and write address spaces, while another thread ends writes if `has_worker` is true.
fn hammer(swap: &Arc<Swap>, has_worker: bool) {
    let nr_running = AtomicUsize::new(usize::from(THREADS));
    std::thread::scope(|scope| {
        for cpu in 0..THREADS {
            let (mut steps, nr_running) = (0..3000, &nr_running);
            scope.spawn(move || {
                Load { may_fail: true, ..Load::new(cpu, 500) }.run(swap, || steps.next().is_some());
                nr_running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        if has_worker {
            scope.spawn(|| {
                while nr_running.load(Ordering::Relaxed) > 0 {
                    swap.complete_writeback(3, CpuId(THREADS)).expect("a CPU");
                    std::thread::yield_now();
                }
            });
        }
        scope.spawn(|| check_now_and_then(swap));
    });
}

#[test]
fn threads_fault_while_writes_are_queued_and_some_fail() {
    for (workingset, has_worker) in [("classic", false), ("classic", true), ("mglru", false), ("mglru", true)] {
        let dir = Dir::new(&format!("queued-{workingset}-{has_worker}"));
        let path = dir.path().join("swap");
        let header = SwapHeader { last_page: 16383, bad_pages: vec![], uuid: [1; 16], label: "t".into() };
        File::create(&path, &header, true).expect("room");
        let file = File::open(&path, &FileOptions { is_block_device: Some(true), ..FileOptions::default() });
        let faulty = Arc::new(Faulty::new(Arc::new(file.expect("a swap file")), 1));
        let config = Config::new(usize::from(THREADS) + 1, Profile::V618);
        let config =
            Config { writeback: Writeback::Queued, memory_pages: 1024, workingset: workingset.into(), ..config };
        let swap = swap_on(config, faulty.clone());
        let plan = FaultPlan { write_error_probability: 0.01, read_error_probability: 0.01, ..FaultPlan::default() };
        faulty.set_plan(plan).expect("a plan");
        hammer(&swap, has_worker);
        faulty.set_plan(FaultPlan::default()).expect("a plan");
        assert!(stat(&swap, "pgsteal") > 0 && stat(&swap, "pswpin") > 0 && stat(&swap, "write_errors") > 0);
        swap.complete_writeback(u64::MAX, CPU).expect("a CPU");
        assert_eq!(swap.nr_queued_writes(), 0);
        assert_empty(&swap);
    }
}
