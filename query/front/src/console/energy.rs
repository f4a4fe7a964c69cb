//! Energy of sites, pools and machines, and how much of what was allocated is used.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Energy;

impl Page for Energy {
    fn title(&self) -> &'static str {
        "Energy"
    }
    fn doc(&self) -> &'static str {
        "Power, energy by hour and day, allocations and efficiency of a site, a pool or a machine."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/energy"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn key(&self) -> Option<char> {
        Some('e')
    }
    fn script(&self) -> &'static str {
        "energy.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("assets/energy.html")
    }
}
