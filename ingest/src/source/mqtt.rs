//! `mqtt`: devices that publish to a broker: Tasmota, Shelly of the second generation, and any
//! others by their topics.
//!
//! A poll takes the newest message of each topic since the one before. A message that the broker
//! retained tells nobody when it was published: it is no reading, unless its own clock says that it
//! is young enough. A device that is gone, by its last will, is failed at once.

use std::path::PathBuf;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::mqtt_packet::{Stored, stored};
use super::readings::{Measured, check_quantity, converted};
use super::{
    AddressForm, Device, Keys, Query, Readings, Request, Source, Standing, Subscription, json,
    parse_keys, shelly, tasmota,
};

const MOST_VALUES: usize = 200;
const MOST_TOPIC_BYTES: usize = 1_024;
/// Seconds that a device's clock may be ahead of ours where it says how old a message is.
const AHEAD_S: f64 = 60.0;

/// The kind.
pub struct Mqtt;

impl Source for Mqtt {
    fn kind(&self) -> &'static str {
        "mqtt"
    }
    fn doc(&self) -> &'static str {
        "Devices that publish to a broker of MQTT 3.1.1."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Mqtt
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "preset",
                "`tasmota` or `shelly` (second generation), with `topic`; or `values` instead.",
            ),
            (
                "topic",
                "With `preset`: the device's own topic, as `plug-1` of `tele/plug-1/SENSOR`, or \
                 `shellyplus1pm-a8032ab12345` of `shellyplus1pm-a8032ab12345/status/switch:0`.",
            ),
            (
                "switches",
                "Preset `shelly`: the ids of its switches; `[0]` when left out.",
            ),
            (
                "values",
                "A list of `{ topic, pointer, quantity, part, factor, offset, fahrenheit, \
                 missing, on, off }`: a topic without wildcards, and where in its JSON the value \
                 stands; without a pointer the message is the value. With `on` and `off` these \
                 texts mean 1 and 0, and any other is missing. The rest is as in `http_json`.",
            ),
            (
                "progress",
                "With `values`: the pointer, in any of the messages, of what moves on with every \
                 reading; without it every message is new.",
            ),
            (
                "clock",
                "With `values`: the pointer, in any of the messages, of the device's time in \
                 seconds since 1970.",
            ),
            (
                "will",
                "`{ topic, offline }`: where its last will goes, and the text that says that it is \
                 gone. The presets have it.",
            ),
            (
                "retained_max_age_s",
                "A retained message counts when the device's `clock` in it says that it is at most \
                 so old; none counts when left out.",
            ),
            (
                "tls_ca",
                "A PEM file with the authorities that may have signed the broker's certificate; \
                 those of the system when left out.",
            ),
        ]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let keys: MqttKeys = parse_keys(keys)?;
        if keys.values.len() > MOST_VALUES {
            return Err(format!("values must have at most {MOST_VALUES} entries"));
        }
        let device = keys.device()?;
        for topic in device.topics() {
            let is_plain = !topic.is_empty()
                && topic.len() <= MOST_TOPIC_BYTES
                && !topic.contains(['+', '#', '\0']);
            if !is_plain {
                return Err(format!(
                    "the topic {topic:?} must have 1 to {MOST_TOPIC_BYTES} bytes and no wildcards"
                ));
            }
        }
        Ok(Box::new(device))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MqttKeys {
    preset: Option<Preset>,
    topic: Option<String>,
    switches: Option<Vec<u8>>,
    #[serde(default)]
    values: Vec<TopicValue>,
    progress: Option<String>,
    clock: Option<String>,
    will: Option<Will>,
    retained_max_age_s: Option<f64>,
    tls_ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Preset {
    Tasmota,
    Shelly,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicValue {
    topic: String,
    pointer: Option<String>,
    quantity: String,
    #[serde(default)]
    part: String,
    factor: Option<f64>,
    #[serde(default)]
    offset: f64,
    #[serde(default)]
    fahrenheit: bool,
    #[serde(default)]
    missing: Vec<f64>,
    on: Option<String>,
    off: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Will {
    topic: String,
    offline: String,
}

impl MqttKeys {
    fn device(self) -> Result<MqttDevice, String> {
        for value in &self.values {
            value.check()?;
        }
        let pointers = self
            .values
            .iter()
            .filter_map(|value| value.pointer.as_ref());
        for pointer in pointers.chain(&self.progress).chain(&self.clock) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(format!("the pointer {pointer:?} must begin with /"));
            }
        }
        if self
            .retained_max_age_s
            .is_some_and(|age| age.is_nan() || age < 0.0)
        {
            return Err("retained_max_age_s must be at least 0".to_owned());
        }
        let of_preset = |topic: &str, offline: &str| Will {
            topic: topic.to_owned(),
            offline: offline.to_owned(),
        };
        let (shape, will) = match (self.preset, self.topic, self.values.is_empty()) {
            (Some(Preset::Tasmota), Some(topic), true) => (
                Shape::Tasmota {
                    sensor: format!("tele/{topic}/SENSOR"),
                    state: format!("tele/{topic}/STATE"),
                },
                Some(of_preset(&format!("tele/{topic}/LWT"), "Offline")),
            ),
            (Some(Preset::Shelly), Some(topic), true) => {
                let switches = self.switches.unwrap_or_else(|| vec![0]);
                if switches.is_empty() || switches.len() > 16 {
                    return Err("switches must have 1 to 16 ids".to_owned());
                }
                let topics = switches.iter();
                let topics = topics.map(|id| (format!("{topic}/status/switch:{id}"), *id));
                let will = of_preset(&format!("{topic}/online"), "false");
                (Shape::Shelly(topics.collect()), Some(will))
            }
            (None, None, false) => (Shape::Own(self.values), None),
            _ => return Err("set either preset and topic, or values".to_owned()),
        };
        Ok(MqttDevice {
            shape,
            progress: self.progress,
            clock: self.clock,
            will: self.will.or(will),
            retained_max_age_s: self.retained_max_age_s,
            tls_ca: self.tls_ca,
        })
    }
}

impl TopicValue {
    fn check(&self) -> Result<(), String> {
        check_quantity(&self.quantity)?;
        match (&self.on, &self.off) {
            (None, None) => Ok(()),
            (Some(on), Some(off)) if on != off => Ok(()),
            _ => Err("on and off belong together and differ".to_owned()),
        }
    }

    /// The value in a message. The error says why the message is none.
    fn value(&self, payload: &[u8]) -> Result<Option<f64>, String> {
        let found = match &self.pointer {
            Some(pointer) => document(&self.topic, payload)?.pointer(pointer).cloned(),
            None => {
                let text = std::str::from_utf8(payload)
                    .map_err(|_| format!("the message at {} is no text", self.topic))?;
                Some(Value::String(text.trim().to_owned()))
            }
        };
        let Some(found) = found else {
            return Ok(None);
        };
        if let (Some(on), Some(off)) = (&self.on, &self.off) {
            let text = match &found {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            return Ok(match text {
                text if text == *on => Some(1.0),
                text if text == *off => Some(0.0),
                _ => None,
            });
        }
        let raw = json::number(&found);
        Ok(raw.and_then(|raw| {
            converted(
                raw,
                &self.missing,
                self.fahrenheit,
                self.factor,
                self.offset,
            )
        }))
    }
}

fn document(topic: &str, payload: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(payload)
        .map_err(|error| format!("the message at {topic} is not JSON: {error}"))
}

/// What the messages look like.
#[derive(Debug)]
enum Shape {
    Tasmota { sensor: String, state: String },
    Shelly(Vec<(String, u8)>),
    Own(Vec<TopicValue>),
}

#[derive(Debug)]
struct MqttDevice {
    shape: Shape,
    progress: Option<String>,
    clock: Option<String>,
    will: Option<Will>,
    retained_max_age_s: Option<f64>,
    tls_ca: Option<PathBuf>,
}

impl MqttDevice {
    fn topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = match &self.shape {
            Shape::Tasmota { sensor, state } => vec![sensor.clone(), state.clone()],
            Shape::Shelly(switches) => switches.iter().map(|(topic, _)| topic.clone()).collect(),
            Shape::Own(values) => values.iter().map(|value| value.topic.clone()).collect(),
        };
        topics.extend(self.will.iter().map(|will| will.topic.clone()));
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// The device's time in a message.
    fn clock_s(&self, message: &Stored) -> Option<f64> {
        let document: Value = serde_json::from_slice(&message.publish.payload).ok()?;
        let clock = self.clock.as_deref()?;
        document.pointer(clock).and_then(json::number)
    }

    /// Whether a message is known to be of now.
    fn counts(&self, message: &Stored) -> bool {
        if !message.publish.is_retained {
            return true;
        }
        let age_s = self
            .clock_s(message)
            .map(|clock_s| message.at_us as f64 / 1e6 - clock_s);
        let most = self.retained_max_age_s.zip(age_s);
        most.is_some_and(|(most, age_s)| (-AHEAD_S..=most).contains(&age_s))
    }

    /// What says whether the device moves on, of all messages that were ever taken.
    fn progress(&self, messages: &[Stored]) -> Option<String> {
        let mut marks = Vec::new();
        for message in messages {
            let pointer = match &self.shape {
                Shape::Tasmota { sensor, .. } if message.publish.topic == *sensor => "/Time",
                Shape::Own(_) => self.progress.as_deref()?,
                _ => continue,
            };
            let document = serde_json::from_slice::<Value>(&message.publish.payload);
            let mark = document
                .ok()
                .and_then(|document| json::progress(document.pointer(pointer)));
            marks.extend(mark);
        }
        (!marks.is_empty()).then(|| marks.join(" "))
    }

    fn readings(&self, messages: &[&Stored]) -> Result<Readings, String> {
        let payload = |topic: &str| {
            let message = messages.iter().find(|one| one.publish.topic == topic);
            message.map(|message| &message.publish.payload)
        };
        let mut readings = Readings::default();
        match &self.shape {
            Shape::Tasmota { sensor, state } => {
                if let Some(payload) = payload(sensor) {
                    let document = document(sensor, payload)?;
                    let sections = document.as_object();
                    tasmota::sections(&mut readings, sections.ok_or("the message is no object")?);
                }
                if let Some(payload) = payload(state) {
                    tasmota::relays(&mut readings, &document(state, payload)?);
                }
            }
            Shape::Shelly(switches) => {
                for (index, (topic, id)) in switches.iter().enumerate() {
                    if let Some(payload) = payload(topic) {
                        let part = shelly::part(index, switches.len(), u64::from(*id));
                        let document = document(topic, payload)?;
                        shelly::switch_status(&mut readings, &part, *id, &document)?;
                        shelly::relay_state(&mut readings, &part, &document);
                    }
                }
            }
            Shape::Own(values) => {
                let mut measured = Vec::new();
                for value in values {
                    if let Some(payload) = payload(&value.topic) {
                        measured.push(Measured {
                            part: &value.part,
                            quantity: &value.quantity,
                            value: value.value(payload)?,
                        });
                    }
                }
                readings.measured(&measured);
            }
        }
        Ok(readings)
    }
}

impl Device for MqttDevice {
    fn requests(&self) -> Vec<Request> {
        vec![Request {
            query: Query::Messages(Subscription {
                topics: self.topics(),
                tls_ca: self.tls_ca.clone(),
            }),
            optional: false,
        }]
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        let answer = answers.first().and_then(Option::as_ref);
        let messages = stored(answer.ok_or("there is no answer to read")?)?;
        let standing = |standing| Readings {
            standing,
            ..Readings::default()
        };
        let (wills, messages): (Vec<Stored>, Vec<Stored>) =
            messages.into_iter().partition(|message| {
                let will = self.will.as_ref();
                will.is_some_and(|will| will.topic == message.publish.topic)
            });
        if let (Some(will), Some(message)) = (&self.will, wills.first())
            && message.publish.payload == will.offline.as_bytes()
        {
            let text = format!("its last will says {:?}", will.offline);
            return Ok(standing(Standing::Offline(text)));
        }
        let new = messages.iter().filter(|message| message.is_new);
        let (usable, retained): (Vec<&Stored>, Vec<&Stored>) =
            new.partition(|message| self.counts(message));
        if usable.is_empty() {
            let text = match retained.is_empty() {
                true => "nothing new was published",
                false => "there is only a retained message, and nobody knows how old it is",
            };
            return Ok(standing(Standing::Unchanged(text.to_owned())));
        }
        let mut readings = self.readings(&usable)?;
        readings.progress = self.progress(&messages);
        readings.clock_s = usable.iter().find_map(|message| self.clock_s(message));
        let newest = usable.iter().map(|message| message.at_us).max();
        readings.at_us = newest.filter(|at_us| *at_us > 0);
        Ok(readings)
    }
}

#[cfg(test)]
mod tests;
