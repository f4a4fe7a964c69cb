//! The page that runs SQL.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Explore;

impl Page for Explore {
    fn title(&self) -> &'static str {
        "Explore"
    }
    fn doc(&self) -> &'static str {
        "Tables and their columns, an editor for SQL, and answers as a table, a chart or a file."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/explore"]
    }
    fn permission(&self) -> Permission {
        Permission::ReadRows
    }
    fn key(&self) -> Option<char> {
        Some('x')
    }
    fn script(&self) -> &'static str {
        "explore.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("assets/explore.html")
    }
}
