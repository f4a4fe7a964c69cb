//! Who may do what: the permission of each route, the tokens that grant it, and the guard that
//! compares the two.
//!
//! Without a token the server listens on loopback only and trusts the programs of its machine. Even
//! there a web page that the user happens to visit could send requests, so whatever a browser sends
//! for another site is refused. Reading and operating have a token each: whoever may see the data
//! may not move money. Beside the two tokens there are users and service tokens of the account
//! store, each with a role.

#[cfg(feature = "server")]
pub mod accounts;
pub mod browser;
pub mod cookie;
#[cfg(feature = "server")]
mod guard;
#[cfg(feature = "server")]
mod guarded_accounts;
#[cfg(feature = "server")]
pub mod jwt;
#[cfg(feature = "server")]
mod message_login;
#[cfg(feature = "server")]
pub mod oidc;
#[cfg(feature = "server")]
mod ongoing;
mod permission;
mod principal;
pub mod process_accounts;
#[cfg(feature = "server")]
mod read_scope;
mod role;
#[cfg(feature = "server")]
mod spent_ids;
#[cfg(feature = "server")]
pub mod token;
pub mod token_sign_in;
#[cfg(feature = "server")]
mod wallet_challenge;
#[cfg(feature = "server")]
mod wallet_login;

#[cfg(feature = "server")]
pub use guard::Guard;
#[cfg(feature = "server")]
pub(crate) use guard::WireLogin;
#[cfg(feature = "server")]
pub(crate) use guarded_accounts::GuardedAccounts;
#[cfg(feature = "server")]
pub(crate) use message_login::MessageLogin;
#[cfg(feature = "server")]
pub(crate) use ongoing::OngoingAccess;
pub use permission::{Permission, allows};
pub use principal::{Principal, Proof, Scope, can_be_given, is_for_producers};
#[cfg(feature = "server")]
pub use read_scope::{OwnRows, ReadScope, RowAccess};
pub use role::{Role, RoleError};
#[cfg(feature = "server")]
pub(crate) use wallet_login::WalletLogin;
