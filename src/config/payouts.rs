//! The `[payouts]` section: on which terms blocks found from now on are paid.
//!
//! The pool writes them into the rows of each block it finds, so that a change here never reaches a
//! block that was found before.

use headframe_pipelines::payout::{self, solo};
use headframe_schemas::stream::blocks::{MAX_FEE_BP, MAX_WINDOW_MILLI, PayoutTerms};
use serde::{Deserialize, Serialize};

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

/// How the pool's blocks are paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PayoutsSection {
    /// Whether blocks found from now on are paid by this program; without it their rows carry no
    /// terms.
    pub enabled: bool,
    /// How a reward is shared out: `pplns`, `prop` or `solo`.
    pub scheme: String,
    /// The work the PPLNS window reaches back, in blocks; thousandths count.
    pub window: f64,
    /// The pool's part in hundredths of a percent of the reward, rounded down.
    pub fee_bp: i64,
    /// The same of blocks that miners who mine solo find; as `fee_bp` when left out.
    pub solo_fee_bp: Option<i64>,
}

impl Default for PayoutsSection {
    fn default() -> Self {
        Self {
            enabled: true,
            scheme: "pplns".to_owned(),
            window: 2.0,
            fee_bp: 0,
            solo_fee_bp: None,
        }
    }
}

impl Section for PayoutsSection {
    const DOC: &'static str = "On which terms the pool's blocks are paid. They are written into \
                               the rows of each block when it is found, so that a change holds for \
                               blocks found later.";

    fn faults(&self, _: &Config) -> Vec<ConfigFault> {
        faults_of(self.validate())
    }
}

impl PayoutsSection {
    /// Refuses terms that nobody could be paid on. The reason names the key.
    pub fn validate(&self) -> Result<(), String> {
        if payout::find(&self.scheme).is_none() {
            let names: Vec<&str> = payout::ALL.iter().map(|scheme| scheme.name()).collect();
            return Err(format!(
                "payouts.scheme is {:?}; it must be one of {}",
                self.scheme,
                names.join(", ")
            ));
        }
        if self.window_milli().is_none() {
            let most = MAX_WINDOW_MILLI / 1_000;
            return Err(format!(
                "payouts.window is {}; it must be from 0.001 to {most} blocks, in whole \
                 thousandths",
                self.window
            ));
        }
        for (key, fee_bp) in [("fee_bp", self.fee_bp), ("solo_fee_bp", self.solo_fee_bp())] {
            if !(0..=MAX_FEE_BP).contains(&fee_bp) {
                return Err(format!(
                    "payouts.{key} is {fee_bp}; it must lie between 0 and {MAX_FEE_BP} (100 %)"
                ));
            }
        }
        Ok(())
    }

    /// The terms as rows of blocks carry them.
    pub fn terms(&self) -> PayoutTerms {
        match self.enabled {
            true => PayoutTerms {
                scheme: Some(self.scheme.clone()),
                window_milli: self.window_milli(),
                fee_bp: Some(self.fee_bp),
                solo: None,
            },
            false => PayoutTerms::default(),
        }
    }

    /// The same for blocks that miners who mine solo find: the finder alone is paid.
    pub fn solo_terms(&self) -> PayoutTerms {
        let terms = self.terms();
        PayoutTerms {
            scheme: terms.scheme.map(|_| solo::NAME.to_owned()),
            fee_bp: terms.fee_bp.map(|_| self.solo_fee_bp()),
            solo: Some(true),
            ..terms
        }
    }

    fn solo_fee_bp(&self) -> i64 {
        self.solo_fee_bp.unwrap_or(self.fee_bp)
    }

    /// Thousandths of a block. What people write as 1.5 is meant exactly, so the nearest thousandth
    /// must be what was written.
    fn window_milli(&self) -> Option<i64> {
        let milli = (self.window * 1_000.0).round();
        let exact = (self.window * 1_000.0 - milli).abs() < 1e-6;
        let fits = exact && milli >= 1.0 && milli <= MAX_WINDOW_MILLI as f64;
        fits.then_some(milli as i64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn section(text: &str) -> PayoutsSection {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn terms_are_written_as_they_stand_in_the_file() {
        let terms = section("scheme = \"prop\"\nwindow = 1.5\nfee_bp = 60").terms();
        assert_eq!(
            terms,
            PayoutTerms {
                scheme: Some("prop".to_owned()),
                window_milli: Some(1_500),
                fee_bp: Some(60),
                solo: None
            }
        );
        assert_eq!(
            section("").terms(),
            PayoutTerms {
                scheme: Some("pplns".to_owned()),
                window_milli: Some(2_000),
                fee_bp: Some(0),
                solo: None
            }
        );
        assert_eq!(section("enabled = false").terms(), PayoutTerms::default());
    }

    #[test]
    fn solo_pays_the_finder_at_its_own_fee_or_the_pools() {
        for (text, fee_bp) in [
            ("fee_bp = 60", 60),
            ("fee_bp = 60\nsolo_fee_bp = 150", 150),
            ("fee_bp = 60\nsolo_fee_bp = 0", 0),
        ] {
            let terms = section(text).solo_terms();
            assert_eq!(
                (terms.scheme.as_deref(), terms.fee_bp, terms.solo),
                (Some("solo"), Some(fee_bp), Some(true)),
                "{text}"
            );
        }
        let nobody = section("enabled = false\nsolo_fee_bp = 10").solo_terms();
        let solo = Some(true);
        let without = PayoutTerms {
            solo,
            ..PayoutTerms::default()
        };
        assert_eq!(nobody, without);
    }

    #[test]
    fn terms_that_make_no_sense_are_refused_by_their_key() {
        for (text, key) in [
            ("scheme = \"pps\"", "payouts.scheme"),
            ("window = 0.0", "payouts.window"),
            ("window = -2.0", "payouts.window"),
            ("window = 1.0005", "payouts.window"),
            ("window = 1000.5", "payouts.window"),
            ("window = nan", "payouts.window"),
            ("fee_bp = -1", "payouts.fee_bp"),
            ("fee_bp = 10001", "payouts.fee_bp"),
            ("solo_fee_bp = -1", "payouts.solo_fee_bp"),
            ("solo_fee_bp = 10001", "payouts.solo_fee_bp"),
        ] {
            let refused = section(text).validate().unwrap_err();
            assert!(refused.starts_with(key), "{text}: {refused}");
        }
        for text in [
            "window = 0.001",
            "window = 1000.0",
            "window = 2.3",
            "fee_bp = 10000",
        ] {
            assert_eq!(section(text).validate(), Ok(()), "{text}");
        }
    }
}
