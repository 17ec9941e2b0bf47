//! Sets of folio orders.

use crate::base::error::{Result, SwapError};
use crate::base::types::Order;

/// The folio orders that a swap-in may use, one bit per order. A swap-in may use order 0 even when bit 0 is clear.
/// Kernel: the `orders` mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Orders(u16);

impl Orders {
    /// The mask 0, with which a swap-in may use order 0 only.
    pub const ZERO: Self = Self(0);

    /// Returns the set that contains one order. A swap-in may still fall back to order 0.
    pub const fn one(order: Order) -> Self {
        Self(1 << order.get())
    }

    /// Returns the set of all orders up to `order`.
    pub(crate) fn up_to(order: Order) -> Self {
        Self((1 << (order.get() + 1)) - 1)
    }

    /// Makes a set from a mask, in which bit k stands for order k. Errors: `OutOfRange` (EINVAL) when a bit above the
    /// largest order is set.
    pub fn from_bits(bits: u16) -> Result<Self> {
        let high = (1 << crate::base::limits::SWAP_NR_ORDERS) - 1;
        if u64::from(bits) > high {
            return Err(SwapError::OutOfRange { what: "orders mask", value: bits.into(), low: 0, high });
        }
        Ok(Self(bits))
    }

    /// Returns the mask.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Returns the highest order of the set, or order 0 when the set is empty.
    pub(crate) fn highest(self) -> Order {
        if self.0 == 0 { Order::ZERO } else { Order::stored(self.0.ilog2() as u8) }
    }

    /// Adds order 0 to the set.
    pub(crate) fn with_zero(self) -> Self {
        Self(self.0 | 1)
    }

    /// Removes an order from the set.
    pub(crate) fn without(self, order: Order) -> Self {
        Self(self.0 & !(1 << order.get()))
    }

    /// Removes order 9, because a folio of order 9 fills a whole page table, which a PMD entry maps in the kernel.
    /// Kernel: the orders of `THP_ORDERS_ALL_ANON` below the PMD order.
    pub(crate) fn below_pmd(self) -> Self {
        self.without(Order::MAX)
    }

    /// Returns whether the mask is 0. With this mask a swap-in may use order 0 only.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}
