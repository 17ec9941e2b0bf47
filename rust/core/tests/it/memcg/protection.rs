//! Protection of groups (`memory.min`, `memory.low`) under the pressure of a neighbour. The tree of groups and the
//! numbers are those of the kernel's selftest for protection.

use std::sync::Arc;

use swapcore::memcg::Hierarchy;
use swapcore::mm::{Mm, VmaOptions};
use swapcore::{Config, GroupHandle, Profile, Result, Swap};

use crate::common::{CPU, ram, storage_on};

const MIB: u64 = 1 << 20;
const PAGES_PER_MIB: u64 = MIB / 4096;

/// The groups of the tree. `a` has a limit of 200 MiB. `b` is below `a` and has a protection of 50 MiB. The
/// `children` of `b` have protections of 75, 25, 0 and 500 MiB. `neighbour` is below `a`.
struct Tree {
    swap: Arc<Swap>,
    b: GroupHandle,
    children: [GroupHandle; 4],
    neighbour: GroupHandle,
    /// The address spaces that hold the pages.
    tasks: Vec<Mm>,
}

impl Tree {
    /// Makes the tree, writes the protections to `file`, and fills the first three children with 50 MiB each.
    fn new(file: &str, workingset: &str) -> Self {
        let mut config = Config::new(1, Profile::Newest);
        (config.memcg, config.workingset) = (Some(Hierarchy::V2), workingset.into());
        let swap = Arc::new(Swap::with_config(config).expect("memory"));
        storage_on(&swap, ram(600 * PAGES_PER_MIB as u32), 1);
        let a = GroupHandle::root(&swap).and_then(|root| root.create("a")).expect("a group");
        let write = |group: &GroupHandle, file: &str, mib: u64| {
            swap.memcg_write(group.css(), file, &format!("{mib}M"), false, CPU).expect("an amount");
        };
        write(&a, "memory.max", 200);
        let b = a.create("b").expect("a group");
        write(&b, file, 50);
        let children = [75, 25, 0, 500].map(|claim| {
            let child = b.create(&format!("c{claim}")).expect("a group");
            write(&child, file, claim);
            child
        });
        // The neighbour may not swap, so its pages stay in memory. In the kernel's test they stay too, because only
        // the children have pages of files, which reclaim takes.
        let neighbour = a.create("g").expect("a group");
        write(&neighbour, "memory.swap.max", 0);
        let mut tree = Self { swap: swap.clone(), b, children, neighbour, tasks: Vec::new() };
        for child in &tree.children[..3] {
            tree.tasks.push(fill(&swap, child, 50).expect("room for 50 MiB"));
            // The reclaim of one page clears the accessed bit of every page of the child, because all pages were just
            // touched. From now on no page is young, like the pages of files in the kernel's test.
            swap.memcg_write(child.css(), "memory.reclaim", "4K", false, CPU).expect("a page");
        }
        tree
    }

    /// Returns the memory of `b` and of its children, in MiB, rounded.
    fn usage(&self) -> Vec<i64> {
        let groups = std::iter::once(&self.b).chain(&self.children);
        let mib =
            |group: &GroupHandle| ((group.group().memory.usage_pages() + PAGES_PER_MIB / 2) / PAGES_PER_MIB) as i64;
        groups.map(mib).collect()
    }

    fn low_events(&self) -> Vec<u64> {
        let low = swapcore::memcg::MemcgEvent::Low;
        self.children.iter().map(|child| child.group().events(low)).collect()
    }
}

/// Touches `mib` MiB of new memory in a group.
fn fill(swap: &Arc<Swap>, group: &GroupHandle, mib: u64) -> Result<Mm> {
    let mm = Mm::in_group(swap.clone(), group.css())?;
    let nr_pages = mib * PAGES_PER_MIB;
    let first = mm.mmap(nr_pages, VmaOptions::default())?.pages().start;
    for page in 0..nr_pages {
        mm.write((first.0 + page) * 4096, &[1], CPU)?;
    }
    Ok(mm)
}

fn assert_near(file: &str, found: &[i64], expected: &[i64]) {
    let is_near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= 3);
    assert!(is_near, "{file}: {found:?} MiB, expected {expected:?} within 3");
}

/// Each pair is a file with a protection, and the name of the rule of working-set detection.
const CASES: [(&str, &str); 4] =
    [("memory.min", "classic"), ("memory.low", "classic"), ("memory.min", "mglru"), ("memory.low", "mglru")];

#[test]
fn children_share_what_their_parent_protects() {
    for (file, workingset) in CASES {
        let mut tree = Tree::new(file, workingset);
        let pressure = fill(&tree.swap, &tree.neighbour, 148).expect("a has 150 MiB without protection");
        assert_near(file, &tree.usage(), &[50, 29, 21, 0, 0]);
        assert_eq!(tree.low_events(), [0; 4], "{file}: no protection was broken");
        tree.tasks.push(pressure);
        tree.swap.check().expect("every invariant");
    }
}

#[test]
fn low_gives_way_when_nothing_else_is_left_and_min_never_does() {
    for &(file, workingset) in &CASES[..2] {
        let mut tree = Tree::new(file, workingset);
        let pressure = fill(&tree.swap, &tree.neighbour, 170);
        if file == "memory.min" {
            assert_eq!(pressure.map(drop).expect_err("a has 150 MiB without protection").errno(), 12);
            assert_near(file, &tree.usage(), &[50, 29, 21, 0, 0]);
            assert_eq!(tree.low_events(), [0; 4]);
        } else {
            tree.tasks.push(pressure.expect("low gives way"));
            assert_near(file, &tree.usage()[..1], &[30]);
            assert!(tree.low_events()[..2].iter().all(|&nr| nr > 0), "{:?}", tree.low_events());
        }
        tree.swap.check().expect("every invariant");
    }
}
