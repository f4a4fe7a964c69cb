//! SOLO: the finder gets the block.

use super::{ONE, Scheme, SchemeWalk, ShareWork, WalkStep};

/// The scheme's name.
pub const NAME: &str = "solo";

/// Whoever finds the block gets it.
pub struct Solo;

struct Winner;

impl Scheme for Solo {
    fn name(&self) -> &'static str {
        NAME
    }
    fn doc(&self) -> &'static str {
        "Pays the miner whose share made the block."
    }
    fn walk(&self, _: u128) -> Box<dyn SchemeWalk> {
        Box::new(Winner)
    }
}

impl SchemeWalk for Winner {
    fn take_share(&mut self, _: &ShareWork<'_>) -> WalkStep {
        WalkStep::Last(ONE)
    }

    fn take_segment(&mut self, _: u128, _: bool) -> bool {
        false
    }
}
