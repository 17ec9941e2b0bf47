//! Tests of the tree of groups, the private ids and the charges. The tests have every number of the scenarios J8, J11
//! and J13 of `docs/steps.md` that needs no folio.

use super::*;
use crate::base::types::CpuId;

fn options(hierarchy: Hierarchy) -> MemcgOptions {
    MemcgSwitches::CANON.resolve(hierarchy).expect("the default choices go together")
}

fn groups() -> MemCgroups {
    MemCgroups::new(options(Hierarchy::V2), 2).expect("memory")
}

fn make<'g>(groups: &'g MemCgroups, parent: &MemCgroup, name: &str) -> &'g MemCgroup {
    groups.create(parent.css(), name).expect("a group")
}

fn errno<T: std::fmt::Debug>(result: Result<T>) -> i32 {
    result.expect_err("refused").errno()
}

#[test]
fn a_charge_reaches_every_level_or_none() {
    let groups = groups();
    let parent = make(&groups, groups.root(), "p");
    let (a, b) = (make(&groups, parent, "a"), make(&groups, parent, "b"));
    parent.swap.set_max(6);
    assert!(groups.try_charge(a, CounterKind::Swap, 4).is_ok());
    let refused = groups.try_charge(b, CounterKind::Swap, 4).expect_err("8 pages are over the limit of 6");
    assert_eq!(refused.css(), parent.css());
    assert_eq!([a, b, parent].map(|group| group.swap.usage_pages()), [4, 0, 4]);
    // The group b was charged before its parent refused the charge, so the watermark of b contains the refused
    // charge.
    assert_eq!([b, parent].map(|group| group.swap.watermark_pages()), [4, 4]);
    assert_eq!(parent.swap.failcnt(), 0, "only v1 counts refusals");
    groups.raise(b, MemcgEvent::SwapMax);
    let seen = |group: &MemCgroup| (group.events(MemcgEvent::SwapMax), group.events_local(MemcgEvent::SwapMax));
    assert_eq!([a, b, parent, groups.root()].map(seen), [(0, 0), (1, 1), (1, 0), (0, 0)]);
    groups.uncharge(a, CounterKind::Swap, 4);
    assert_eq!([a, parent].map(|group| group.swap.usage_pages()), [0, 0]);
}

#[test]
fn a_group_lives_on_while_something_holds_it_and_its_place_is_used_again() {
    let groups = groups();
    let group = make(&groups, groups.root(), "a");
    assert_eq!((group.id(), groups.root().id()), (MemcgId(2), MemcgId(1)));
    groups.css_get(group, 1);
    let pinned = groups.id_get_online(group, 3);
    assert_eq!((pinned.css(), group.id_refs()), (group.css(), 4));
    groups.remove(group.css()).expect("no task or group is in the group");
    assert_eq!((group.is_online(), group.id_refs(), group.id()), (false, 3, MemcgId(2)));
    // The group is offline, and a pin of its private id still succeeds, because the id has other pins.
    assert_eq!(groups.id_get_online(group, 1).css(), group.css());
    assert_eq!(groups.nearest_online(group).css(), CssId::ROOT);
    groups.id_put(group, 4);
    assert_eq!((group.id(), groups.lookup(MemcgId(2)).is_none(), group.css_refs()), (MemcgId(0), true, 1));
    assert_eq!(groups.id_get_online(group, 1).css(), CssId::ROOT);
    groups.id_put(groups.root(), 1);
    let other = groups.create(CssId::ROOT, "a").expect("the name is free, and so is the id");
    assert_eq!((other.id(), other.css() == group.css()), (MemcgId(2), false));
    group.count(MemcgStat::PswpIn, 7);
    groups.css_put(group, 1);
    assert_eq!(groups.stat(groups.root(), MemcgStat::PswpIn), 7, "the parent keeps the counts of a freed group");
    assert_eq!(groups.root().stat_local(MemcgStat::PswpIn), 0);
    let again = make(&groups, groups.root(), "b");
    assert_eq!((again.css(), again.stat_local(MemcgStat::PswpIn)), (group.css(), 0));
}

#[test]
fn what_cannot_be_made_or_removed_says_why() {
    let groups = groups();
    for name in ["", ".", "..", "a/b", "a\nb"] {
        assert_eq!(errno(groups.create(CssId::ROOT, name)), 22, "{name:?}");
    }
    let group = make(&groups, groups.root(), "a");
    assert_eq!(errno(groups.create(CssId::ROOT, "a")), 17);
    let child = groups.create(group.css(), "a").expect("the name is free below another parent");
    assert_eq!(groups.path(child.css()), "/a/a");
    assert_eq!(errno(groups.remove(group.css())), 16);
    assert_eq!(errno(groups.remove(CssId::ROOT)), 22);
    groups.enter(child.css()).expect("online");
    assert_eq!(errno(groups.remove(child.css())), 16);
    groups.leave(child.css());
    groups.remove(child.css()).expect("empty");
    assert_eq!((errno(groups.create(child.css(), "c")), errno(groups.enter(child.css()))), (19, 19));
    let mut deep = CssId::ROOT;
    for _ in 0..MEMCG_DEPTH_MAX {
        deep = groups.create(deep, "d").expect("not too deep").css();
    }
    assert_eq!(errno(groups.create(deep, "d")), 11);
}

#[test]
fn there_are_65535_ids() {
    let groups = groups();
    // Root has one of the 65,535 private ids.
    let made: Vec<_> = (1..65535).map(|n| groups.create(CssId::ROOT, &n.to_string())).collect();
    assert!(made.iter().all(std::result::Result::is_ok));
    assert_eq!(errno(groups.create(CssId::ROOT, "more")), 28);
    let some = made[500].as_ref().expect("made");
    let (id, css) = (some.id(), some.css());
    groups.remove(css).expect("empty");
    assert_eq!(groups.create(CssId::ROOT, "more").map(MemCgroup::id).ok(), Some(id));
}

#[test]
fn stocks_serve_small_charges_and_are_drained() {
    let groups = groups();
    let group = make(&groups, groups.root(), "a");
    let cpu = CpuId(0);
    assert!(!groups.consume_stock(group, 1, cpu));
    groups.charge(group, CounterKind::Memory, 64);
    groups.refill_stock(group, 63, cpu);
    assert!((0..63).all(|_| groups.consume_stock(group, 1, cpu)));
    assert!(!groups.consume_stock(group, 1, cpu));
    groups.charge(group, CounterKind::Memory, 64);
    groups.refill_stock(group, 60, cpu);
    groups.refill_stock(group, 3, cpu);
    assert!(!groups.consume_stock(group, 1, CpuId(1)));
    groups.drain_stocks();
    assert_eq!((group.memory.usage_pages(), group.css_refs()), (65, 2));
}

#[test]
fn swap_left_is_the_least_of_any_level() {
    let groups = groups();
    let parent = make(&groups, groups.root(), "p");
    let child = make(&groups, parent, "c");
    assert_eq!(groups.nr_swap_pages(child, 100), 100);
    parent.swap.set_max(10);
    groups.charge(child, CounterKind::Swap, 12);
    assert_eq!((groups.nr_swap_pages(child, 100), groups.is_swap_full(child)), (-2, true));
    let v1 = MemCgroups::new(options(Hierarchy::V1), 1).expect("memory");
    assert_eq!((v1.nr_swap_pages(v1.root(), 100), v1.is_swap_full(v1.root())), (100, false));
}

#[test]
fn choices_that_exclude_each_other_are_refused() {
    const CANON: MemcgSwitches = MemcgSwitches::CANON;
    let (fault_mm, reparent) = (Some(DeadSwapin::FaultMm), Some(DeadSwapin::ReparentIfShared));
    let refault_level = Some(RefaultJudge::ReclaimRoot);
    for wish in [
        MemcgSwitches { dead_swapin: fault_mm, ..CANON },
        MemcgSwitches { refault_level, ..CANON },
        MemcgSwitches { owner_store: OwnerStore::Trampoline, refault_level, ..CANON },
        MemcgSwitches { owner_store: OwnerStore::Array, rfc_literal: true, ..CANON },
        MemcgSwitches { dead_swapin: reparent, rfc_literal: true, ..CANON },
    ] {
        assert_eq!(errno(wish.resolve(Hierarchy::V2)), 22, "{wish:?}");
    }
    let table = MemcgSwitches { owner_store: OwnerStore::ClusterTable, ..CANON }.resolve(Hierarchy::V2);
    let choices = table.map(|options| (options.dead_swapin, options.refault_level));
    assert_eq!(choices, Ok((DeadSwapin::FaultMm, RefaultJudge::ReclaimRoot)));
}
