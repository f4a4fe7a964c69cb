//! The page where an operator signs in with the controller's token.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct SignIn;

impl Page for SignIn {
    fn title(&self) -> &'static str {
        "Sign in"
    }
    fn doc(&self) -> &'static str {
        "Begins a session with the controller's token; has the emergency stop as well."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/sign-in"]
    }
    fn permission(&self) -> Permission {
        Permission::Anybody
    }
    fn is_in_menu(&self) -> bool {
        false
    }
    fn script(&self) -> &'static str {
        "site-sign-in.js"
    }
    fn markup(&self) -> &'static str {
        concat!(
            "<div class=\"narrow\">\n",
            include_str!("../assets/site-sign-in.html"),
            include_str!("../assets/site-stop.html"),
            "</section>\n</div>\n"
        )
    }
}
