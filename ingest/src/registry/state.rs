//! What is registered now, as a function of the changes so far: which change may follow, and what
//! is there after it.
//!
//! It knows no clock and no server. A change that [`RegistryState::plan`] allows is the next
//! message of the stream or none at all, so that references, unique values and versions hold for
//! everybody who writes, in whichever process.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use headframe_schemas::resource::{
    self, Action, Change, Format, Refusal, Resource, ResourceVersion, Values,
};
use headframe_schemas::stream::registry::RegistryChange;
use serde_json::Value;

use crate::registry::shared_state::{NextMessage, StreamState};

/// Ids of a kind, those that were deleted included.
pub const MAX_IDS_OF_KIND: usize = 100_000;

/// A kind and an id.
type Key = (String, String);

/// Everything that is registered, and what was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RegistryState {
    kinds: BTreeMap<String, BTreeMap<String, StoredVersion>>,
    /// Which resources name one.
    referrers: BTreeMap<Key, BTreeSet<Key>>,
    /// Who has a unique value: kind, field, value.
    unique: BTreeMap<(String, &'static str, String), String>,
    last_time_us: i64,
}

#[derive(Debug, Clone, PartialEq)]
struct StoredVersion {
    seq: u64,
    version: i64,
    updated_us: i64,
    updated_by: String,
    /// None once it is deleted; its version must not be given again.
    values: Option<Values>,
}

/// What a change comes to.
pub type PlannedChange = NextMessage<RegistryChange, ResourceVersion>;

/// A message that is no change of this registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message {seq} of the stream registry cannot be used: {reason}")]
pub struct UnusableChange {
    /// Its sequence.
    pub seq: u64,
    /// Why.
    pub reason: String,
}

impl RegistryState {
    /// The resource of this id, unless it is not there.
    pub fn find(&self, kind: &str, id: &str) -> Option<ResourceVersion> {
        let stored = self.kinds.get(kind)?.get(id)?;
        stored.shown(id)
    }

    /// Up to `limit` resources whose ids come after `after` and for which `wanted` holds, by id;
    /// and whether there are more.
    pub fn page(
        &self,
        kind: &str,
        after: &str,
        limit: usize,
        wanted: impl Fn(&Values) -> bool,
    ) -> (Vec<ResourceVersion>, bool) {
        let Some(stored) = self.kinds.get(kind) else {
            return (Vec::new(), false);
        };
        let later = (Bound::Excluded(after), Bound::Unbounded);
        let mut found = stored
            .range::<str, _>(later)
            .filter(|(_, stored)| stored.values.as_ref().is_some_and(&wanted))
            .filter_map(|(id, stored)| stored.shown(id));
        let rows: Vec<ResourceVersion> = found.by_ref().take(limit).collect();
        let has_more = found.next().is_some();
        (rows, has_more)
    }

    /// Every resource there is or was: kind, id, version, and whether it is there.
    pub fn versions(&self) -> impl Iterator<Item = (&str, &str, i64, bool)> {
        self.kinds.iter().flat_map(|(kind, stored)| {
            stored.iter().map(move |(id, stored)| {
                (
                    kind.as_str(),
                    id.as_str(),
                    stored.version,
                    stored.values.is_some(),
                )
            })
        })
    }

    /// The message that makes a change at a time, microseconds since 1970. It must be the next one
    /// of the stream.
    pub fn plan(&self, change: &Change, now_us: i64) -> Result<PlannedChange, Refusal> {
        let (resource, id) = (change.resource, &change.id);
        let stored = self.kinds.get(resource.name).and_then(|kind| kind.get(id));
        let there = stored.and_then(|stored| stored.shown(id));
        let after = match (&change.action, &there) {
            (Action::Create(_), Some(there)) => {
                return Err(Refusal::Exists {
                    singular: resource.singular,
                    id: id.clone(),
                    version: there.version,
                });
            }
            (Action::Create(values), None) => Some(values),
            (Action::Replace { seen, .. } | Action::Delete { seen }, there) => {
                let there = require_seen(resource, id, there.as_ref(), *seen)?;
                match &change.action {
                    Action::Replace { values, .. } if *values == there.values => {
                        return Ok(PlannedChange::Unchanged(there.clone()));
                    }
                    Action::Replace { values, .. } => Some(values),
                    _ => None,
                }
            }
        };
        match after {
            Some(values) => self.check_values(resource, id, values)?,
            None => self.check_unreferenced(resource, id)?,
        }
        if stored.is_none() {
            self.check_space(resource)?;
        }
        let kind_of_change = match (&change.action, after) {
            (Action::Create(_), _) => "created",
            (_, Some(_)) => "updated",
            (_, None) => "deleted",
        };
        let text = |values: &Values| Value::Object(values.clone()).to_string();
        Ok(PlannedChange::Message(RegistryChange {
            // Two changes never have the same time, so that every time has one state.
            event_time: now_us.max(self.last_time_us + 1),
            resource: format!("{}.{id}", resource.name),
            kind: resource.name.to_owned(),
            id: id.clone(),
            version: stored.map_or(0, |stored| stored.version) + 1,
            change: kind_of_change.to_owned(),
            actor: change.actor.clone(),
            role: change.role.clone(),
            before: there.as_ref().map(|there| text(&there.values)),
            after: after.map(text),
        }))
    }

    /// Takes a message of the stream in. One that is known already changes nothing.
    pub fn apply(&mut self, seq: u64, change: &RegistryChange) -> Result<(), UnusableChange> {
        let unusable = |reason: String| UnusableChange { seq, reason };
        let values = match &change.after {
            None => None,
            Some(text) => match serde_json::from_str::<Value>(text) {
                Ok(Value::Object(values)) => Some(values),
                Ok(_) => return Err(unusable("after is no JSON object".to_owned())),
                Err(error) => return Err(unusable(format!("after is no JSON: {error}"))),
            },
        };
        let kind = self.kinds.entry(change.kind.clone()).or_default();
        if kind.get(&change.id).is_some_and(|stored| stored.seq >= seq) {
            return Ok(());
        }
        let stored = StoredVersion {
            seq,
            version: change.version,
            updated_us: change.event_time,
            updated_by: change.actor.clone(),
            values: values.clone(),
        };
        let before = kind.insert(change.id.clone(), stored);
        self.last_time_us = self.last_time_us.max(change.event_time);
        // What a newer version of this program registers is kept, and not looked into.
        if let Some(resource) = resource::find(&change.kind) {
            let before = before.and_then(|before| before.values).unwrap_or_default();
            self.unindex(resource, &change.id, &before);
            self.index(resource, &change.id, &values.unwrap_or_default());
        }
        Ok(())
    }

    fn index(&mut self, resource: &'static Resource, id: &str, values: &Values) {
        let own = (resource.name.to_owned(), id.to_owned());
        for (field, text) in texts(resource, values) {
            if let Format::Reference(kind) = field.format {
                let named = (kind.to_owned(), text.to_owned());
                self.referrers.entry(named).or_default().insert(own.clone());
            }
            if field.is_unique {
                let value = (own.0.clone(), field.name(), text.to_owned());
                self.unique.insert(value, id.to_owned());
            }
        }
    }

    fn unindex(&mut self, resource: &'static Resource, id: &str, values: &Values) {
        let own = (resource.name.to_owned(), id.to_owned());
        for (field, text) in texts(resource, values) {
            if let Format::Reference(kind) = field.format {
                let named = (kind.to_owned(), text.to_owned());
                if let Some(referrers) = self.referrers.get_mut(&named) {
                    referrers.remove(&own);
                    if referrers.is_empty() {
                        self.referrers.remove(&named);
                    }
                }
            }
            let value = (own.0.clone(), field.name(), text.to_owned());
            // Somebody else may have it by now, as far as messages were told out of order.
            if self.unique.get(&value).is_some_and(|holder| holder == id) {
                self.unique.remove(&value);
            }
        }
    }

    fn check_values(
        &self,
        resource: &'static Resource,
        id: &str,
        values: &Values,
    ) -> Result<(), Refusal> {
        for (field, text) in texts(resource, values) {
            if let Format::Reference(kind) = field.format {
                let stored = self.kinds.get(kind).and_then(|kind| kind.get(text));
                if stored.is_none_or(|stored| stored.values.is_none()) {
                    return Err(Refusal::UnknownReference {
                        field: field.name(),
                        singular: resource::find(kind).map_or(kind, |kind| kind.singular),
                        id: text.to_owned(),
                    });
                }
            }
            let value = (resource.name.to_owned(), field.name(), text.to_owned());
            let holder = self.unique.get(&value).filter(|_| field.is_unique);
            if let Some(other) = holder.filter(|other| *other != id) {
                return Err(Refusal::NotUnique {
                    field: field.name(),
                    value: text.to_owned(),
                    other: other.clone(),
                });
            }
        }
        Ok(())
    }

    fn check_unreferenced(&self, resource: &Resource, id: &str) -> Result<(), Refusal> {
        let referrers = self
            .referrers
            .get(&(resource.name.to_owned(), id.to_owned()));
        match referrers.and_then(|referrers| Some((referrers.len(), referrers.first()?))) {
            None => Ok(()),
            Some((count, (kind, by))) => Err(Refusal::Referenced {
                singular: resource.singular,
                id: id.to_owned(),
                count,
                by: format!("{kind}/{by}"),
            }),
        }
    }

    fn check_space(&self, resource: &Resource) -> Result<(), Refusal> {
        match self.kinds.get(resource.name).map_or(0, BTreeMap::len) {
            count if count < MAX_IDS_OF_KIND => Ok(()),
            count => Err(Refusal::Full {
                kind: resource.name,
                count,
            }),
        }
    }
}

impl StreamState for RegistryState {
    type Row = RegistryChange;

    fn apply(&mut self, seq: u64, row: &RegistryChange) -> Result<(), String> {
        RegistryState::apply(self, seq, row).map_err(|error| error.to_string())
    }
}

impl StoredVersion {
    fn shown(&self, id: &str) -> Option<ResourceVersion> {
        Some(ResourceVersion {
            id: id.to_owned(),
            version: self.version,
            updated_us: self.updated_us,
            updated_by: self.updated_by.clone(),
            values: self.values.clone()?,
        })
    }
}

/// The resource, where it is at the version that somebody saw.
fn require_seen<'a>(
    resource: &Resource,
    id: &str,
    there: Option<&'a ResourceVersion>,
    seen: i64,
) -> Result<&'a ResourceVersion, Refusal> {
    match there {
        None => Err(Refusal::Missing {
            singular: resource.singular,
            id: id.to_owned(),
        }),
        Some(there) if there.version != seen => Err(Refusal::Changed {
            singular: resource.singular,
            id: id.to_owned(),
            seen,
            found: there.version,
        }),
        Some(there) => Ok(there),
    }
}

/// The fields of a resource that are texts.
fn texts<'a>(
    resource: &'static Resource,
    values: &'a Values,
) -> impl Iterator<Item = (&'static resource::Field, &'a str)> {
    resource
        .fields
        .iter()
        .filter_map(move |field| Some((field, values.get(field.name())?.as_str()?)))
}
