//! A registry in memory, which refuses what the real one refuses of single resources.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use headframe_query_front::{Registry, RegistryFailure, ResourcePage};
use headframe_schemas::Resource;
use headframe_schemas::resource::{Action, Change, Refusal, ResourceVersion};

#[derive(Default)]
pub struct MemoryRegistry(Mutex<BTreeMap<(&'static str, String), ResourceVersion>>);

#[async_trait]
impl Registry for MemoryRegistry {
    fn find(&self, resource: &'static Resource, id: &str) -> Option<ResourceVersion> {
        let all = self.0.lock().unwrap();
        all.get(&(resource.name, id.to_owned())).cloned()
    }

    fn page(
        &self,
        resource: &'static Resource,
        page: &ResourcePage,
    ) -> (Vec<ResourceVersion>, bool) {
        let all = self.0.lock().unwrap();
        let wanted = all.iter().filter(|((kind, id), found)| {
            *kind == resource.name && *id > page.after && page.wants(&found.values)
        });
        let mut rows: Vec<ResourceVersion> = wanted.map(|(_, found)| found.clone()).collect();
        let has_more = rows.len() > page.limit;
        rows.truncate(page.limit);
        (rows, has_more)
    }

    async fn change(&self, change: Change) -> Result<ResourceVersion, RegistryFailure> {
        let mut all = self.0.lock().unwrap();
        let key = (change.resource.name, change.id.clone());
        let (singular, id) = (change.resource.singular, change.id);
        let found = all.get(&key).cloned();
        let at = |seen: i64, found: Option<ResourceVersion>| match found {
            None => Err(Refusal::Missing {
                singular,
                id: id.clone(),
            }),
            Some(found) if found.version != seen => Err(Refusal::Changed {
                singular,
                id: id.clone(),
                seen,
                found: found.version,
            }),
            Some(found) => Ok(found),
        };
        let made = |version: i64, values| ResourceVersion {
            id: id.clone(),
            version,
            updated_us: 1_772_362_800_000_250 + version,
            updated_by: change.actor.clone(),
            values,
        };
        let (made, is_gone) = match change.action {
            Action::Create(values) => match found {
                Some(found) => {
                    let version = found.version;
                    return Err(Refusal::Exists {
                        singular,
                        id,
                        version,
                    }
                    .into());
                }
                None => (made(1, values), false),
            },
            Action::Replace { values, seen } => {
                let found = at(seen, found)?;
                (made(found.version + 1, values), false)
            }
            Action::Delete { seen } => (at(seen, found)?, true),
        };
        match is_gone {
            true => all.remove(&key),
            false => all.insert(key, made.clone()),
        };
        Ok(made)
    }
}
