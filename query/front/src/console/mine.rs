//! The mine at a glance: is it well, and if not, where.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Mine;

impl Page for Mine {
    fn title(&self) -> &'static str {
        "Mine"
    }
    fn doc(&self) -> &'static str {
        "The mine at a glance: power, allocations, hashrate, what needs attention, and each site."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/mine"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn key(&self) -> Option<char> {
        Some('m')
    }
    fn script(&self) -> &'static str {
        "mine.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("assets/mine.html")
    }
}
