//! Tests of the public items of the core. All tests are in one binary, so that the crate is linked once.
//!
//! Each module has the tests of one subject. `loom` and `shuttle` are separate binaries, because each of them
//! compiles files of the core with its own atomics. The environment variable `SWAPCORE_STRESS_SECONDS` is the
//! duration of each load by threads. The environment variable `SWAPCORE_PROGRAMS` is a factor for the number of
//! random programs.

mod common;
mod programs;
mod tasks;

mod allocator {
    mod model;
    mod named_devices;
    mod onoff;
    mod random;
    pub(crate) mod readers;
}

mod data {
    mod checks;
    mod folios;
    mod generations;
    mod reclaim;
    mod storage;
    mod writeback;
    mod zswap;
}

mod ghost {
    mod clusters;
    mod races;
    mod resize;
}

mod memcg {
    mod files;
    mod oom;
    mod protection;
    mod random;
    mod shmem;
}

mod virtual_slots {
    mod random;
    mod steps;
    mod threads;
}
