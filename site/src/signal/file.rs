//! `file`: a small file that another program writes: a number, or a JSON object with a request. The
//! time of its last change is its age.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use headframe_ingest::source::json;
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use super::level_map::{self, LevelRange};
use super::{Keys, ReadContext, Signal, SignalKind, parse_keys};
use crate::request::{Level, Request, SignalValue};

/// The kind.
pub struct File;

impl SignalKind for File {
    fn kind(&self) -> &'static str {
        "file"
    }
    fn doc(&self) -> &'static str {
        "A small file that another program writes."
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "path",
                "The file: a number, which needs `map`, or `{ \"level\": \"curtail\", \"cap_kw\": \
                 500, \"ends_at\": 1767225600 }`, of which only `level` must be there. Write it \
                 whole under another name, then rename it.",
            ),
            ("map", "What numbers mean, as for `page`."),
            (
                "max_age_s",
                "Seconds since its last change after which it no longer counts; 360 when left out.",
            ),
        ]
    }
    fn signal(&self, keys: Keys) -> Result<Box<dyn Signal>, String> {
        let signal: FileSignal = parse_keys(keys)?;
        if let Some(map) = &signal.map {
            level_map::validate(map)?;
        }
        if signal.max_age_s == 0 {
            return Err("max_age_s must be at least 1".to_owned());
        }
        Ok(Box::new(signal))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSignal {
    path: PathBuf,
    map: Option<Vec<LevelRange>>,
    #[serde(default = "three_loops")]
    max_age_s: u64,
}

fn three_loops() -> u64 {
    360
}

/// What the file says as JSON. Times are seconds since 1970.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    level: Level,
    cap_kw: Option<f64>,
    starts_at: Option<f64>,
    ends_at: Option<f64>,
    event: Option<String>,
}

impl FileSignal {
    /// What its content asks for.
    fn request(&self, content: &[u8]) -> Result<Request, String> {
        let text = std::str::from_utf8(content).map_err(|_| "the file is not text")?;
        if let Some(number) = json::text_number(text).filter(|number| number.is_finite()) {
            let map = self.map.as_ref();
            let map = map.ok_or("the file has a number, and the signal has no map")?;
            return level_map::request(map, number);
        }
        let written: Written = serde_json::from_str(text)
            .map_err(|error| format!("the file is neither a number nor a request: {error}"))?;
        if written.cap_kw.is_some_and(|cap_kw| cap_kw < 0.0) {
            return Err("cap_kw is below zero".to_owned());
        }
        let micros = |seconds: f64| (seconds * 1e6) as i64;
        Ok(Request {
            level: written.level,
            cap_kw: written.cap_kw,
            starts_at_us: written.starts_at.map(micros),
            ends_at_us: written.ends_at.map(micros),
            event: written.event,
        })
    }

    async fn content(&self, context: &ReadContext<'_>) -> Result<Vec<u8>, String> {
        let cannot = |error: std::io::Error| {
            let path = self.path.display();
            format!("{path} cannot be read: {error}")
        };
        let file = tokio::fs::File::open(&self.path).await.map_err(cannot)?;
        let metadata = file.metadata().await.map_err(cannot)?;
        if !metadata.is_file() {
            return Err(format!("{} is no plain file", self.path.display()));
        }
        let changed = metadata.modified().map_err(cannot)?;
        let age_s = age_s(changed, context.now.utc_us);
        if age_s > self.max_age_s {
            return Err(format!("the file was written {age_s} s ago"));
        }
        let mut content = Vec::new();
        let mut bounded = file.take(context.most as u64 + 1);
        bounded.read_to_end(&mut content).await.map_err(cannot)?;
        match content.len() > context.most {
            true => Err(format!("the file is longer than {} bytes", context.most)),
            false => Ok(content),
        }
    }
}

fn age_s(changed: SystemTime, now_us: i64) -> u64 {
    let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_s = u64::try_from(now_us / 1_000_000).unwrap_or_default();
    now_s.saturating_sub(changed.as_secs())
}

#[async_trait]
impl Signal for FileSignal {
    async fn read(&self, context: &ReadContext<'_>) -> SignalValue {
        let content = self.content(context).await;
        match content.and_then(|content| self.request(&content)) {
            Ok(request) => SignalValue::Known(vec![request]),
            Err(reason) => SignalValue::Unknown(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn signal() -> FileSignal {
        let keys = serde_json::json!({"path": "/x", "map": [[0, 0, "normal"], [1, 3, "curtail"]]});
        serde_json::from_value(keys).unwrap()
    }

    #[test]
    fn a_file_is_a_number_or_a_request() {
        assert_eq!(signal().request(b" 2\n").unwrap().level, Level::Curtail);
        let request = signal().request(br#"{"level": "emergency", "cap_kw": 50, "ends_at": 10}"#);
        let request = request.unwrap();
        assert_eq!(
            (request.level, request.cap_kw),
            (Level::Emergency, Some(50.0))
        );
        assert_eq!(request.ends_at_us, Some(10_000_000));
        for wrong in ["", "9", "nan", "{}", r#"{"level": "curtail", "kw": 5}"#] {
            assert!(signal().request(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_refused(
            content in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            signal().request(&content).ok();
        }
    }
}
