//! What a section of the configuration must offer, and how its faults are told.

use std::fmt;

use super::Config;

/// A `[section]` of the configuration file: its keys are the fields of the type.
pub trait Section {
    /// What the section is about, in one sentence.
    const DOC: &'static str;

    /// What cannot work, before any port is bound: each fault names its key. `config` is the whole
    /// configuration, for what depends on roles or on other sections.
    fn faults(&self, config: &Config) -> Vec<ConfigFault>;
}

/// Why a configuration cannot be used: the key, what is wrong with it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault(pub String);

impl fmt::Display for ConfigFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The fault of a check that found at most one.
pub fn faults_of<T, E: fmt::Display>(checked: Result<T, E>) -> Vec<ConfigFault> {
    let fault = checked.err().map(|error| ConfigFault(error.to_string()));
    fault.into_iter().collect()
}

/// A section without its type, so that all of them stand in one list.
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the tests compare name and doc with the pages")
)]
pub struct SectionEntry {
    /// As it stands in brackets.
    pub name: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// Its faults in this configuration.
    pub faults: fn(&Config) -> Vec<ConfigFault>,
}
