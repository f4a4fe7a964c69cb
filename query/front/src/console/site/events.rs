//! The page of curtailments that are over, with their scores and reports.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Events;

impl Page for Events {
    fn title(&self) -> &'static str {
        "Events"
    }
    fn doc(&self) -> &'static str {
        "Curtailments that are over, with their scores, and a report of each for the utility."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/site/events"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn script(&self) -> &'static str {
        "site-events.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("../assets/site-events.html")
    }
}
