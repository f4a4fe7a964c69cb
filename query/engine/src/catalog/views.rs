//! The views that are written in SQL: those about money, those of the registry, energy by what is
//! registered, anomalies, and violations.

use std::sync::LazyLock;

use headframe_schemas::SqlView;
use headframe_schemas::sql_view::{anomalies, energy, violations};

use crate::catalog::{money, registry};

static ALL: LazyLock<Vec<SqlView>> = LazyLock::new(|| {
    let money = money::ALL.iter().map(|view| SqlView {
        name: view.name.to_owned(),
        doc: view.doc.to_owned(),
        reads: view.streams,
        columns: (view.columns)(),
        sql: (view.sql)(),
    });
    money
        .chain(registry::views())
        .chain(energy::views())
        .chain(anomalies::views())
        .chain(violations::views())
        .collect()
});

/// Every view that is written in SQL.
pub fn all() -> &'static [SqlView] {
    &ALL
}

/// The view of this name.
pub fn find(name: &str) -> Option<&'static SqlView> {
    all().iter().find(|view| view.name == name)
}
