//! The roles: what somebody is to this system, which decides what he may do.

use std::fmt;
use std::sync::Arc;

/// What somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads everything and changes nothing.
    Viewer,
    /// Reads the pages about one address, its own.
    Miner(Arc<str>),
    /// Reads everything, and gives orders about payments, bans and blocks.
    Operator,
    /// Reads everything, who did what included, and changes nothing.
    Auditor,
    /// Does what an operator does, and decides who else may do what.
    Admin,
}

/// Why a role cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// There is no such role.
    #[error("there is no role {0:?}; there are {names}", names = Role::NAMES.join(", "))]
    Unknown(String),
    /// A miner without an address would see nothing.
    #[error("the role miner needs the address of the miner")]
    NoAddress,
    /// An address would change nothing.
    #[error("the role {0} takes no address; only a miner has one")]
    Address(String),
}

impl Role {
    /// The name of every role.
    pub const NAMES: &[&str] = &["viewer", "miner", "operator", "auditor", "admin"];

    /// The role of this name. A miner's needs an address, and no other takes one.
    pub fn parse(name: &str, address: Option<&str>) -> Result<Self, RoleError> {
        let role = match (name, address) {
            ("miner", Some(address)) if !address.is_empty() => {
                return Ok(Role::Miner(address.into()));
            }
            ("miner", _) => return Err(RoleError::NoAddress),
            ("viewer", _) => Role::Viewer,
            ("operator", _) => Role::Operator,
            ("auditor", _) => Role::Auditor,
            ("admin", _) => Role::Admin,
            _ => return Err(RoleError::Unknown(name.to_owned())),
        };
        match address {
            None => Ok(role),
            Some(_) => Err(RoleError::Address(name.to_owned())),
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Miner(_) => "miner",
            Role::Operator => "operator",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
        }
    }

    /// The miner's own address.
    pub fn address(&self) -> Option<&str> {
        match self {
            Role::Miner(address) => Some(address),
            _ => None,
        }
    }

    /// Whether it gives orders.
    pub fn is_operator(&self) -> bool {
        matches!(self, Role::Operator | Role::Admin)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miner_has_an_address_and_nobody_else_has() {
        for name in Role::NAMES {
            let address = (*name == "miner").then_some("4A");
            let role = Role::parse(name, address);
            assert_eq!(role.map(|role| role.to_string()), Ok((*name).to_owned()));
        }
        assert_eq!(Role::parse("miner", None), Err(RoleError::NoAddress));
        assert_eq!(Role::parse("miner", Some("")), Err(RoleError::NoAddress));
        let address = RoleError::Address("admin".to_owned());
        assert_eq!(Role::parse("admin", Some("4A")), Err(address));
        let unknown = RoleError::Unknown("Admin".to_owned());
        assert_eq!(Role::parse("Admin", None), Err(unknown));
    }
}
