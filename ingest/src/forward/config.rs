//! Where a site's rows go, and which.

use std::path::PathBuf;

use headframe_schemas::{Stream, WritePermission, stream};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::http::is_site;

/// How rows are forwarded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardConfig {
    /// The office's server, such as `https://office.example:8443`.
    pub url: String,
    /// What this site is called there: it stands before the names of its producers, so that two
    /// sites never take each other's numbers. 1 to 64 of a-z, 0-9, - and _.
    pub name: String,
    /// The variable of the environment with the service token.
    pub secret_env: Option<String>,
    /// The file with the service token, of mode 0600.
    pub secret_file: Option<PathBuf>,
    /// A PEM file with the authority of the office's certificate, or with the certificate itself;
    /// no other is trusted then.
    pub ca_file: Option<PathBuf>,
    /// The streams that are forwarded.
    pub streams: Vec<String>,
    /// Messages of one stream that are on their way at once, 1 to 64.
    pub max_in_flight: usize,
    /// Seconds that one message may take, 1 to 300.
    pub timeout_s: u64,
}

impl Default for ForwardConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            name: String::new(),
            secret_env: None,
            secret_file: None,
            ca_file: None,
            streams: ["energy", "sensors", "hashrate", "source_health"]
                .map(str::to_owned)
                .to_vec(),
            max_in_flight: 16,
            timeout_s: 30,
        }
    }
}

impl ForwardConfig {
    /// Refuses what cannot work, where rows are to be forwarded. Each reason names its key.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        faults.extend(self.address().err());
        if !is_site(&self.name) {
            faults.push(format!(
                "forward.name is {:?}; it must be 1 to 64 of a-z, 0-9, - and _",
                self.name
            ));
        }
        faults.extend(self.streams().err());
        for (key, value, most) in [
            ("max_in_flight", self.max_in_flight as u64, 64),
            ("timeout_s", self.timeout_s, 300),
        ] {
            if !(1..=most).contains(&value) {
                faults.push(format!("forward.{key} is {value}; it must be 1 to {most}"));
            }
        }
        match faults.is_empty() {
            true => Ok(()),
            false => Err(faults),
        }
    }

    /// The streams, each once; the reason names one that cannot be forwarded.
    pub fn streams(&self) -> Result<Vec<&'static dyn Stream>, String> {
        if self.streams.is_empty() {
            return Err("forward.streams is empty; name at least one".to_owned());
        }
        let mut streams: Vec<&'static dyn Stream> = Vec::new();
        for name in &self.streams {
            let found = stream::find(name).filter(|stream| is_forwarded(*stream));
            let Some(found) = found else {
                let names: Vec<&str> = stream::ALL
                    .iter()
                    .filter(|stream| is_forwarded(**stream))
                    .map(|stream| stream.name())
                    .collect();
                return Err(format!(
                    "forward.streams names {name:?}, which no office takes; it may name {}",
                    names.join(", ")
                ));
            };
            if streams.iter().any(|other| other.name() == found.name()) {
                return Err(format!("forward.streams names {name:?} twice"));
            }
            streams.push(found);
        }
        Ok(streams)
    }

    /// The office's address. A token never travels in clear to another machine.
    pub(super) fn address(&self) -> Result<Url, String> {
        let shown = match Url::parse(&self.url) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                return Err(
                    "forward.url has a login in it; name the token with forward.secret_file"
                        .to_owned(),
                );
            }
            Ok(url) => url,
            Err(error) => {
                return Err(format!(
                    "forward.url is {:?}: {error}; it must be such as https://office.example:8443",
                    self.url
                ));
            }
        };
        let is_here = match shown.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        match shown.scheme() {
            "https" => Ok(shown),
            "http" if is_here => Ok(shown),
            "http" => Err(format!(
                "forward.url is {shown}, over which anybody on the way reads token and rows; use \
                 https"
            )),
            other => Err(format!("forward.url begins with {other}; it must be https")),
        }
    }
}

/// Whether an office takes rows of this stream over HTTP from a token that names it.
fn is_forwarded(stream: &dyn Stream) -> bool {
    matches!(
        stream.write_permission(),
        WritePermission::Producer | WritePermission::Site
    )
}
