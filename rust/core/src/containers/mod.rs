//! Small containers over the newtypes of `base`. None of these containers depends on swap.

pub(crate) mod growing;
pub(crate) mod index_list;
pub(crate) mod orders;
pub(crate) mod percpu;
pub(crate) mod pieces;
pub(crate) mod plist;
pub(crate) mod shrink;
pub(crate) mod slab;
pub(crate) mod zeroed;
