//! Page data on its way between a folio and the place behind its slots: zero marks, zswap, real slots of a storage.

pub(crate) mod backing;
pub(crate) mod transfer;
pub(crate) mod zswap_store;
