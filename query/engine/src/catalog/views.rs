//! The views that are written in SQL over raw tables: those about money, and those of the registry.

use std::sync::LazyLock;

use crate::catalog::sql_view::SqlView;
use crate::catalog::{money, registry};

static ALL: LazyLock<Vec<SqlView>> = LazyLock::new(|| {
    let money = money::ALL.iter().map(|view| SqlView {
        name: view.name.to_owned(),
        doc: view.doc.to_owned(),
        streams: view.streams,
        columns: (view.columns)(),
        sql: (view.sql)(),
    });
    money.chain(registry::views()).collect()
});

/// Every view that is written in SQL.
pub fn all() -> &'static [SqlView] {
    &ALL
}

/// The view of this name.
pub fn find(name: &str) -> Option<&'static SqlView> {
    all().iter().find(|view| view.name == name)
}
