//! Tests with random programs over a virtual device with zswap and two real devices. The real devices fail, and are
//! turned off and on. No data is lost, no slot or page leaks, and every invariant holds.

use swapcore::memcg::{Hierarchy, MemcgSwitches};
use swapcore::zswap::ZswapOptions;

use crate::common::nr_programs;
use crate::programs::{self, Failures, Ground};

#[test]
fn nothing_is_lost_or_leaked_whatever_fails() {
    let mut failed = Failures::new();
    let nr = nr_programs(300);
    for seed in 0..nr {
        let hierarchy = if seed % 4 == 0 { Hierarchy::V1 } else { Hierarchy::V2 };
        let zswap = ZswapOptions { is_enabled: seed % 16 < 12, max_pool_percent: 4, ..ZswapOptions::default() };
        let ground = Ground { hierarchy, memcg: MemcgSwitches::CANON, zswap: Some(zswap), has_failures: true };
        programs::run(seed, &ground).into_iter().for_each(|(what, nr)| *failed.entry(what).or_default() += nr);
    }
    println!("{nr} programs; refused or failed: {failed:?}");
    for what in ["swap_out", "swap_in", "writeback", "move", "realloc", "swapoff"] {
        assert!(failed.contains_key(what), "no {what} ever failed: {failed:?}");
    }
}
