//! Attributes of `Swap` for large folios.

use pyo3::prelude::*;
use swapcore::machine::ThpDefrag;

use super::Swap;
use crate::border::errors::Result;

getters! {
    Swap(this):
    thp_defrag: &'static str = this.swap.thp_defrag().name();
}

#[pymethods]
impl Swap {
    #[setter]
    fn set_thp_defrag(&self, defrag: &str) -> Result<()> {
        self.swap.set_thp_defrag(ThpDefrag::from_name(defrag)?);
        Ok(())
    }
}
