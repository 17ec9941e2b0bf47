//! Tests of the tree, the private ids and the charges. The tests check every number of the scenarios J8, J11 and J13
//! of `docs/steps.md` that needs no folio.

use super::*;
use crate::base::types::CpuId;

fn options(hierarchy: Hierarchy) -> MemcgOptions {
    MemcgSwitches::CANON.resolve(hierarchy).expect("the default options are compatible")
}

fn groups() -> MemCgroups {
    MemCgroups::new(options(Hierarchy::V2), 2).expect("memory")
}

fn errno<T: std::fmt::Debug>(result: Result<T>) -> i32 {
    result.expect_err("refused").errno()
}

#[test]
fn a_charge_reaches_every_level_or_none() {
    let groups = groups();
    let parent = groups.create(CssId::ROOT, "p").expect("a group");
    let (a, b) =
        (groups.create(parent.css(), "a").expect("a group"), groups.create(parent.css(), "b").expect("a group"));
    parent.swap.set_max(6);
    assert!(groups.try_charge(a, CounterKind::Swap, 4).is_ok());
    let refused = groups.try_charge(b, CounterKind::Swap, 4).expect_err("6 are allowed");
    assert_eq!(refused.css(), parent.css());
    // The group `b` was charged before the parent refused, so the watermark of `b` contains the refused charge.
    assert_eq!((a.swap.usage_pages(), b.swap.usage_pages(), parent.swap.usage_pages()), (4, 0, 4));
    assert_eq!(
        (b.swap.watermark_pages(), parent.swap.watermark_pages(), parent.swap.failcnt()),
        (4, 4, 0),
        "only v1 counts refusals"
    );
    groups.raise(b, MemcgEvent::SwapMax);
    let seen = |group: &MemCgroup| (group.events(MemcgEvent::SwapMax), group.events_local(MemcgEvent::SwapMax));
    assert_eq!((seen(a), seen(b), seen(parent), seen(groups.root())), ((0, 0), (1, 1), (1, 0), (0, 0)));
    groups.uncharge(a, CounterKind::Swap, 4);
    assert_eq!((a.swap.usage_pages(), parent.swap.usage_pages()), (0, 0));
}

#[test]
fn a_group_lives_on_while_something_holds_it_and_its_place_is_used_again() {
    let groups = groups();
    let group = groups.create(CssId::ROOT, "a").expect("a group");
    assert_eq!((group.id(), groups.root().id()), (MemcgId(2), MemcgId(1)));
    groups.css_get(group, 1);
    let pinned = groups.id_get_online(group, 3);
    assert_eq!((pinned.css(), group.id_refs()), (group.css(), 4));
    groups.remove(group.css()).expect("nothing in it");
    assert_eq!((group.is_online(), group.id_refs(), group.id()), (false, 3, MemcgId(2)));
    // The group is offline, but its id has pins, so a further pin succeeds.
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
    assert_eq!(groups.stat(groups.root(), MemcgStat::PswpIn), 7, "the parent keeps statistics of freed groups");
    assert_eq!(groups.root().stat_local(MemcgStat::PswpIn), 0);
    let again = groups.create(CssId::ROOT, "b").expect("a group");
    assert_eq!((again.css(), again.stat_local(MemcgStat::PswpIn)), (group.css(), 0));
}

#[test]
fn what_cannot_be_made_or_removed_says_why() {
    let groups = groups();
    for name in ["", ".", "..", "a/b", "a\nb"] {
        assert_eq!(errno(groups.create(CssId::ROOT, name)), 22, "{name:?}");
    }
    let group = groups.create(CssId::ROOT, "a").expect("a group");
    assert_eq!(errno(groups.create(CssId::ROOT, "a")), 17);
    let child = groups.create(group.css(), "a").expect("below another parent");
    assert_eq!(groups.path(child.css()), "/a/a");
    assert_eq!(errno(groups.remove(group.css())), 16);
    assert_eq!(errno(groups.remove(CssId::ROOT)), 22);
    groups.enter(child.css()).expect("online");
    assert_eq!(errno(groups.remove(child.css())), 16);
    groups.leave(child.css());
    groups.remove(child.css()).expect("empty");
    assert_eq!(
        (
            errno(
                groups
                    .create(group.css(), "b")
                    .and_then(|b| groups.remove(b.css()).map(|()| b))
                    .and_then(|b| groups.create(b.css(), "c"))
            ),
            errno(groups.enter(child.css()))
        ),
        (19, 19)
    );
    let mut deep = CssId::ROOT;
    for _ in 0..MEMCG_DEPTH_MAX {
        deep = groups.create(deep, "d").expect("not too deep").css();
    }
    assert_eq!(errno(groups.create(deep, "d")), 11);
}

#[test]
fn there_are_65535_ids() {
    let groups = groups();
    // Root has one of the 65,535 ids.
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
    let group = groups.create(CssId::ROOT, "a").expect("a group");
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
    let parent = groups.create(CssId::ROOT, "p").expect("a group");
    let child = groups.create(parent.css(), "c").expect("a group");
    assert_eq!(groups.nr_swap_pages(child, 100), 100);
    parent.swap.set_max(10);
    groups.charge(child, CounterKind::Swap, 12);
    assert_eq!((groups.nr_swap_pages(child, 100), groups.is_swap_full(child)), (-2, true));
    let v1 = MemCgroups::new(options(Hierarchy::V1), 1).expect("memory");
    assert_eq!((v1.nr_swap_pages(v1.root(), 100), v1.is_swap_full(v1.root())), (100, false));
}

#[test]
fn choices_that_exclude_each_other_are_refused() {
    let refused = |change: fn(&mut MemcgSwitches)| {
        let mut wish = MemcgSwitches::CANON;
        change(&mut wish);
        errno(wish.resolve(Hierarchy::V2))
    };
    assert_eq!(refused(|wish| wish.dead_swapin = Some(DeadSwapin::FaultMm)), 22);
    assert_eq!(refused(|wish| wish.refault_level = Some(RefaultJudge::ReclaimRoot)), 22);
    assert_eq!(
        refused(
            |wish| (wish.owner_store, wish.refault_level) = (OwnerStore::Trampoline, Some(RefaultJudge::ReclaimRoot))
        ),
        22
    );
    assert_eq!(refused(|wish| (wish.owner_store, wish.rfc_literal) = (OwnerStore::Array, true)), 22);
    assert_eq!(refused(|wish| (wish.dead_swapin, wish.rfc_literal) = (Some(DeadSwapin::ReparentIfShared), true)), 22);
    let main = MemcgSwitches { owner_store: OwnerStore::ClusterTable, ..MemcgSwitches::CANON }
        .resolve(Hierarchy::V2)
        .expect("fine");
    assert_eq!((main.dead_swapin, main.refault_level), (DeadSwapin::FaultMm, RefaultJudge::ReclaimRoot));
}
