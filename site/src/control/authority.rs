//! Region R4: who decides. The controller by itself, a person for a time, or a person who tries
//! things out with made-up values.
//!
//! An override always ends by itself, and never lifts what safety, a duty or a contract asks.

use serde::{Deserialize, Deserializer, Serialize};

use super::health::{Bypass, Inputs};
use super::order::{DebugValues, Order, Refusal, Scope, is_same_person, person};
use super::output::Output;
use super::policy::{AuthorityPolicy, Policy, ms};
use super::requests::clock;
use super::trip::{TripCause, TripState};
use crate::notice::Severity;

/// Lockouts that may stand at a time.
pub const MOST_LOCKOUTS: usize = 100;
/// Bypasses that may stand at a time.
pub const MOST_BYPASSES: usize = 100;

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
    /// Overrides while they last, one for each scope.
    #[serde(default, alias = "manual", deserialize_with = "one_or_many")]
    pub overrides: Vec<ManualOverride>,
    /// Lockouts.
    pub lockouts: Vec<Lockout>,
    /// Why nothing is started until a person resets it: nothing could be written at the start.
    #[serde(default)]
    pub start_hold: Option<String>,
    /// Made-up values, and who made them up.
    pub debug: Option<(String, DebugValues)>,
    /// Until when made-up values stand, on the clock of `Moment::elapsed_ms`; none in journals of
    /// before.
    #[serde(default)]
    pub debug_until_ms: Option<u64>,
}

/// Journals of before had one override or none.
fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ManualOverride>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Many(Vec<ManualOverride>),
        One(Option<ManualOverride>),
    }
    Ok(match Written::deserialize(from)? {
        Written::Many(all) => all,
        Written::One(one) => one.into_iter().collect(),
    })
}

impl AuthorityState {
    /// Who decides.
    pub fn region(&self) -> Authority {
        match (&self.debug, self.overrides.is_empty()) {
            (Some(_), _) => Authority::DebugSim,
            (None, false) => Authority::Manual,
            (None, true) => Authority::Auto,
        }
    }

    /// People work at the whole site.
    pub fn is_site_locked(&self) -> bool {
        self.lockouts.iter().any(|one| one.scope == Scope::Site)
    }

    /// Carries out orders.
    pub fn take_orders(
        &mut self,
        orders: &[Order],
        policy: &Policy,
        trips: &mut TripState,
        inputs: &mut Inputs,
        output: &mut Output,
    ) {
        for (place, order) in orders.iter().enumerate() {
            if let Err(reason) = self.take(order, policy, trips, inputs, output) {
                output.news(
                    Severity::Warning,
                    "order/refused",
                    "an order was refused",
                    format!("{order:?}: {reason}."),
                );
                let order = place;
                output.refused.push(Refusal { order, reason });
            }
        }
        self.end_overrides_in_time(&policy.authority, output);
        self.end_debug_in_time(output);
    }

    fn take(
        &mut self,
        order: &Order,
        policy: &Policy,
        trips: &mut TripState,
        inputs: &mut Inputs,
        output: &mut Output,
    ) -> Result<(), String> {
        match order {
            Order::EmergencyStop { by, reason } => {
                let detail = format!("emergency stop by {by}: {reason}");
                trips.latch(TripCause::EmergencyStop, detail, output);
            }
            Order::ResetTrip { by, reason } => {
                trips.reset(&policy.trips, by, reason, output.now)?;
                self.start_hold = None;
                let text = format!("{by} reset the trip: {reason}.");
                output.news(Severity::Info, "trip/reset", "the trip was reset", text);
            }
            Order::Override { .. } => self.begin_override(order, &policy.authority, output)?,
            Order::EndOverride { by, scope } => {
                let ended = self.end_override(scope.as_ref())?;
                let text = format!("{by} ended that of {}, by {}.", ended.scope, ended.by);
                output.news(Severity::Info, "override/ended", "the override ended", text);
            }
            Order::Lockout { by, reason, scope } => {
                let lockout = Lockout {
                    by: by.clone(),
                    reason: reason.clone(),
                    scope: scope.clone(),
                };
                if !self.lockouts.contains(&lockout) {
                    below(self.lockouts.len(), MOST_LOCKOUTS, "lockouts")?;
                    self.lockouts.push(lockout);
                }
            }
            Order::EndLockout { by, reason, scope } => {
                check_reason(reason)?;
                self.end_lockouts(by, scope)?;
            }
            Order::Bypass {
                by,
                reason,
                input,
                for_s,
            } => {
                check_reason(reason)?;
                check_time("a bypass", *for_s, &policy.authority)?;
                let others = inputs.bypassed().filter(|name| *name != input).count();
                below(others, MOST_BYPASSES, "bypasses")?;
                let known = inputs.0.get_mut(input).ok_or_else(|| no_input(input))?;
                known.bypass = Some(Bypass {
                    until_ms: output.now.elapsed_ms + ms(*for_s),
                    by: by.clone(),
                    reason: reason.clone(),
                });
            }
            Order::EndBypass { input, .. } => {
                let known = inputs.0.get_mut(input).ok_or_else(|| no_input(input))?;
                known.bypass = None;
            }
            Order::AcceptLayout { .. } => accept_layout(order, output)?,
            Order::Debug { by, values } => {
                self.debug = Some((by.clone(), values.clone()));
                let for_ms = ms(policy.authority.override_default_s);
                self.debug_until_ms = Some(output.now.elapsed_ms + for_ms);
            }
            Order::EndDebug { .. } => (self.debug, self.debug_until_ms) = (None, None),
        }
        Ok(())
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
        check_reason(reason)?;
        if !(cap_kw.is_finite() && *cap_kw >= 0.0) {
            return Err(format!("{cap_kw} kW is no power"));
        }
        let for_s = for_s.unwrap_or(policy.override_default_s);
        check_time("an override", for_s, policy)?;
        let mut others = self.overrides.iter();
        let other = others.find(|one| one.scope == *scope);
        if let Some(other) = other.filter(|other| !is_same_person(&other.by, by)) {
            return Err(format!(
                "{} overrides {scope} already, at most {} kW; end that override first, or ask them",
                other.by, other.cap_kw
            ));
        }
        self.overrides.retain(|one| one.scope != *scope);
        let until = output.now.plus_ms(ms(for_s));
        self.overrides.push(ManualOverride {
            by: by.clone(),
            reason: reason.clone(),
            scope: scope.clone(),
            cap_kw: *cap_kw,
            until_ms: until.elapsed_ms,
            until_us: until.utc_us,
        });
        Ok(())
    }

    fn end_override(&mut self, scope: Option<&Scope>) -> Result<ManualOverride, String> {
        let place = match scope {
            Some(scope) => self.overrides.iter().position(|one| one.scope == *scope),
            None if self.overrides.len() > 1 => {
                let scopes = self.overrides.iter().map(|one| one.scope.to_string());
                let scopes: Vec<String> = scopes.collect();
                let scopes = scopes.join(", ");
                return Err(format!("several stand; say the scope of one of {scopes}"));
            }
            None => self.overrides.first().map(|_| 0),
        };
        match (place, scope) {
            (Some(place), _) => Ok(self.overrides.remove(place)),
            (None, Some(scope)) => Err(format!("nobody overrides {scope}")),
            (None, None) => Err("no override stands".to_owned()),
        }
    }

    /// Each person removes their own locks, however they were known then and are now.
    fn end_lockouts(&mut self, by: &str, scope: &Scope) -> Result<(), String> {
        let is_own = |one: &Lockout| one.scope == *scope && is_same_person(&one.by, by);
        if !self.lockouts.iter().any(is_own) {
            let others = self.lockouts.iter().filter(|one| one.scope == *scope);
            let mut names: Vec<&str> = others.map(|one| person(&one.by)).collect();
            names.dedup();
            return Err(match names.is_empty() {
                true => format!("nobody locked {scope} out"),
                false => format!(
                    "{scope} is locked out by {}, and each person removes their own lock; \
                     say that name in by",
                    names.join(", ")
                ),
            });
        }
        self.lockouts.retain(|one| !is_own(one));
        Ok(())
    }

    fn end_overrides_in_time(&mut self, policy: &AuthorityPolicy, output: &mut Output) {
        let now_ms = output.now.elapsed_ms;
        for manual in &self.overrides {
            let left_ms = manual.until_ms.saturating_sub(now_ms);
            if left_ms == 0 {
                output.news(
                    Severity::Warning,
                    "override/ended",
                    "the override ended",
                    format!(
                        "The override of {} by {} ended by itself.",
                        manual.scope, manual.by
                    ),
                );
            } else if left_ms <= ms(policy.override_warning_s) {
                output.alarm(
                    Severity::Warning,
                    match &manual.scope {
                        Scope::Site => "override/ends".to_owned(),
                        scope => format!("override/ends/{scope}"),
                    },
                    format!("the override of {} ends in a few minutes", manual.scope),
                    format!(
                        "It ends at {}; order it anew if needed.",
                        clock(manual.until_us)
                    ),
                );
            }
        }
        self.overrides.retain(|one| one.until_ms > now_ms);
    }

    /// Nobody forgets made-up values for ever: where they drive the site, it is blind to real ones.
    fn end_debug_in_time(&mut self, output: &mut Output) {
        let is_over = |until: &mut u64| *until <= output.now.elapsed_ms;
        if self.debug_until_ms.take_if(is_over).is_none() {
            return;
        }
        let Some((by, _)) = self.debug.take() else {
            return;
        };
        output.news(
            Severity::Warning,
            "debug/ended",
            "made-up values ended",
            format!("Those of {by} ended by themselves; real readings are used."),
        );
    }
}

/// Says who accepted the new layout of a signal's page; the signal takes it then.
fn accept_layout(order: &Order, output: &mut Output) -> Result<(), String> {
    let Order::AcceptLayout {
        by,
        reason,
        signal,
        layout,
    } = order
    else {
        return Ok(());
    };
    check_reason(reason)?;
    output.news(
        Severity::Info,
        "signal/layout",
        "the new layout of a signal's page was accepted",
        format!("{by} accepted the layout {layout} of {signal}: {reason}."),
    );
    Ok(())
}

fn no_input(input: &str) -> String {
    format!("there is no input {input:?}; /api/v1/site lists those that there are")
}

fn check_time(what: &str, for_s: u64, policy: &AuthorityPolicy) -> Result<(), String> {
    let most = policy.override_max_s;
    match (1..=most).contains(&for_s) {
        true => Ok(()),
        false => Err(format!(
            "{what} of {for_s} s is not possible; say for_s from 1 to {most}"
        )),
    }
}

/// One more may be added.
fn below(count: usize, most: usize, what: &str) -> Result<(), String> {
    match count < most {
        true => Ok(()),
        false => Err(format!("there are {most} {what} already; remove one first")),
    }
}

fn check_reason(reason: &str) -> Result<(), String> {
    match reason.trim().is_empty() {
        true => Err("it needs a reason".to_owned()),
        false => Ok(()),
    }
}
