//! The page of the whole cluster: is it well, and what does the pool credit.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Cluster;

impl Page for Cluster {
    fn title(&self) -> &'static str {
        "Cluster"
    }
    fn doc(&self) -> &'static str {
        "The whole: hashrate as workers say, as their shares show and as the pool credits it, the \
         pool's state, shares and the job."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/cluster"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn script(&self) -> &'static str {
        "coop-cluster.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("../assets/coop-cluster.html")
    }
}
