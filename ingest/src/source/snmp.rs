//! `snmp`: PDUs and whatever else has its readings in objects of SNMP v1 or v2c: those of APC,
//! Raritan and RoomAlert here, any others by their identifiers in the configuration.
//!
//! An identifier with `{n}` stands for a column of a table: what is below the part before it is
//! walked through, and every row is a reading. The device's uptime says whether it moves on.
//!
//! The community is the secret; SNMP v1 and v2c send it in clear, so the network of the PDUs should
//! carry nothing else.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use super::readings::{Measured, check_quantity, converted};
use super::snmp_message::{self, Binding, Oid, Value, Version};
use super::{AddressForm, Device, Keys, Query, Readings, Request, SnmpObjects, Source, parse_keys};

mod models;

use models::{MODELS, ModelValue};

const MOST_VALUES: usize = 100;
const MOST_OBJECTS: usize = 10_000;
/// Hundredths of a second since the device was started (RFC 3418).
const UPTIME: &str = "1.3.6.1.2.1.1.3.0";

/// The kind.
pub struct Snmp;

impl Source for Snmp {
    fn kind(&self) -> &'static str {
        "snmp"
    }
    fn doc(&self) -> &'static str {
        "PDUs and other devices over SNMP v1 or v2c; the secret, without a user, is the community, \
         `public` when left out."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Host(161)
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "model",
                "`apc` (switched outlets), `apc_rpdu`, `apc_rpdu2` or `raritan` (PX2 and later): \
                 watts, amps, volts, energy, states of outlets, probes, as far as the unit has \
                 them; `roomalert`: temperature and humidity of the 3E, 12ER and 32S.",
            ),
            (
                "values",
                "Objects of one's own: a list of `{ oid, quantity, part, factor, offset, \
                 fahrenheit, missing, digits, valid, when, on, off }`. `{n}` in `oid` is any \
                 number: every row of that table is a reading, and `{n}` in `part` its number. \
                 `digits` names the object with the decimal digits of the value, `valid` one that \
                 is 1 while the value counts, `when = { oid, is }` one that says whether the row \
                 is of this quantity at all; their `{n}` is that of `oid`. With `on` and `off` \
                 these numbers mean 1 and 0, and any other is missing. The rest is as in \
                 `http_json`.",
            ),
            (
                "outlets",
                "`{ read, read_on, read_off }`: the states of outlets, as the site controller \
                 names them; what it writes may stand there, too, and is not used.",
            ),
            ("version", "`\"1\"` or `\"2c\"`; `\"2c\"` when left out."),
            (
                "most_objects",
                "Objects that one table may have; 2000 when left out.",
            ),
        ]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let keys: SnmpKeys = parse_keys(keys)?;
        if !(1..=MOST_OBJECTS).contains(&keys.most_objects) {
            return Err(format!("most_objects must be 1 to {MOST_OBJECTS}"));
        }
        let mut objects = Vec::new();
        if let Some(name) = &keys.model {
            objects.extend(of_model(name)?);
        }
        if let Some(outlets) = &keys.outlets {
            objects.push(outlets.object()?);
        }
        for value in &keys.values {
            objects.push(value.object()?);
        }
        if objects.is_empty() || objects.len() > MOST_VALUES {
            return Err(format!(
                "set model, outlets or values; together they may be {MOST_VALUES}"
            ));
        }
        Ok(Box::new(SnmpDevice {
            objects,
            uptime: Oid::parse(UPTIME)?,
            version: keys.version,
            most_objects: keys.most_objects,
        }))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SnmpKeys {
    model: Option<String>,
    #[serde(default)]
    values: Vec<ValueKeys>,
    outlets: Option<OutletKeys>,
    #[serde(default)]
    version: Version,
    #[serde(default = "default_objects")]
    most_objects: usize,
}

fn default_objects() -> usize {
    2_000
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueKeys {
    oid: String,
    quantity: String,
    #[serde(default)]
    part: Option<String>,
    factor: Option<f64>,
    #[serde(default)]
    offset: f64,
    #[serde(default)]
    fahrenheit: bool,
    #[serde(default)]
    missing: Vec<f64>,
    digits: Option<String>,
    valid: Option<String>,
    when: Option<WhenKeys>,
    on: Option<f64>,
    off: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhenKeys {
    oid: String,
    is: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutletKeys {
    read: String,
    read_on: f64,
    read_off: f64,
    #[serde(default, rename = "write")]
    _write: Option<String>,
    #[serde(default, rename = "on")]
    _on: Option<f64>,
    #[serde(default, rename = "off")]
    _off: Option<f64>,
}

impl OutletKeys {
    fn object(&self) -> Result<Object, String> {
        if !self.read.contains("{n}") {
            return Err("outlets.read has no {n}, the outlet's number".to_owned());
        }
        let value = ValueKeys {
            oid: self.read.clone(),
            quantity: "relay_state".to_owned(),
            part: Some("outlet-{n}".to_owned()),
            on: Some(self.read_on),
            off: Some(self.read_off),
            ..ValueKeys::default()
        };
        value.object()
    }
}

impl ValueKeys {
    fn object(&self) -> Result<Object, String> {
        check_quantity(&self.quantity)?;
        let oid = Template::parse(&self.oid)?;
        let beside = |text: &String| {
            let template = Template::parse(text)?;
            match template.suffix.is_none() || oid.suffix.is_some() {
                true => Ok(template),
                false => Err(format!("{text:?} has {{n}}, but oid has none")),
            }
        };
        let states = match (self.on, self.off) {
            (None, None) => None,
            (Some(on), Some(off)) if on != off => Some([on, off]),
            _ => return Err("on and off belong together and differ".to_owned()),
        };
        let part = self.part.clone().unwrap_or_else(|| match oid.suffix {
            Some(_) => "{n}".to_owned(),
            None => String::new(),
        });
        if oid.suffix.is_some() && !part.contains("{n}") {
            return Err(format!(
                "the part {part:?} has no {{n}}; the rows of a table are told apart by it"
            ));
        }
        let when = self.when.as_ref();
        Ok(Object {
            quantity: self.quantity.clone(),
            part,
            factor: self.factor,
            offset: self.offset,
            fahrenheit: self.fahrenheit,
            missing: self.missing.clone(),
            states,
            is_expected: true,
            digits: self.digits.as_ref().map(beside).transpose()?,
            valid: self.valid.as_ref().map(beside).transpose()?,
            when: when
                .map(|when| Ok::<_, String>((beside(&when.oid)?, when.is)))
                .transpose()?,
            oid,
        })
    }
}

fn of_model(name: &str) -> Result<Vec<Object>, String> {
    let found = MODELS.iter().find(|model| model.name == name);
    let model = found.ok_or_else(|| {
        let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        format!("model is {name:?}; there are {}", names.join(", "))
    })?;
    let objects = model.values.iter().map(|value| {
        Ok(Object {
            // Few units have everything.
            is_expected: false,
            ..keys_of(value).object()?
        })
    });
    objects.collect()
}

fn keys_of(value: &ModelValue) -> ValueKeys {
    ValueKeys {
        oid: value.oid.to_owned(),
        quantity: value.quantity.to_owned(),
        part: Some(value.part.to_owned()),
        factor: value.factor,
        missing: value.missing.to_vec(),
        digits: value.digits.map(str::to_owned),
        valid: value.valid.map(str::to_owned),
        when: value.when.map(|(oid, is)| WhenKeys {
            oid: oid.to_owned(),
            is,
        }),
        on: value.on_off.map(|[on, _]| on),
        off: value.on_off.map(|[_, off]| off),
        ..ValueKeys::default()
    }
}

/// An identifier; with a suffix it has any number between both.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template {
    prefix: Oid,
    suffix: Option<Vec<u32>>,
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let Some((before, after)) = text.split_once("{n}") else {
            let prefix = Oid::parse(text)?;
            return Ok(Self {
                prefix,
                suffix: None,
            });
        };
        // The whole with a number in its place must be one, too.
        Oid::parse(&format!("{before}1{after}"))?;
        let wrong = || format!("{text:?}: {{n}} stands between two dots, once");
        let before = before.strip_suffix('.').ok_or_else(wrong)?;
        let numbers: Option<Vec<u32>> = match after {
            "" => Some(Vec::new()),
            after => after
                .strip_prefix('.')
                .map(|rest| rest.split('.').map(str::parse).collect::<Result<_, _>>())
                .and_then(Result::ok),
        };
        Ok(Self {
            prefix: Oid::parse(before)?,
            suffix: Some(numbers.ok_or_else(wrong)?),
        })
    }

    /// The number in an identifier that this template is of.
    fn row(&self, oid: &Oid) -> Option<u32> {
        let (row, rest) = oid.after(&self.prefix)?.split_first()?;
        (self.suffix.as_deref() == Some(rest)).then_some(*row)
    }

    /// The identifier with this number.
    fn at(&self, row: u32) -> Oid {
        match &self.suffix {
            Some(suffix) => self.prefix.with(&[&[row], suffix.as_slice()].concat()),
            None => self.prefix.clone(),
        }
    }
}

/// An object, or the objects of a column, and what they mean.
#[derive(Debug)]
struct Object {
    oid: Template,
    quantity: String,
    part: String,
    factor: Option<f64>,
    offset: f64,
    fahrenheit: bool,
    missing: Vec<f64>,
    digits: Option<Template>,
    valid: Option<Template>,
    when: Option<(Template, f64)>,
    /// What is read where it is on and off.
    states: Option<[f64; 2]>,
    /// Whether it is missing where the device has no such object.
    is_expected: bool,
}

type Found = BTreeMap<Oid, Value>;

fn number(found: &Found, oid: &Oid) -> Option<f64> {
    found.get(oid).and_then(Value::number)
}

impl Object {
    fn templates(&self) -> impl Iterator<Item = &Template> {
        let when = self.when.as_ref().map(|(template, _)| template);
        let beside = [self.digits.as_ref(), self.valid.as_ref(), when];
        std::iter::once(&self.oid).chain(beside.into_iter().flatten())
    }

    /// Its readings: the number of the row, and the value unless it is missing.
    fn readings(&self, found: &Found) -> Vec<(u32, Option<f64>)> {
        let rows: Vec<u32> = match self.oid.suffix {
            Some(_) => {
                let below = found.range(self.oid.prefix.clone()..);
                let below = below.take_while(|(oid, _)| oid.after(&self.oid.prefix).is_some());
                below.filter_map(|(oid, _)| self.oid.row(oid)).collect()
            }
            None => vec![0],
        };
        let of_quantity = |row: &u32| match &self.when {
            Some((when, is)) => number(found, &when.at(*row)) == Some(*is),
            None => true,
        };
        let is_there = |row: &u32| {
            let value = found.get(&self.oid.at(*row));
            self.is_expected || value.is_some_and(|value| *value != Value::Missing)
        };
        let rows = rows.into_iter().filter(of_quantity).filter(is_there);
        let mut readings: Vec<_> = rows.map(|row| (row, self.value(found, row))).collect();
        if readings.is_empty() && self.is_expected {
            readings.push((0, None));
        }
        readings
    }

    fn value(&self, found: &Found, row: u32) -> Option<f64> {
        let raw = number(found, &self.oid.at(row))?;
        if let Some(valid) = &self.valid
            && number(found, &valid.at(row)) != Some(1.0)
        {
            return None;
        }
        if let Some([on, off]) = self.states {
            return match raw {
                raw if raw == on => Some(1.0),
                raw if raw == off => Some(0.0),
                _ => None,
            };
        }
        if self.missing.contains(&raw) {
            return None;
        }
        let mut value = raw;
        if let Some(digits) = &self.digits {
            let digits = number(found, &digits.at(row))?;
            let digits = Some(digits).filter(|digits| (0.0..=9.0).contains(digits))?;
            value /= 10_f64.powi(digits as i32);
        }
        converted(value, &[], self.fahrenheit, self.factor, self.offset)
    }
}

struct SnmpDevice {
    objects: Vec<Object>,
    uptime: Oid,
    version: Version,
    most_objects: usize,
}

impl SnmpDevice {
    fn query(&self, objects: SnmpObjects) -> Query {
        Query::Snmp(self.version, objects)
    }
}

impl Device for SnmpDevice {
    fn requests(&self) -> Vec<Request> {
        let templates: Vec<&Template> = self.objects.iter().flat_map(Object::templates).collect();
        let single = templates.iter().filter(|one| one.suffix.is_none());
        let mut single: Vec<Oid> = single.map(|one| one.prefix.clone()).collect();
        let tables = templates.iter().filter(|one| one.suffix.is_some());
        let mut tables: Vec<Oid> = tables.map(|one| one.prefix.clone()).collect();
        single.sort_unstable();
        single.dedup();
        tables.sort_unstable();
        tables.dedup();
        // What is below another one is walked through with it.
        tables.dedup_by(|deeper, first| deeper.after(first).is_some());
        let uptime = Request {
            query: self.query(SnmpObjects::Single(vec![self.uptime.clone()])),
            optional: true,
        };
        let mut queries = vec![uptime];
        let required = |objects| Request {
            query: self.query(objects),
            optional: false,
        };
        if !single.is_empty() {
            queries.push(required(SnmpObjects::Single(single)));
        }
        let most = self.most_objects;
        let tables = tables.into_iter().map(|oid| SnmpObjects::Below(oid, most));
        queries.extend(tables.map(required));
        queries
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        if answers.is_empty() {
            return Err("there is no answer to read".to_owned());
        }
        let mut found = Found::new();
        for answer in answers.iter().flatten() {
            let bindings = snmp_message::bindings(answer)?;
            found.extend(
                bindings
                    .into_iter()
                    .map(|Binding { oid, value }| (oid, value)),
            );
        }
        let mut values: Vec<(String, &str, Option<f64>)> = Vec::new();
        for object in &self.objects {
            for (row, value) in object.readings(&found) {
                let part = object.part.replace("{n}", &row.to_string());
                values.push((part, &object.quantity, value));
            }
        }
        let measured = values.iter().map(|(part, quantity, value)| Measured {
            part,
            quantity,
            value: *value,
        });
        let mut readings = Readings::default();
        readings.measured(&measured.collect::<Vec<_>>());
        readings.progress = number(&found, &self.uptime).map(|uptime| uptime.to_string());
        Ok(readings)
    }
}

#[cfg(test)]
mod tests;
