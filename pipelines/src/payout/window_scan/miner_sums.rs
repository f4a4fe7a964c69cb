//! What each miner's shares come to while a window is scanned: by number, since looking up a name
//! costs much more than adding to a sum.

use super::group_sums::GroupSums;
use super::miner_ids::MinerIds;
use crate::payout::Window;

/// Weight and shares by the number of a miner's name.
#[derive(Default)]
pub struct MinerSums(Vec<(u128, u64)>);

impl MinerSums {
    /// Adds shares of the miner with this number.
    pub fn add(&mut self, number: u32, weight: u128, shares: u64) {
        let place = number as usize;
        if place >= self.0.len() {
            self.0.resize((place + 1).next_power_of_two(), (0, 0));
        }
        let sum = &mut self.0[place];
        *sum = (sum.0.saturating_add(weight), sum.1 + shares);
    }

    /// Adds the sums of a row group.
    pub fn add_all(&mut self, sums: &GroupSums) {
        for (number, weight, shares) in &sums.sums {
            self.add(*number, *weight, *shares);
        }
    }

    /// All of it as a window. A miner of whom nothing came is not in it.
    pub fn window(&self, names: &MinerIds) -> Window {
        let mut window = Window::default();
        for (name, (weight, shares)) in names
            .iter()
            .zip(&self.0)
            .filter(|(_, (_, shares))| *shares > 0)
        {
            window.add(name, *weight, *shares);
        }
        window
    }
}
