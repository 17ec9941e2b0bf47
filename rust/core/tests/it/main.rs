//! Tests of the core through its public items, in one binary so that the crate is linked once.
//!
//! A module has the tests of one subject. `loom` and `shuttle` are binaries of their own, because each compiles files
//! of the core with atomics of its own. `SWAPCORE_STRESS_SECONDS` is the duration of each load by threads, and
//! `SWAPCORE_PROGRAMS` multiplies the number of random programs.

mod common;
mod programs;

mod allocator {
    mod model;
    mod onoff;
    mod random;
    pub(crate) mod readers;
}

mod data {
    mod folios;
    mod generations;
    mod reclaim;
    mod storage;
    mod zswap;
}

mod ghost {
    mod clusters;
    mod races;
    mod resize;
}

mod memcg {
    mod files;
    mod protection;
    mod random;
}

mod virtual_slots {
    mod random;
    mod steps;
    mod threads;
}
