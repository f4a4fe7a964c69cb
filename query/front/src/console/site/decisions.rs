//! The page of what was decided, and why.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Decisions;

impl Page for Decisions {
    fn title(&self) -> &'static str {
        "Decisions"
    }
    fn doc(&self) -> &'static str {
        "What was decided, when and why: who asked for what, and who won."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/site/decisions"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn script(&self) -> &'static str {
        "site-decisions.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("../assets/site-decisions.html")
    }
}
