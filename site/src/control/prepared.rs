//! What is prepared for an event that was announced: the machines that will be stopped, so that
//! people see them beforehand and the event begins with them.

use serde::{Deserialize, Serialize};

use super::machine::MachineState;
use super::policy::ms;
use super::requests::Announced;
use super::selection;
use super::site_plan::Site;
use crate::moment::Moment;

/// The machines that an announced event will stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreparedShed {
    /// The signal that announced it.
    pub source: String,
    /// When the event begins, in microseconds since 1970.
    pub starts_at_us: i64,
    /// The most that the site may draw then.
    pub cap_kw: f64,
    /// Places in the plan of the machines, in the order in which they are stopped.
    pub machines: Vec<u32>,
    /// Kilowatts that stopping them brings.
    pub kw: f64,
    /// When it was worked out; on the clock of [`Moment::elapsed_ms`].
    pub made_ms: u64,
}

impl PreparedShed {
    /// Works it out for a site that will draw `settled_kw` without the event.
    pub fn new(
        site: &Site,
        machines: &[MachineState],
        event: &Announced,
        settled_kw: f64,
        now: Moment,
    ) -> Self {
        let excess_w = (settled_kw - (event.cap_kw - site.margin_kw())) * 1_000.0;
        let chosen = match excess_w > 0.0 {
            true => {
                let wanted = selection::SelectionGoal {
                    excess_w,
                    level: event.class.level(),
                    // Low power in place of the last one is chosen when the event begins.
                    may_trim: true,
                    now_ms: now.elapsed_ms,
                };
                selection::select(site, machines, wanted).stops
            }
            false => Vec::new(),
        };
        let gain = |at: &usize| selection::gain_w(&machines[*at], &site.plan.machines[*at]);
        Self {
            source: event.source.clone(),
            starts_at_us: event.starts_at_us,
            cap_kw: event.cap_kw,
            kw: super::observation::rounded(chosen.iter().map(gain).sum::<f64>() / 1_000.0),
            machines: chosen
                .iter()
                .filter_map(|at| u32::try_from(*at).ok())
                .collect(),
            made_ms: now.elapsed_ms,
        }
    }

    /// It is for this event, and not so old that machines have changed.
    pub fn is_for(&self, event: &Announced, site: &Site, now: Moment) -> bool {
        let age_ms = now.elapsed_ms.saturating_sub(self.made_ms);
        self.source == event.source
            && self.starts_at_us == event.starts_at_us
            && self.cap_kw == event.cap_kw
            && age_ms < ms(site.policy.health.loop_s)
    }

    /// It says the same as another.
    pub fn is_same(&self, other: &Self) -> bool {
        let one = Self {
            kw: other.kw,
            made_ms: other.made_ms,
            ..self.clone()
        };
        one == *other
    }
}
