//! The page where a user signs in, and where the first admin is made.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct SignIn;

impl Page for SignIn {
    fn title(&self) -> &'static str {
        "Sign in"
    }
    fn doc(&self) -> &'static str {
        "Begins a session with a password; makes the first admin with the token of the first start."
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
        "sign-in.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("assets/sign-in.html")
    }
}
