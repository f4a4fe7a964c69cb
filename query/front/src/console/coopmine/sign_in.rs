//! The page where an operator signs in with the coordinator's token, or anybody with an account of
//! the process that the coordinator runs in.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct SignIn;

impl Page for SignIn {
    fn title(&self) -> &'static str {
        "Sign in"
    }
    fn doc(&self) -> &'static str {
        "Begins a session with the coordinator's token, or as a user of the headframe that it runs \
         in."
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
        "coop-sign-in.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("../assets/coop-sign-in.html")
    }
}
