//! What all outlets and relays have in common: a channel is written, then read back.

use async_trait::async_trait;

use super::{ActuateFailure, Actuator, Control, Link, Outcome, ReadBack};
use crate::command::Action;

/// A device with relays.
#[async_trait]
pub trait Relays: Send + Sync {
    /// Refuses a control that it cannot have. The error names the key.
    fn check(&self, control: &Control) -> Result<(), String>;
    /// Writes a relay. With `back_after_s` the device itself puts it back after that time.
    async fn write(
        &self,
        channel: &str,
        is_on: bool,
        back_after_s: Option<u32>,
        link: &Link<'_>,
    ) -> Result<(), ActuateFailure>;
    /// Reads a relay.
    async fn read(&self, channel: &str, link: &Link<'_>) -> Result<ReadBack, ActuateFailure>;
}

/// An actuator of relays.
pub struct RelayActuator<R>(pub R);

fn channel(control: &Control) -> &str {
    control.channel.as_deref().unwrap_or_default()
}

#[async_trait]
impl<R: Relays> Actuator for RelayActuator<R> {
    fn check(&self, control: &Control) -> Result<(), String> {
        if let Some(dead_man) = control.dead_man
            && !(5..=86_400).contains(&dead_man.after_s)
        {
            return Err("dead_man.after_s must be 5 to 86400".to_owned());
        }
        self.0.check(control)
    }

    async fn apply(
        &self,
        control: &Control,
        action: Action,
        link: &Link<'_>,
    ) -> Result<Outcome, ActuateFailure> {
        let wants_on = match action {
            Action::On => true,
            Action::Off => false,
            Action::Mode(_) | Action::LimitWatts(_) => {
                let reason = "a relay is on or off; it has no modes and no limits";
                return Err(ActuateFailure::Unsupported(reason.to_owned()));
            }
        };
        // The timer runs only away from the resting state.
        let timer = control.dead_man.filter(|timer| timer.rests_on != wants_on);
        let is_on = wants_on != control.inverted;
        let channel = channel(control);
        self.0
            .write(channel, is_on, timer.map(|timer| timer.after_s), link)
            .await?;
        let found = self.0.read(channel, link).await?;
        match found.is_on {
            Some(found) if found == is_on => Ok(Outcome::Verified),
            Some(_) => Err(ActuateFailure::NotVerified(format!(
                "relay {channel} took the command and is still {}",
                if is_on { "off" } else { "on" }
            ))),
            None => Ok(Outcome::Acknowledged),
        }
    }

    async fn read_back(
        &self,
        control: &Control,
        link: &Link<'_>,
    ) -> Result<ReadBack, ActuateFailure> {
        let found = self.0.read(channel(control), link).await?;
        Ok(ReadBack {
            is_on: found.is_on.map(|is_on| is_on != control.inverted),
            ..found
        })
    }
}

/// A channel that is a number within bounds. The error names the key.
pub fn numbered(control: &Control, least: u32, most: u32) -> Result<u32, String> {
    let text = channel(control);
    let number = text.parse().ok();
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("channel is {text:?}; it must be {least} to {most}"))
}
