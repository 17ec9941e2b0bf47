//! A handle that has one reference to a group. A language binding uses handles, because a binding cannot hold Rust
//! borrows.

use std::sync::Arc;

use rustix::io::Errno;

use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, CssId};
use crate::machine::Swap;
use crate::memcg::{GroupPolicy, MemCgroup, MemCgroups};

/// A handle that keeps a group and its subsystem alive. Another caller may remove the group while the handle exists.
/// Kernel: a css reference.
#[derive(Debug)]
pub struct GroupHandle {
    swap: Arc<Swap>,
    css: CssId,
}

impl GroupHandle {
    /// Returns a handle to the root group. Errors: `Cgroup` (EINVAL) when memcg is disabled.
    pub fn root(swap: &Arc<Swap>) -> Result<Self> {
        swap.memcg_enabled()?;
        Ok(Self::get(swap, CssId::ROOT).expect("root is never freed"))
    }

    /// Returns a handle to a group, or `None` when the group was freed or memcg is disabled. Kernel: `css_tryget`.
    pub fn get(swap: &Arc<Swap>, css: CssId) -> Option<Self> {
        let groups = swap.memcg()?;
        groups.css_tryget(groups.get(css)).then(|| Self { swap: swap.clone(), css })
    }

    /// Returns the subsystem.
    pub fn swap(&self) -> &Arc<Swap> {
        &self.swap
    }

    /// Returns the group's number.
    pub fn css(&self) -> CssId {
        self.css
    }

    /// Returns the memory controller.
    pub fn groups(&self) -> &MemCgroups {
        self.swap.memcg().expect("a handle is of a group")
    }

    /// Returns the group.
    pub fn group(&self) -> &MemCgroup {
        self.groups().get(self.css)
    }

    /// Returns the parent group, or `None` for root.
    pub fn parent(&self) -> Option<Self> {
        Self::get(&self.swap, self.group().parent()?)
    }

    /// Returns the online child groups of this group, in the order of their creation.
    pub fn children(&self) -> Vec<Self> {
        let handles = self.groups().children(self.css).into_iter().filter_map(|css| Self::get(&self.swap, css));
        handles.filter(|handle| handle.group().is_online()).collect()
    }

    /// Returns the removed child groups of this group that are not freed, in the order of their creation, because
    /// memory, slots, handles or groups below refer to them. Kernel: the dying descendants of `cgroup.stat`.
    pub fn dying_children(&self) -> Vec<Self> {
        let handles = self.groups().children(self.css).into_iter().filter_map(|css| Self::get(&self.swap, css));
        handles.filter(|handle| !handle.group().is_online()).collect()
    }

    /// Creates a child group of this group. Errors: as [`MemCgroups::create`].
    pub fn create(&self, name: &str) -> Result<Self> {
        let css = self.groups().create(self.css, name)?.css();
        // The new group is online unless another thread removed it already.
        Self::get(&self.swap, css).ok_or_else(|| MemCgroups::removed(name))
    }

    /// Removes the group, which takes the group offline. Errors: as [`Swap::remove_group`].
    pub fn remove(&self) -> Result<()> {
        self.swap.remove_group(self.css, CpuId(0))
    }

    /// Checks that the group is online. Errors: `Cgroup` (ENODEV) when the group was removed.
    pub fn require_online(&self) -> Result<()> {
        match self.group().is_online() {
            true => Ok(()),
            false => Err(MemCgroups::removed(&self.groups().name(self.css))),
        }
    }

    /// Sets the group's policy table. A child group that is created after the call starts with a copy of the table,
    /// without the device list. The device list applies to every descendant at once, because the device list of a
    /// descendant can only exclude further devices.
    ///
    /// Errors: ENODEV when the group is removed; EINVAL when the owner store (the place where the id of a slot's
    /// owner is kept) does not support the rule `dead_owner`, when the device list is empty, or when a device in the
    /// list is off.
    pub fn set_policy(&self, policy: GroupPolicy) -> Result<()> {
        if let Some(rule) = policy.dead_owner {
            self.groups().options().check_dead_owner(rule)?;
        }
        if let Some(types) = &policy.devices {
            if types.is_empty() {
                return Err(SwapError::cgroup(Errno::INVAL, "devices= is empty: set allow_swap=False instead".into()));
            }
            if let Some(ty) = types.iter().find(|&&ty| self.swap.device(ty).is_err()) {
                return Err(SwapError::cgroup(Errno::INVAL, format!("devices= names type {}, which is not on", ty.0)));
            }
        }
        self.require_online()?;
        self.groups().replace_policy(self.group(), policy);
        Ok(())
    }
}

impl Drop for GroupHandle {
    fn drop(&mut self) {
        self.groups().css_put(self.group(), 1);
    }
}
