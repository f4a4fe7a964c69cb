//! Region R4: who decides. The controller by itself, a person for a time, or a person who tries
//! things out with made-up values.
//!
//! An override always ends by itself, and never lifts what safety, a duty or a contract asks.

use serde::{Deserialize, Serialize};

use super::health::{Bypass, Inputs};
use super::order::{DebugValues, Order, Scope};
use super::output::Output;
use super::policy::{AuthorityPolicy, Policy, ms};
use super::requests::clock;
use super::trip::{TripCause, TripState};
use crate::notice::Severity;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// The controller.
    Auto,
    /// A person, for a time.
    Manual,
    /// The controller; beside it somebody tries made-up values.
    DebugSim,
}

/// A person's cap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManualOverride {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What it holds for.
    pub scope: Scope,
    /// At most so much.
    pub cap_kw: f64,
    /// Until then, on the clock of `Moment::elapsed_ms`.
    pub until_ms: u64,
    /// Until then, microseconds since 1970.
    pub until_us: i64,
}

/// Something that nobody may switch on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lockout {
    /// Who works there.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What it holds for.
    pub scope: Scope,
}

/// What is remembered of people's orders.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuthorityState {
    /// The override, while it lasts.
    pub manual: Option<ManualOverride>,
    /// Lockouts.
    pub lockouts: Vec<Lockout>,
    /// Made-up values, and who made them up.
    pub debug: Option<(String, DebugValues)>,
}

impl AuthorityState {
    /// Who decides.
    pub fn region(&self) -> Authority {
        match (&self.debug, &self.manual) {
            (Some(_), _) => Authority::DebugSim,
            (None, Some(_)) => Authority::Manual,
            _ => Authority::Auto,
        }
    }

    /// People work at the whole site.
    pub fn is_site_locked(&self) -> bool {
        self.lockouts.iter().any(|one| one.scope == Scope::Site)
    }

    /// Carries out orders. Returns whether trips were reset.
    pub fn take_orders(
        &mut self,
        orders: &[Order],
        policy: &Policy,
        trips: &mut TripState,
        inputs: &mut Inputs,
        output: &mut Output,
    ) -> bool {
        let mut is_reset = false;
        for order in orders {
            match self.take(order, policy, trips, inputs, output) {
                Ok(reset) => is_reset |= reset,
                Err(why) => output.news(
                    Severity::Warning,
                    "order/refused",
                    "an order was refused",
                    format!("{order:?}: {why}."),
                ),
            }
        }
        self.end_override_in_time(&policy.authority, output);
        is_reset
    }

    fn take(
        &mut self,
        order: &Order,
        policy: &Policy,
        trips: &mut TripState,
        inputs: &mut Inputs,
        output: &mut Output,
    ) -> Result<bool, String> {
        match order {
            Order::EmergencyStop { by, reason } => {
                let detail = format!("emergency stop by {by}: {reason}");
                trips.latch(TripCause::EmergencyStop, detail, output);
            }
            Order::ResetTrip { by, reason } => {
                trips.reset(&policy.trips, by, reason, output.now)?;
                let text = format!("{by} reset the trip: {reason}.");
                output.news(Severity::Info, "trip/reset", "the trip was reset", text);
                return Ok(true);
            }
            Order::Override { .. } => self.begin_override(order, &policy.authority, output)?,
            Order::EndOverride { by } => {
                self.manual = None;
                let text = format!("{by} ended it.");
                output.news(Severity::Info, "override/ended", "the override ended", text);
            }
            Order::Lockout { by, reason, scope } => {
                let lockout = Lockout {
                    by: by.clone(),
                    reason: reason.clone(),
                    scope: scope.clone(),
                };
                if !self.lockouts.contains(&lockout) {
                    self.lockouts.push(lockout);
                }
            }
            Order::EndLockout { by, reason, scope } => {
                explained(reason)?;
                // Each person removes their own lock.
                self.lockouts
                    .retain(|one| one.scope != *scope || one.by != *by);
            }
            Order::Bypass {
                by,
                reason,
                input,
                for_s,
            } => {
                explained(reason)?;
                let for_s = (*for_s).min(policy.authority.override_max_s);
                let known = inputs.0.get_mut(input).ok_or("there is no such input")?;
                known.bypass = Some(Bypass {
                    until_ms: output.now.elapsed_ms + ms(for_s),
                    by: by.clone(),
                    reason: reason.clone(),
                });
            }
            Order::EndBypass { input, .. } => {
                let known = inputs.0.get_mut(input).ok_or("there is no such input")?;
                known.bypass = None;
            }
            Order::Debug { by, values } => self.debug = Some((by.clone(), values.clone())),
            Order::EndDebug { .. } => self.debug = None,
        }
        Ok(false)
    }

    fn begin_override(
        &mut self,
        order: &Order,
        policy: &AuthorityPolicy,
        output: &mut Output,
    ) -> Result<(), String> {
        let Order::Override {
            by,
            reason,
            scope,
            cap_kw,
            for_s,
        } = order
        else {
            return Ok(());
        };
        explained(reason)?;
        if !(cap_kw.is_finite() && *cap_kw >= 0.0) {
            return Err(format!("{cap_kw} kW is no power"));
        }
        let for_s = for_s.unwrap_or(policy.override_default_s);
        if for_s > policy.override_max_s {
            let hours = policy.override_max_s / 3_600;
            return Err(format!("an override lasts at most {hours} hours"));
        }
        let until = output.now.plus_ms(ms(for_s));
        self.manual = Some(ManualOverride {
            by: by.clone(),
            reason: reason.clone(),
            scope: scope.clone(),
            cap_kw: *cap_kw,
            until_ms: until.elapsed_ms,
            until_us: until.utc_us,
        });
        Ok(())
    }

    fn end_override_in_time(&mut self, policy: &AuthorityPolicy, output: &mut Output) {
        let Some(manual) = &self.manual else { return };
        let left_ms = manual.until_ms.saturating_sub(output.now.elapsed_ms);
        if left_ms == 0 {
            let text = format!("The override of {} ended by itself.", manual.by);
            output.news(
                Severity::Warning,
                "override/ended",
                "the override ended",
                text,
            );
            self.manual = None;
        } else if left_ms <= ms(policy.override_warning_s) {
            output.alarm(
                Severity::Warning,
                "override/ends",
                "the override ends in a few minutes",
                format!(
                    "It ends at {}; order it anew if needed.",
                    clock(manual.until_us)
                ),
            );
        }
    }
}

fn explained(reason: &str) -> Result<(), String> {
    match reason.trim().is_empty() {
        true => Err("it needs a reason".to_owned()),
        false => Ok(()),
    }
}
