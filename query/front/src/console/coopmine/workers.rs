//! The page of the workers, where they are paused, resumed and throttled.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Workers;

impl Page for Workers {
    fn title(&self) -> &'static str {
        "Workers"
    }
    fn doc(&self) -> &'static str {
        "Each worker: state, hashrate with its line of an hour, threads, temperature, shares and \
         trust; pause, resume and throttle."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/workers"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn script(&self) -> &'static str {
        "coop-workers.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("../assets/coop-workers.html")
    }
}
