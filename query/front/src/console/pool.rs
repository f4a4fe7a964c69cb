//! The pool's page: what a miner looks at before he points a rig at it.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Pool;

impl Page for Pool {
    fn title(&self) -> &'static str {
        "Pool"
    }
    fn doc(&self) -> &'static str {
        "What the pool does: hashrate, miners, effort, blocks and payments, and how to connect."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/pool"]
    }
    fn permission(&self) -> Permission {
        Permission::PublicPage
    }
    fn key(&self) -> Option<char> {
        Some('p')
    }
    fn script(&self) -> &'static str {
        "pool.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("assets/pool.html")
    }
}
