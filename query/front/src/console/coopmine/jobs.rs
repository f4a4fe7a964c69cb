//! The page of the latest jobs and who searches what of them.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Jobs;

impl Page for Jobs {
    fn title(&self) -> &'static str {
        "Jobs"
    }
    fn doc(&self) -> &'static str {
        "The latest jobs, and which worker searches which of their nonces."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/jobs"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn script(&self) -> &'static str {
        "coop-jobs.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("../assets/coop-jobs.html")
    }
}
