//! Sets of folio orders.

use crate::base::error::{Result, SwapError};
use crate::base::types::Order;

/// Orders that a swap-in may have, a bit each. Order 0 is always one of them. Kernel: the `orders` mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Orders(u16);

impl Orders {
    /// Order 0 alone.
    pub const ZERO: Self = Self(0);

    /// One order, with order 0 to fall back to.
    pub const fn one(order: Order) -> Self {
        Self(1 << order.get())
    }

    /// Takes a mask, bit k for order k. Errors: `OutOfRange` (EINVAL) a bit over the largest order.
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

    /// Returns the highest order left, order 0 when there is none.
    pub(crate) fn highest(self) -> Order {
        if self.0 == 0 { Order::ZERO } else { Order::stored(self.0.ilog2() as u8) }
    }

    /// Adds order 0.
    pub(crate) fn with_zero(self) -> Self {
        Self(self.0 | 1)
    }

    /// Leaves an order out.
    pub(crate) fn without(self, order: Order) -> Self {
        Self(self.0 & !(1 << order.get()))
    }

    /// Leaves orders of a whole page table out. Kernel: `THP_ORDERS_ALL_ANON` below the PMD's.
    pub(crate) fn below_pmd(self) -> Self {
        self.without(Order::MAX)
    }

    /// Says whether no order was named: order 0 alone then.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}
