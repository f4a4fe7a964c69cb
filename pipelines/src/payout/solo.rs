//! SOLO: the finder gets the block.

use super::{ONE, Scheme, ShareWork, Step, Walk};

/// Whoever finds the block gets it.
pub struct Solo;

struct Winner;

impl Scheme for Solo {
    fn name(&self) -> &'static str {
        "solo"
    }
    fn doc(&self) -> &'static str {
        "Pays the miner whose share made the block."
    }
    fn walk(&self, _: u128) -> Box<dyn Walk> {
        Box::new(Winner)
    }
}

impl Walk for Winner {
    fn step(&mut self, _: &ShareWork<'_>) -> Step {
        Step::Last(ONE)
    }

    fn stretch(&mut self, _: u128, _: bool) -> bool {
        false
    }
}
