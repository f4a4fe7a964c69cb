//! The page of the latest shares and what became of them.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Shares;

impl Page for Shares {
    fn title(&self) -> &'static str {
        "Shares"
    }
    fn doc(&self) -> &'static str {
        "The latest shares, each with the coordinator's verdict and the pool's."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/shares"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn script(&self) -> &'static str {
        "coop-shares.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("../assets/coop-shares.html")
    }
}
