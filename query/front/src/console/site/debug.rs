//! The page where made-up values are set, to see what the controller would do.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Debug;

impl Page for Debug {
    fn title(&self) -> &'static str {
        "Debug"
    }
    fn doc(&self) -> &'static str {
        "Sets made-up values to see what the controller would do; works where `debug` is on."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/debug.html"]
    }
    fn permission(&self) -> Permission {
        Permission::Operate
    }
    fn script(&self) -> &'static str {
        "site-debug.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("../assets/site-debug.html")
    }
}
