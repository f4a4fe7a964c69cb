//! The page of a site's machines.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Machines;

impl Page for Machines {
    fn title(&self) -> &'static str {
        "Machines"
    }
    fn doc(&self) -> &'static str {
        "Every machine by what it does, the worst first, as a map and as a table."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/site/machines"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn script(&self) -> &'static str {
        "site-machines.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("../assets/site-machines.html")
    }
}
