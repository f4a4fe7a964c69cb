//! The registry: lists, one resource with its history, and forms made from the definitions.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Registry;

impl Page for Registry {
    fn title(&self) -> &'static str {
        "Registry"
    }
    fn doc(&self) -> &'static str {
        "Everything that is registered, its history, and forms that change it."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/registry", "/registry/{kind}", "/registry/{kind}/{id}"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn key(&self) -> Option<char> {
        Some('r')
    }
    fn script(&self) -> &'static str {
        "registry.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("assets/registry.html")
    }
}
