//! Readings that are not what was expected.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Anomalies;

impl Page for Anomalies {
    fn title(&self) -> &'static str {
        "Anomalies"
    }
    fn doc(&self) -> &'static str {
        "Readings that are not what was expected, and one of them with the band that is normal."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/anomalies", "/anomalies/one"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn key(&self) -> Option<char> {
        Some('a')
    }
    fn script(&self) -> &'static str {
        "anomalies.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("assets/anomalies.html")
    }
}
