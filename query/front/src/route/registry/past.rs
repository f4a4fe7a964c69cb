//! Pages of what was registered at a time, which the tables tell.

use headframe_schemas::Resource;
use headframe_schemas::resource::ResourceVersion;

use crate::error::QueryError;
use crate::registry::ResourcePage;
use crate::reports::{PastResources, Reports};

/// Resources that one statement reads.
const STEP: usize = 1_000;
/// Statements of one page: a filter that few satisfy makes short pages, with a `next`.
const MAX_STEPS: usize = 5;

/// A page, and the `after` of the next one.
pub(super) async fn page(
    reports: &dyn Reports,
    kind: &'static Resource,
    page: &ResourcePage,
    at_us: i64,
) -> Result<(Vec<ResourceVersion>, Option<String>), QueryError> {
    let mut wanted = PastResources {
        kind: kind.name,
        at_us,
        id: None,
        after: page.after.clone(),
        limit: STEP,
    };
    let mut rows: Vec<ResourceVersion> = Vec::new();
    for _ in 0..MAX_STEPS {
        let found = reports.past_resources(&wanted).await?;
        let is_last = found.len() < STEP;
        for row in found {
            if rows.len() == page.limit && page.wants(&row.values) {
                let next = rows.last().map(|row| row.id.clone());
                return Ok((rows, next));
            }
            wanted.after.clone_from(&row.id);
            if page.wants(&row.values) {
                rows.push(row);
            }
        }
        if is_last {
            return Ok((rows, None));
        }
    }
    Ok((rows, Some(wanted.after)))
}
