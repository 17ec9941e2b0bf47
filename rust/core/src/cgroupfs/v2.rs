//! The files of a memory cgroup on v2.

use super::Presence::{All, NonRoot};
use super::Read::{Bytes, Limit, Number, Peak, Text, WriteOnly};
use super::Write::{Call, ReadOnly, ResetPeak, SetLimit, SetNumber};
use super::stat::text_v2;
use super::{CgroupFile, TargetGroup, file};
use crate::memcg::CounterKind::{Memory, Swap};
use crate::memcg::{MemCgroup, MemCgroups, MemcgEvent};

/// All files of v2, in the order in which a listing shows the files. `g` is the group.
pub(super) const FILES: &[CgroupFile] = &[
    file("memory.current", NonRoot, Bytes(|g| g.memory.usage_pages()), ReadOnly),
    file("memory.peak", NonRoot, Peak(Memory), ResetPeak(Memory)),
    file("memory.min", NonRoot, Limit(MemCgroup::min_pages), SetLimit(MemCgroups::set_min)),
    file("memory.low", NonRoot, Limit(MemCgroup::low_pages), SetLimit(MemCgroups::set_low)),
    file("memory.high", NonRoot, Limit(|g| g.memory.high_pages()), Call(|write| write.write_high(Memory))),
    file("memory.max", NonRoot, Limit(|g| g.memory.max_pages()), Call(|write| write.set_memory_max())),
    file("memory.events", NonRoot, Text(|target| events(target, MemCgroup::events)), ReadOnly),
    file("memory.events.local", NonRoot, Text(|target| events(target, MemCgroup::events_local)), ReadOnly),
    file(
        "memory.oom.group",
        NonRoot,
        Number(|g| g.is_oom_group().into()),
        SetNumber(1, |g, number| g.set_oom_group(number == 1)),
    ),
    file("memory.stat", All, Text(text_v2), ReadOnly),
    file("memory.reclaim", All, WriteOnly, Call(|write| write.reclaim())),
    file("memory.swap.current", NonRoot, Bytes(|g| g.swap.usage_pages()), ReadOnly),
    file("memory.swap.high", NonRoot, Limit(|g| g.swap.high_pages()), Call(|write| write.write_high(Swap))),
    // A write of `memory.swap.max` or `memory.zswap.max` reclaims nothing, because both limits apply to new charges
    // only.
    file("memory.swap.max", NonRoot, Limit(|g| g.swap.max_pages()), SetLimit(|_, g, pages| g.swap.set_max(pages))),
    file("memory.swap.peak", NonRoot, Peak(Swap), ResetPeak(Swap)),
    file("memory.swap.events", NonRoot, Text(swap_events), ReadOnly),
    file("memory.zswap.current", NonRoot, Text(|target| format!("{}\n", target.zswap_bytes())), ReadOnly),
    file(
        "memory.zswap.max",
        NonRoot,
        Limit(MemCgroup::zswap_max_pages),
        SetLimit(|_, g, pages| g.set_zswap_max_pages(pages)),
    ),
    file(
        "memory.zswap.writeback",
        All,
        Number(|g| g.may_zswap_writeback().into()),
        SetNumber(1, |g, number| g.set_zswap_writeback(number == 1)),
    ),
];

/// Returns the text of `memory.events` or of `memory.events.local`. `sock_throttled` is always 0, because the crate
/// never throttles sockets.
fn events(target: TargetGroup<'_>, count: fn(&MemCgroup, MemcgEvent) -> u64) -> String {
    use MemcgEvent::{High, Low, Max, Oom, OomGroupKill, OomKill};
    let limits = [("low", Low), ("high", High), ("max", Max)];
    let kills = [("oom", Oom), ("oom_kill", OomKill), ("oom_group_kill", OomGroupKill)];
    let lines = limits.iter().chain(&kills).map(|(name, event)| format!("{name} {}\n", count(target.group, *event)));
    lines.chain(["sock_throttled 0\n".into()]).collect()
}

fn swap_events(target: TargetGroup<'_>) -> String {
    use MemcgEvent::{SwapFail, SwapHigh, SwapMax};
    let named = [("high", SwapHigh), ("max", SwapMax), ("fail", SwapFail)];
    named.map(|(name, event)| format!("{name} {}\n", target.group.events(event))).concat()
}
