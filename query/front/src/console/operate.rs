//! The operator's page: the state of everything that runs, and the orders that may be given.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Operate;

impl Page for Operate {
    fn title(&self) -> &'static str {
        "Operate"
    }
    fn doc(&self) -> &'static str {
        "The state of everything that runs, payments, bans and queries, and the orders about them."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/operate"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn key(&self) -> Option<char> {
        Some('o')
    }
    fn script(&self) -> &'static str {
        "operate.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("assets/operate.html")
    }
}
