//! The page of a site at a glance.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Overview;

impl Page for Overview {
    fn title(&self) -> &'static str {
        "Site"
    }
    fn doc(&self) -> &'static str {
        "Power against the target, temperature, fans, signals, machines, and why it is so."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/site"]
    }
    fn permission(&self) -> Permission {
        Permission::Read
    }
    fn script(&self) -> &'static str {
        "site.js"
    }
    fn markup(&self) -> &'static str {
        concat!(
            "<div class=\"head site-head\"><div><h1 id=\"name\">Site</h1>\
             <p class=\"lede\" id=\"reason\">Nothing was said yet.</p></div>\n",
            include_str!("../assets/site-stop.html"),
            "</div>\n",
            include_str!("../assets/site.html")
        )
    }
}
