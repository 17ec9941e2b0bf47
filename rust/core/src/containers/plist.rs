//! A list sorted by priority. Devices of equal priority are in the order of insertion, and a requeue rotates devices
//! of equal priority.

use crate::base::types::SwpType;

/// Devices by descending priority. Kernel: a plist with key = -priority.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plist(Vec<(i32, SwpType)>);

impl Plist {
    /// Adds a device behind the devices of equal priority. Kernel: `plist_add`.
    pub(crate) fn add(&mut self, prio: i32, ty: SwpType) {
        let at = self.0.iter().position(|&(other, _)| other < prio).unwrap_or(self.0.len());
        self.0.insert(at, (prio, ty));
    }

    /// Removes a device. Returns whether the device was in the list. Kernel: `plist_del`.
    pub(crate) fn remove(&mut self, ty: SwpType) -> bool {
        let at = self.0.iter().position(|&(_, other)| other == ty);
        at.map(|at| self.0.remove(at)).is_some()
    }

    /// Moves a device behind the devices of equal priority. Kernel: `plist_requeue`.
    pub(crate) fn requeue(&mut self, ty: SwpType) {
        if let Some(at) = self.0.iter().position(|&(_, other)| other == ty) {
            let prio = self.0[at].0;
            let equals = self.0[at..].iter().take_while(|&&(other, _)| other == prio).count();
            self.0[at..at + equals].rotate_left(1);
        }
    }

    /// Replaces every priority and keeps the order of the list.
    pub(crate) fn reprioritise(&mut self, prio_of: impl Fn(SwpType) -> i32) {
        self.0.iter_mut().for_each(|(prio, ty)| *prio = prio_of(*ty));
    }

    /// Returns the devices in list order; an allocation tries the first device first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = SwpType> {
        self.0.iter().map(|&(_, ty)| ty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(list: &Plist) -> Vec<u8> {
        list.iter().map(|ty| ty.0).collect()
    }

    #[test]
    fn higher_priority_first_equals_as_they_came() {
        let mut list = Plist::default();
        for (prio, ty) in [(1, 0), (5, 1), (1, 2), (5, 3), (-1, 4)] {
            list.add(prio, SwpType(ty));
        }
        assert_eq!(order(&list), [1, 3, 0, 2, 4]);
        list.requeue(SwpType(1));
        assert_eq!(order(&list), [3, 1, 0, 2, 4]);
        list.requeue(SwpType(2));
        list.requeue(SwpType(4));
        assert_eq!(order(&list), [3, 1, 0, 2, 4]);
        assert!(list.remove(SwpType(3)) && !list.remove(SwpType(3)));
        assert_eq!(order(&list), [1, 0, 2, 4]);
    }
}
