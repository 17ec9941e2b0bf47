//! Hooks written in Python. The type `Hooks` implements the core's trait `MemcgPolicy` by calls of these hooks.

use std::sync::{Arc, Weak};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use swapcore::base::types::CssId;
use swapcore::memcg::{DeadOwnerAnswer, DeadSwapin, LimitKind, MemcgPolicy, RefaultNotice};
use swapcore::{Order, SwapError, SwpType};

use crate::border::calls::keep;
use crate::border::errors::Result;
use crate::memcg::MemCgroup;

const HOOKS: [&str; 5] = ["on_swap_charge", "on_dead_owner", "on_limit", "on_refault", "choose_device"];
/// The word of the hook `on_dead_owner` for the root group.
const ROOT: &str = "root";
/// Largest number of single-letter edits between the name of a hook and a misspelt name.
const NR_EDITS_MAX: usize = 2;

/// Returns the number of letters to insert, delete or replace to make one name of another.
fn nr_edits(from: &str, to: &str) -> usize {
    let to = to.as_bytes();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.bytes().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, &other) in to.iter().enumerate() {
            let replaced = before + usize::from(letter != other);
            before = row[j + 1];
            row[j + 1] = replaced.min(before + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

/// Returns a method of an object that is not a hook, but whose name has the prefix of a hook or is close to the name
/// of a hook.
fn misspelt_hook(object: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    let names: Vec<String> = object.dir()?.extract()?;
    let is_close = |name: &String| {
        let flat = name.to_lowercase();
        let has_prefix = name.starts_with("on_") || name.starts_with("choose_");
        has_prefix || HOOKS.iter().any(|hook| nr_edits(&flat, hook) <= NR_EDITS_MAX)
    };
    for name in names.into_iter().filter(|name| !HOOKS.contains(&name.as_str()) && is_close(name)) {
        if object.getattr(&*name)?.is_callable() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The hooks of a Python object, as bound methods. The field of a hook is `None` if the object lacks the hook.
#[derive(Debug)]
pub(crate) struct Hooks {
    /// The reference is weak, because the subsystem owns the hooks and a strong reference back would keep the
    /// subsystem alive.
    swap: Weak<swapcore::Swap>,
    on_swap_charge: Option<Py<PyAny>>,
    on_dead_owner: Option<Py<PyAny>>,
    on_limit: Option<Py<PyAny>>,
    on_refault: Option<Py<PyAny>>,
    choose_device: Option<Py<PyAny>>,
}

impl Hooks {
    /// Finds the hooks of an object. Errors: TypeError when the object has no hook, or has a method whose name is
    /// close to the name of a hook.
    pub(crate) fn new(swap: &Arc<swapcore::Swap>, object: &Bound<'_, PyAny>) -> Result<Self> {
        let hook = |name: &str| {
            let found = object.getattr_opt(name)?.filter(|hook| !hook.is_none());
            Ok::<_, PyErr>(found.map(Bound::unbind))
        };
        let hooks = Self {
            swap: Arc::downgrade(swap),
            on_swap_charge: hook("on_swap_charge")?,
            on_dead_owner: hook("on_dead_owner")?,
            on_limit: hook("on_limit")?,
            on_refault: hook("on_refault")?,
            choose_device: hook("choose_device")?,
        };
        let all =
            [&hooks.on_swap_charge, &hooks.on_dead_owner, &hooks.on_limit, &hooks.on_refault, &hooks.choose_device];
        let kind = object.get_type().name()?;
        if let Some(name) = misspelt_hook(object)? {
            let why = format!("{kind}.{name} is no hook: the hooks are {}", HOOKS.join(", "));
            return Err(PyTypeError::new_err(why).into());
        }
        if all.iter().all(|hook| hook.is_none()) {
            let why = format!("{kind} has no hook: a policy has one or more of {}", HOOKS.join(", "));
            return Err(PyTypeError::new_err(why).into());
        }
        Ok(hooks)
    }

    /// Calls a hook with a group. Returns `None`, which means no answer, if there is no hook, if the group is freed,
    /// or if the hook raises an exception. The exception is stored, and the method of the binding that caused the
    /// hook raises it at its end.
    fn ask<T>(
        &self,
        hook: Option<&Py<PyAny>>,
        group: CssId,
        call: impl for<'py> FnOnce(&Bound<'py, PyAny>, MemCgroup, &Arc<swapcore::Swap>) -> Result<Option<T>>,
    ) -> Option<T> {
        let (hook, swap) = (hook?, self.swap.upgrade()?);
        let group = MemCgroup::of(&swap, group)?;
        Python::attach(|py| {
            call(hook.bind(py), group, &swap).unwrap_or_else(|error| {
                keep(py, error.into());
                None
            })
        })
    }
}

impl MemcgPolicy for Hooks {
    fn on_swap_charge(&self, group: CssId, nr_pages: u32) -> Option<bool> {
        self.ask(self.on_swap_charge.as_ref(), group, |hook, group, _| Ok(hook.call1((group, nr_pages))?.extract()?))
    }

    fn on_dead_owner(&self, owner: CssId, faulting: CssId, nr_pages: u32) -> Option<DeadOwnerAnswer> {
        self.ask(self.on_dead_owner.as_ref(), owner, |hook, owner, swap| {
            let answer = hook.call1((owner, MemCgroup::of(swap, faulting), nr_pages))?;
            if let Ok(group) = answer.cast::<MemCgroup>() {
                return Ok(Some(DeadOwnerAnswer::Group(group.get().online_css(swap)?)));
            }
            let Some(word) = answer.extract::<Option<String>>()? else { return Ok(None) };
            if word == ROOT {
                return Ok(Some(DeadOwnerAnswer::Group(CssId::ROOT)));
            }
            let known = || DeadSwapin::NAMES.iter().copied().chain([ROOT]).collect::<Vec<_>>().join(", ");
            let unknown = |_| SwapError::UnknownName { what: "dead_swapin", name: word.clone(), known: known() };
            let rule = DeadSwapin::from_name(&word).map_err(unknown)?;
            if let Some(groups) = swap.memcg() {
                groups.options().check_dead_owner(rule)?;
            }
            Ok(Some(DeadOwnerAnswer::Rule(rule)))
        })
    }

    fn on_limit(&self, group: CssId, limit: LimitKind, nr_pages: u64) {
        self.ask(self.on_limit.as_ref(), group, |hook, group, _| {
            hook.call1((group, limit.name(), nr_pages))?;
            Ok(None::<()>)
        });
    }

    fn on_refault(&self, group: CssId, notice: RefaultNotice) -> Option<bool> {
        let RefaultNotice { nr_pages, distance_pages, is_activated } = notice;
        self.ask(self.on_refault.as_ref(), group, |hook, group, _| {
            Ok(hook.call1((group, nr_pages, distance_pages, is_activated))?.extract()?)
        })
    }

    fn choose_device(&self, group: CssId, order: Order, devices: &[SwpType]) -> Option<SwpType> {
        self.ask(self.choose_device.as_ref(), group, |hook, group, _| {
            let types: Vec<u32> = devices.iter().map(|ty| ty.0.into()).collect();
            let chosen: Option<i128> = hook.call1((group, order.get(), types))?.extract()?;
            let Some(value) = chosen else { return Ok(None) };
            let found = devices.iter().find(|ty| i128::from(ty.0) == value);
            let bad = SwapError::OutOfRange {
                what: "swap type of a device with room",
                value,
                low: devices.iter().map(|ty| ty.0.into()).min().unwrap_or(0),
                high: devices.iter().map(|ty| ty.0.into()).max().unwrap_or(0),
            };
            Ok(Some(*found.ok_or(bad)?))
        })
    }
}
