//! Every policy and every plan that the controller ever went by, each in a file named by its
//! version, so that a decision of long ago can be made again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::policy::fingerprint;
use crate::control::{Policy, Site, SitePlan};

/// Bytes that such a file may have.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

fn file(data_dir: &Path, kind: &str, version: &str) -> PathBuf {
    data_dir
        .join("versions")
        .join(format!("{kind}-{version}.json"))
}

/// Writes the policy and the plan of a site down, unless they are there.
///
/// # Errors
///
/// The disk does not take them.
pub fn keep(data_dir: &Path, site: &Site) -> io::Result<()> {
    std::fs::create_dir_all(data_dir.join("versions"))?;
    write(
        &file(data_dir, "policy", &site.policy_version),
        &site.policy,
    )?;
    write(&file(data_dir, "plan", &site.plan_version), &site.plan)
}

fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    // Whole or not at all.
    let new = path.with_extension("new");
    std::fs::write(&new, serde_json::to_vec(value)?)?;
    std::fs::rename(&new, path)
}

fn read<T: DeserializeOwned + Serialize>(path: &Path, version: &str) -> Option<T> {
    let size = std::fs::metadata(path).ok()?.len();
    let text = (size <= MOST_BYTES).then(|| std::fs::read(path).ok())??;
    let value: T = serde_json::from_slice(&text).ok()?;
    // A file that somebody changed is another version.
    (fingerprint(&value) == version).then_some(value)
}

/// Sites by the versions of their policy and plan: the current one, and those that were kept.
#[derive(Debug)]
pub struct Versions {
    current: Arc<Site>,
    data_dir: Option<PathBuf>,
    known: BTreeMap<(String, String), Option<Arc<Site>>>,
}

impl Versions {
    /// The current site; others are looked for in a folder, where there is one.
    pub fn new(current: Site, data_dir: Option<&Path>) -> Self {
        Self {
            current: Arc::new(current),
            data_dir: data_dir.map(Path::to_owned),
            known: BTreeMap::new(),
        }
    }

    /// The current site.
    pub fn current(&self) -> &Arc<Site> {
        &self.current
    }

    /// The site of such versions, if it was kept.
    pub fn site(&mut self, policy: &str, plan: &str) -> Option<Arc<Site>> {
        let current = &self.current;
        if (&*current.policy_version, &*current.plan_version) == (policy, plan) {
            return Some(current.clone());
        }
        let key = (policy.to_owned(), plan.to_owned());
        let (data_dir, current) = (self.data_dir.as_deref(), self.current.clone());
        let found = self.known.entry(key).or_insert_with(|| {
            let kept_policy = || read::<Policy>(&file(data_dir?, "policy", policy), policy);
            let kept_plan = || read::<SitePlan>(&file(data_dir?, "plan", plan), plan);
            let policy = match current.policy_version == policy {
                true => current.policy.clone(),
                false => kept_policy()?,
            };
            let plan = match current.plan_version == plan {
                true => current.plan.clone(),
                false => kept_plan()?,
            };
            Site::new(policy, plan).ok().map(Arc::new)
        });
        found.clone()
    }
}
