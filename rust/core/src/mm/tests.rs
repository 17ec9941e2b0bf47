//! Tests of a page fault of a task that moves to another group during the fault.

use std::cell::Cell;

use super::*;
use crate::memcg::Hierarchy;
use crate::{Config, Profile};

const CPU: CpuId = CpuId(0);

fn removed() -> SwapError {
    SwapError::cgroup(rustix::io::Errno::NODEV, "the group is removed".into())
}

fn swap_with_groups() -> Arc<Swap> {
    let config = Config { memcg: Some(Hierarchy::V2), ..Config::new(1, Profile::Newest) };
    Arc::new(Swap::with_config(config).expect("a good config"))
}

/// The task moves twice while a fault charges the task's first group. The number of the removed first group must not
/// be given to the second group, because the task would be in a group with the same number as before.
#[test]
fn a_fault_whose_group_was_removed_is_repeated_although_numbers_of_groups_are_reused() {
    let swap = swap_with_groups();
    let groups = swap.memcg().expect("enabled");
    let create = |name: &str| groups.create(CssId::ROOT, name).expect("a new name").css();
    let first = create("first");
    let mm = Mm::in_group(swap.clone(), first).expect("online");
    let move_and_remove = |name: &str| {
        let old = mm.css();
        mm.enter_group(create(name)).expect("online");
        swap.remove_group(old, CPU).expect("no task is in the group");
    };
    let calls = Cell::new(0);
    let charged = mm.with_group(|css| {
        calls.set(calls.get() + 1);
        if calls.get() == 1 {
            move_and_remove("second");
            move_and_remove("third");
            return Err(removed());
        }
        Ok(css)
    });
    assert_eq!((charged.expect("the task is in an online group"), calls.get()), (mm.css(), 2));
    drop(mm);
    swap.check().expect("no task and no charge is left");
}

#[test]
fn an_error_of_the_group_that_the_task_is_in_is_returned() {
    let swap = swap_with_groups();
    let css = swap.memcg().expect("enabled").create(CssId::ROOT, "only").expect("a new name").css();
    let mm = Mm::in_group(swap.clone(), css).expect("online");
    assert!(matches!(mm.with_group(|_| Err::<(), _>(removed())), Err(SwapError::Cgroup { .. })));
    drop(mm);
    swap.check().expect("no task and no charge is left");
}
