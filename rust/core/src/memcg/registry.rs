//! The registered hooks, and the notices that wait for them until no lock is held.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::policy::{LimitKind, MemcgPolicy};
use crate::base::sync::SpinMutex;
use crate::base::types::CssId;

/// A limit that refused a charge, queued for the hooks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LimitNotice {
    pub(crate) group: CssId,
    pub(crate) limit: LimitKind,
    pub(crate) nr_pages: u64,
}

/// The registered hooks and their queue.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// Read before anything else, because most subsystems have no hooks.
    is_set: AtomicBool,
    policy: RwLock<Option<Arc<dyn MemcgPolicy>>>,
    notices: SpinMutex<Vec<LimitNotice>>,
    /// Where `races` enters a swap-in between the insertion into the swap cache and the charge.
    #[cfg(test)]
    pub(crate) swapin_probe: std::sync::OnceLock<Arc<dyn SwapinProbe>>,
}

/// A step of the tests inside a swap-in. An error of the step takes the place of the charge's answer.
#[cfg(test)]
pub(crate) trait SwapinProbe: Send + Sync + std::fmt::Debug {
    /// Runs once a charge of a swap-in, before the charge. No lock is held but the folio's.
    fn before_charge(&self) -> crate::base::error::Result<()>;
}

impl Policies {
    /// Replaces the hooks.
    pub(crate) fn set(&self, policy: Option<Arc<dyn MemcgPolicy>>) {
        let mut place = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: a thread that reads the old value acts as if it had run a moment earlier.
        self.is_set.store(policy.is_some(), Ordering::Relaxed);
        let old = std::mem::replace(&mut *place, policy);
        drop(place);
        // The old hooks are dropped after the lock is released, because their destructor may call back into this
        // type. Notices still queued for them are discarded.
        drop(old);
        self.take_notices();
    }

    /// Returns whether hooks are registered.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // Relaxed: see `set`.
        self.is_set.load(Ordering::Relaxed)
    }

    /// Returns the hooks.
    pub(crate) fn get(&self) -> Option<Arc<dyn MemcgPolicy>> {
        if !self.is_set() {
            return None;
        }
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Queues a notice.
    pub(crate) fn note(&self, notice: LimitNotice) {
        if self.is_set() {
            self.notices.lock().push(notice);
        }
    }

    /// Takes the queued notices.
    pub(crate) fn take_notices(&self) -> Vec<LimitNotice> {
        std::mem::take(&mut *self.notices.lock())
    }
}
