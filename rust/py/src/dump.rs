//! What `Swap.dump` and `Swap.lookup` show, as dicts.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swapcore::base::event::{EventKind, EventRecord};
use swapcore::cluster::ListId;
use swapcore::show::dump::DeviceDump;
use swapcore::table::{EntryKind, SwapTableEntry};

use crate::errors::Result;

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Null => "null",
        EntryKind::Shadow => "shadow",
        EntryKind::Pfn => "folio",
        EntryKind::Bad => "bad",
        EntryKind::Pointer => "pointer",
    }
}

/// One slot by its word.
pub(crate) fn slot_dict<'py>(py: Python<'py>, word: SwapTableEntry, count: u32) -> Result<Bound<'py, PyDict>> {
    let slot = PyDict::new(py);
    slot.set_item("kind", kind_name(word.kind()))?;
    slot.set_item("count", count)?;
    slot.set_item("zero", word.is_zero())?;
    slot.set_item("word", word.raw())?;
    slot.set_item("pfn", word.pfn().map(|pfn| pfn.0))?;
    Ok(slot)
}

pub(crate) fn device_dict<'py>(py: Python<'py>, device: &DeviceDump) -> Result<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("type", device.ty.0)?;
    dict.set_item("prio", device.prio)?;
    dict.set_item("inuse_pages", device.inuse_pages)?;
    let by_order = [PyDict::new(py), PyDict::new(py)];
    let mut plain = [("free", Vec::new()), ("full", Vec::new()), ("discard", Vec::new())];
    for (id, clusters) in &device.lists {
        let clusters: Vec<u32> = clusters.iter().map(|idx| idx.0).collect();
        match id {
            ListId::Free => plain[0].1 = clusters,
            ListId::Full => plain[1].1 = clusters,
            ListId::Discard => plain[2].1 = clusters,
            ListId::Nonfull(order) => by_order[0].set_item(order.get(), clusters)?,
            ListId::Frag(order) => by_order[1].set_item(order.get(), clusters)?,
        }
    }
    plain.into_iter().try_for_each(|(name, clusters)| dict.set_item(name, clusters))?;
    let [nonfull, frag] = by_order;
    dict.set_item("nonfull", nonfull)?;
    dict.set_item("frag", frag)?;
    let next = PyDict::new(py);
    for (order, at) in device.next.iter().enumerate().filter(|&(_, &at)| at != 0) {
        next.set_item(order, at)?;
    }
    dict.set_item("next", next)?;
    Ok(dict)
}

pub(crate) fn hints_dict<'py>(py: Python<'py>, hints: &[swapcore::SwpEntry]) -> Result<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (order, hint) in hints.iter().enumerate().filter(|(_, hint)| hint.offset().0 != 0) {
        dict.set_item(order, (hint.ty().0, hint.offset().0))?;
    }
    Ok(dict)
}

/// Columns of records, native byte order.
pub(crate) fn events_dict<'py>(py: Python<'py>, records: &[EventRecord], nr_lost: u64) -> Result<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let column = |name: &str, bytes: Vec<u8>| dict.set_item(name, PyBytes::new(py, &bytes));
    column("time_ns", records.iter().flat_map(|record| record.time_ns.to_ne_bytes()).collect())?;
    column("entry", records.iter().flat_map(|record| record.entry.value().to_ne_bytes()).collect())?;
    column("kind", records.iter().map(|record| record.kind as u8).collect())?;
    column("order", records.iter().map(|record| record.order.get()).collect())?;
    column("cpu", records.iter().flat_map(|record| record.cpu.0.to_ne_bytes()).collect())?;
    column("errno", records.iter().flat_map(|record| record.errno.to_ne_bytes()).collect())?;
    dict.set_item("kinds", EventKind::NAMES)?;
    dict.set_item("nr_lost", nr_lost)?;
    Ok(dict)
}
