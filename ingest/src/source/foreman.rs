//! `foreman`: machines as Foreman's service knows them: hashrate, power, temperature and status.
//!
//! `GET` of a list, page by page, with the header `Authorization: Token …`; a token never goes over
//! plain HTTP, unless to this machine. Which path and which keys of a miner the list has stands in
//! the configuration: Foreman's own library has `GET /api/miners/{client}/{pickaxe}` with `id`,
//! `name` and `lastUpdated`; where its present service has the metrics is published nowhere.

use bytes::Bytes;
use chrono::DateTime;
use serde::Deserialize;
use serde_json::Value;

use super::config::Target;
use super::readings::{check_quantity, scaled};
use super::{AddressForm, Device, Keys, Readings, Request, Source, json, parse_keys};

/// Pages of one list.
const MOST_PAGES: usize = 50;
/// Miners of all pages.
const MOST_MINERS: usize = 2_000;
/// Where a list may stand in the answer.
const LISTS: [&str; 4] = ["results", "data", "miners", "items"];

/// The kind.
pub struct Foreman;

impl Source for Foreman {
    fn kind(&self) -> &'static str {
        "foreman"
    }
    fn doc(&self) -> &'static str {
        "Machines as Foreman's service knows them; `https://` only, the secret, without a user, is \
         the API key."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Http
    }
    fn token_scheme(&self) -> &'static str {
        "Token"
    }
    fn check_target(&self, target: &Target) -> Result<(), String> {
        match target {
            Target::Http(url) if !is_private(url.as_str()) => Err(format!(
                "address is {url}; Foreman is reached over https:// only, its key would go in clear"
            )),
            _ => Ok(()),
        }
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "path",
                "The list of miners, with its query, as `/api/v2/miners?limit=100`.",
            ),
            (
                "list",
                "The pointer of the list in an answer; when left out, the answer itself, or its \
                 `results`, `data`, `miners` or `items`.",
            ),
            (
                "next",
                "The pointer of the address of the next page; `/next` when left out. Only its path \
                 and query are used.",
            ),
            (
                "offset",
                "Instead of `next`: the name of a parameter of the query that counts miners, as \
                 `offset`. Pages are asked for until one has no new miner.",
            ),
            (
                "name",
                "The pointer of a miner's name, the part of its rows; `/name` when left out.",
            ),
            (
                "updated",
                "The pointer of the time of its readings, in seconds or milliseconds since 1970 or \
                 as in RFC 3339; `/lastUpdated` when left out.",
            ),
            (
                "max_age_s",
                "Readings of a miner that are so much older than the newest of the list are \
                 missing; 900 when left out.",
            ),
            (
                "values",
                "A list of `{ pointer, quantity, factor, offset, missing, on, off }` of each \
                 miner, as in `http_json`: `hashrate_hs`, `power_w` and others. `on` and `off` are \
                 lists of texts that mean 1 and 0, as of `mining_state`; any other is missing. \
                 When left out: `/hashrate` in H/s, `/power` in W, `/temperature` in °C.",
            ),
        ]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let mut device: ForemanList = parse_keys(keys)?;
        if !device.path.starts_with('/') {
            return Err(format!("path is {:?}; it begins with /", device.path));
        }
        if device.values.is_empty() {
            device.values = usual_values();
        }
        if device.values.len() > 50 {
            return Err("values must have at most 50 entries".to_owned());
        }
        if !(0.0..=1e9).contains(&device.max_age_s) {
            return Err("max_age_s must be 0 to 1000000000".to_owned());
        }
        let own = device.values.iter().map(|value| &value.pointer);
        let pointers = own.chain([&device.name, &device.updated, &device.next]);
        for pointer in pointers.chain(&device.list) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(format!("the pointer {pointer:?} must begin with /"));
            }
        }
        if let Some(offset) = &device.offset {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if offset.is_empty() || !offset.chars().all(plain) {
                return Err(format!("offset is {offset:?}; it names a parameter"));
            }
        }
        device.values.iter().try_for_each(MinerValue::check)?;
        Ok(Box::new(device))
    }
}

/// HTTPS, or this machine: where a token may go.
pub fn is_private(address: &str) -> bool {
    let Ok(url) = url::Url::parse(address) else {
        return false;
    };
    let is_here = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || is_here
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForemanList {
    path: String,
    list: Option<String>,
    #[serde(default = "next_pointer")]
    next: String,
    offset: Option<String>,
    #[serde(default = "name_pointer")]
    name: String,
    #[serde(default = "updated_pointer")]
    updated: String,
    #[serde(default = "quarter_hour")]
    max_age_s: f64,
    #[serde(default)]
    values: Vec<MinerValue>,
}

fn next_pointer() -> String {
    "/next".to_owned()
}

fn name_pointer() -> String {
    "/name".to_owned()
}

fn updated_pointer() -> String {
    "/lastUpdated".to_owned()
}

fn quarter_hour() -> f64 {
    900.0
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MinerValue {
    pointer: String,
    quantity: String,
    factor: Option<f64>,
    #[serde(default)]
    offset: f64,
    #[serde(default)]
    missing: Vec<f64>,
    #[serde(default)]
    on: Vec<String>,
    #[serde(default)]
    off: Vec<String>,
}

fn usual_values() -> Vec<MinerValue> {
    let value = |pointer: &str, quantity: &str| MinerValue {
        pointer: pointer.to_owned(),
        quantity: quantity.to_owned(),
        ..MinerValue::default()
    };
    vec![
        value("/hashrate", "hashrate_hs"),
        value("/power", "power_w"),
        value("/temperature", "temperature_c"),
    ]
}

impl MinerValue {
    fn check(&self) -> Result<(), String> {
        check_quantity(&self.quantity)?;
        match self.on.is_empty() == self.off.is_empty() {
            true => Ok(()),
            false => Err("on and off belong together".to_owned()),
        }
    }

    fn value(&self, miner: &Value) -> Option<f64> {
        let found = miner.pointer(&self.pointer)?;
        if !self.on.is_empty() {
            let text = found.as_str()?;
            let is_one = |list: &[String]| list.iter().any(|one| one.eq_ignore_ascii_case(text));
            return match (is_one(&self.on), is_one(&self.off)) {
                (true, _) => Some(1.0),
                (false, true) => Some(0.0),
                (false, false) => None,
            };
        }
        let raw = json::number(found)?;
        (!self.missing.contains(&raw)).then(|| scaled(raw, self.factor, self.offset))
    }
}

impl ForemanList {
    fn miners<'a>(&self, document: &'a Value) -> Result<&'a [Value], String> {
        let found = match &self.list {
            Some(pointer) => document.pointer(pointer),
            None if document.is_array() => Some(document),
            None => LISTS.iter().find_map(|key| document.get(key)),
        };
        let found = found.and_then(Value::as_array);
        let miners = found.ok_or("the answer has no list of miners where one is expected")?;
        Ok(miners.as_slice())
    }

    fn updated_s(&self, miner: &Value) -> Option<f64> {
        let found = miner.pointer(&self.updated)?;
        if let Some(number) = json::number(found) {
            // Milliseconds since 1970 are larger than seconds will be in this millennium.
            let seconds = if number > 1e11 { number / 1e3 } else { number };
            return (seconds > 0.0).then_some(seconds);
        }
        let time = DateTime::parse_from_rfc3339(found.as_str()?).ok()?;
        Some(time.timestamp_millis() as f64 / 1e3)
    }

    fn part(&self, miner: &Value) -> Option<String> {
        match miner.pointer(&self.name)? {
            Value::String(name) if !name.trim().is_empty() => Some(name.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn add(&self, readings: &mut Readings, miner: &Value, is_old: bool) {
        let Some(part) = self.part(miner) else {
            readings.missing += self.values.len() as u64;
            return;
        };
        for value in &self.values {
            let number = value.value(miner).filter(|_| !is_old);
            match value.quantity.as_str() {
                "hashrate_hs" => readings.hashrate(&part, number),
                "power_w" => {
                    let is_counter = |other: &&MinerValue| other.quantity == "energy_total_wh";
                    let counter = self.values.iter().find(is_counter);
                    let counter = counter.and_then(|counter| counter.value(miner));
                    readings.power(&part, number, counter.filter(|_| !is_old));
                }
                "energy_total_wh" if self.values.iter().any(|one| one.quantity == "power_w") => {}
                quantity => readings.sensor(&part, quantity, number),
            }
        }
    }
}

impl Device for ForemanList {
    fn requests(&self) -> Vec<Request> {
        vec![Request::get(&self.path)]
    }

    fn next_request(&self, answers: &[Option<Bytes>]) -> Option<Request> {
        let document = json::document(answers.last()).ok()?;
        if answers.len() >= MOST_PAGES {
            return None;
        }
        if let Some(parameter) = &self.offset {
            let mut count = 0;
            for answer in answers {
                count += self.miners(&json::document(Some(answer)).ok()?).ok()?.len();
            }
            let is_last = self.miners(&document).ok()?.is_empty();
            let mark = if self.path.contains('?') { '&' } else { '?' };
            let next = format!("{}{mark}{parameter}={count}", self.path);
            return (!is_last && count < MOST_MINERS).then(|| Request::get(next));
        }
        let next = document.pointer(&self.next)?.as_str()?;
        // Wherever it points to, the same service is asked.
        let base = url::Url::parse("https://service.invalid").ok()?;
        let url = base.join(next).ok()?;
        let query = url
            .query()
            .map_or_else(String::new, |query| format!("?{query}"));
        Some(Request::get(format!("{}{query}", url.path())))
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        if answers.is_empty() {
            return Err("there is no answer to read".to_owned());
        }
        let documents = answers.iter().map(|answer| json::document(Some(answer)));
        let documents = documents.collect::<Result<Vec<Value>, String>>()?;
        let mut miners: Vec<&Value> = Vec::new();
        for document in &documents {
            miners.extend(self.miners(document)?);
        }
        let beyond = miners.len().saturating_sub(MOST_MINERS);
        miners.truncate(MOST_MINERS);
        let updated: Vec<Option<f64>> = miners.iter().map(|one| self.updated_s(one)).collect();
        let newest = updated.iter().flatten().copied().fold(f64::NAN, f64::max);
        let mut readings = Readings::default();
        for (miner, updated) in miners.iter().zip(&updated) {
            let is_old = updated.is_some_and(|updated| newest - updated > self.max_age_s);
            self.add(&mut readings, miner, is_old);
        }
        readings.missing += beyond as u64;
        if newest.is_finite() {
            let sum: f64 = updated.iter().flatten().sum();
            readings.progress = Some(format!("{newest} {sum}"));
        }
        Ok(readings)
    }
}

#[cfg(test)]
mod tests;
