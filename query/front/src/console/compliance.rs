//! Violations as a work list, scores, and inspections.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Compliance;

impl Page for Compliance {
    fn title(&self) -> &'static str {
        "Compliance"
    }
    fn doc(&self) -> &'static str {
        "Violations as a work list, the score with its terms, and inspections with findings and \
         photos."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/compliance", "/compliance/{violation}"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn key(&self) -> Option<char> {
        Some('c')
    }
    fn script(&self) -> &'static str {
        "compliance.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("assets/compliance.html")
    }
}
