//! A counted handle to a group: for bindings, which cannot borrow.

use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Result, SwapError};
use crate::memcg::{DeadSwapin, GroupPolicy, MemCgroup, MemCgroups, OwnerStore};
use crate::swap::Swap;
use crate::types::CssId;

/// Keeps a group from being freed, and its subsystem with it; it may be removed all the same. Kernel: a css reference.
#[derive(Debug)]
pub struct GroupHandle {
    swap: Arc<Swap>,
    css: CssId,
}

impl GroupHandle {
    /// Takes a handle to root. Errors: `Cgroup` (EINVAL) memcg is disabled.
    pub fn root(swap: &Arc<Swap>) -> Result<Self> {
        swap.memcg_enabled()?;
        Ok(Self::get(swap, CssId::ROOT).expect("root is never freed"))
    }

    /// Takes a handle to a group, unless nothing holds it any more or memcg is disabled. Kernel: `css_tryget`.
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

    /// Returns the controller.
    pub fn groups(&self) -> &MemCgroups {
        self.swap.memcg().expect("a handle is of a group")
    }

    /// Returns the group.
    pub fn group(&self) -> &MemCgroup {
        self.groups().get(self.css)
    }

    /// Returns the group above; `None` for root.
    pub fn parent(&self) -> Option<Self> {
        Self::get(&self.swap, self.group().parent()?)
    }

    /// Returns the groups right below that are online, in the order they were made.
    pub fn children(&self) -> Vec<Self> {
        let handles = self.groups().children(self.css).into_iter().filter_map(|css| Self::get(&self.swap, css));
        handles.filter(|handle| handle.group().is_online()).collect()
    }

    /// Makes a group below. Errors: as [`MemCgroups::create`].
    pub fn create(&self, name: &str) -> Result<Self> {
        let css = self.groups().create(self.css, name)?.css();
        // Online, unless somebody was quick to remove it.
        Self::get(&self.swap, css).ok_or_else(|| MemCgroups::removed(name))
    }

    /// Takes the group offline. Errors: as [`MemCgroups::remove`].
    pub fn remove(&self) -> Result<()> {
        self.groups().remove(self.css)
    }

    /// Sets what decides for the group without asking anybody, and for groups made below it from now on.
    ///
    /// Errors, all `Cgroup`: ENODEV the group is removed; EINVAL the owner store cannot keep what is to happen to dead owners.
    pub fn set_policy(&self, policy: GroupPolicy) -> Result<()> {
        let options = self.groups().options();
        if policy.dead_owner == Some(DeadSwapin::FaultMm) && options.owner_store == OwnerStore::Shadow {
            let what = "dead_owner=fault_mm needs another owner_store than shadow, which cannot keep slots of a dead group \
                        its own under a folio of another";
            return Err(SwapError::cgroup(Errno::INVAL, what.into()));
        }
        if !self.group().is_online() {
            return Err(MemCgroups::removed(&self.groups().name(self.css)));
        }
        self.group().set_policy(policy);
        Ok(())
    }
}

impl Drop for GroupHandle {
    fn drop(&mut self) {
        self.groups().css_put(self.group(), 1);
    }
}
