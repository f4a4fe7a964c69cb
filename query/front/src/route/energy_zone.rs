//! By which clock days of energy are counted: the one that a request names, else that of each
//! site.

use std::collections::BTreeSet;

use headframe_schemas::period::Zone;
use headframe_schemas::resource::{self, Values};
use headframe_schemas::sql_view::energy::Subject;
use serde_json::Value;

use crate::app_state::AppState;
use crate::error::QueryError;
use crate::registry::{Registry, ResourcePage};

/// The most zones of one answer; each is a statement of its own.
const MAX_ZONES: usize = 24;
const PAGE: usize = 1_000;

/// The zone that a request names.
pub(super) fn named(name: Option<&str>) -> Result<Option<Zone>, QueryError> {
    let Some(name) = name else { return Ok(None) };
    let zone = name.parse().map_err(|_| {
        QueryError::bad_request(
            "zone names no time zone",
            "zones are called as in the IANA database, such as Europe/Oslo",
        )
    });
    zone.map(Some)
}

/// The named zone, or that of the site of one; UTC where there is none.
pub(super) fn of_one(
    app: &AppState,
    of: &Subject,
    id: &str,
    name: Option<&str>,
) -> Result<Zone, QueryError> {
    let registered = || zone_of(app.registry.as_deref()?, of, id);
    Ok(named(name)?.or_else(registered).unwrap_or(Zone::UTC))
}

/// The zones that the days of an answer are counted in, one after the other.
pub(super) fn of_answer(
    app: &AppState,
    of: &Subject,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<Zone>, QueryError> {
    if let Some(id) = id {
        return Ok(vec![of_one(app, of, id, name)?]);
    }
    if let Some(zone) = named(name)? {
        return Ok(vec![zone]);
    }
    let mut zones = match app.registry.as_deref() {
        Some(registry) => of_sites(registry),
        None => BTreeSet::new(),
    };
    if zones.len() != 1 {
        // Of what has no site any more.
        zones.insert(Zone::UTC.name());
    }
    if zones.len() > MAX_ZONES {
        return Err(QueryError::bad_request(
            format!("the sites lie in {} time zones", zones.len()),
            "name one with `zone`, or one machine, pool or site with `id`",
        ));
    }
    Ok(zones.iter().filter_map(|zone| zone.parse().ok()).collect())
}

/// Whether the days of one are those of this zone, one of an answer's.
pub(super) fn is_of(app: &AppState, of: &Subject, id: &str, zone: Zone) -> bool {
    let registry = app.registry.as_deref();
    let own = registry.and_then(|registry| zone_of(registry, of, id));
    own.unwrap_or(Zone::UTC) == zone
}

fn zone_of(registry: &dyn Registry, of: &Subject, id: &str) -> Option<Zone> {
    let find = |kind: &str, id: &str| registry.find(resource::find(kind)?, id);
    let own = find(&format!("{}s", of.name), id)?;
    if of.name == "site" {
        return zone_in(&own.values);
    }
    let site = own.values.get("site").and_then(Value::as_str)?;
    zone_in(&find("sites", site)?.values)
}

fn zone_in(values: &Values) -> Option<Zone> {
    let name = values.get("time_zone").and_then(Value::as_str)?;
    name.parse().ok()
}

/// The zones of all sites.
fn of_sites(registry: &dyn Registry) -> BTreeSet<&'static str> {
    let Some(sites) = resource::find("sites") else {
        return BTreeSet::new();
    };
    let mut zones = BTreeSet::new();
    let mut page = ResourcePage {
        limit: PAGE,
        ..ResourcePage::default()
    };
    loop {
        let (found, has_more) = registry.page(sites, &page);
        let names = found.iter().filter_map(|site| zone_in(&site.values));
        zones.extend(names.map(|zone| zone.name()));
        match found.last() {
            Some(last) if has_more => page.after.clone_from(&last.id),
            _ => return zones,
        }
    }
}
