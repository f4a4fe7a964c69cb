//! What a route asks of its caller, and which role has it.

use crate::access::Role;

/// What a caller must be allowed to do before a route answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Nothing: probes, which tell nothing about the data.
    Probe,
    /// Nothing: the request itself proves who sends it, as a login does.
    Anybody,
    /// The same for a browser that a page of another site sends, as an identity provider does.
    Callback,
    /// Nothing where the pool's pages are public, else to read.
    PublicPage,
    /// The same, and the miner whose address the path names may see it as well.
    MinerPage,
    /// To read what is about everybody.
    Read,
    /// To read rows: each caller those that its [`ReadScope`](crate::access::ReadScope) shows.
    ReadRows,
    /// To read from where people came.
    ReadPersonal,
    /// To send rows of the stream that the path names; the stream says whose rows it takes.
    WriteStream,
    /// To change something, such as payments and bans.
    Operate,
    /// To decide who else may do what.
    ManageAccounts,
}

impl Permission {
    /// Every permission.
    pub const ALL: &[Permission] = &[
        Permission::Probe,
        Permission::Anybody,
        Permission::Callback,
        Permission::PublicPage,
        Permission::MinerPage,
        Permission::Read,
        Permission::ReadRows,
        Permission::ReadPersonal,
        Permission::WriteStream,
        Permission::Operate,
        Permission::ManageAccounts,
    ];

    /// As the documents write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::Probe | Permission::Anybody | Permission::Callback => "anybody",
            Permission::PublicPage => "anybody where `query.public_pages` is on, else readers",
            Permission::MinerPage => {
                "anybody where `query.public_pages` is on, else readers and the miner itself"
            }
            Permission::Read => "readers",
            Permission::ReadRows => "readers, and miners their own rows",
            Permission::ReadPersonal => "operators, auditors and admins",
            Permission::WriteStream => {
                "operators, and who was given the stream unless money follows from it"
            }
            Permission::Operate => "operators",
            Permission::ManageAccounts => "admins of the account store",
        }
    }

    /// Whether the request itself proves who sends it.
    pub fn is_for_anybody(self) -> bool {
        matches!(self, Permission::Anybody | Permission::Callback)
    }

    /// Whether `query.public_pages` opens it to everybody.
    pub fn is_page(self) -> bool {
        matches!(self, Permission::PublicPage | Permission::MinerPage)
    }
}

/// Whether a role has a permission. `subject` is what the path names: a miner's address or a
/// stream. Without a role there are the probes and the logins.
pub fn allows(role: Option<&Role>, permission: Permission, subject: Option<&str>) -> bool {
    let Some(role) = role else {
        return permission == Permission::Probe || permission.is_for_anybody();
    };
    match (role, permission) {
        (_, Permission::Probe | Permission::Anybody | Permission::Callback) => true,
        (Role::Miner(own), Permission::MinerPage) => subject == Some(own),
        (Role::Miner(_), Permission::ReadRows) => true,
        (Role::Miner(_), _) => false,
        (_, Permission::PublicPage | Permission::MinerPage) => true,
        (_, Permission::Read | Permission::ReadRows) => true,
        (Role::Viewer, Permission::ReadPersonal) => false,
        (_, Permission::ReadPersonal) => true,
        (Role::Operator | Role::Admin, Permission::WriteStream | Permission::Operate) => true,
        (Role::Viewer | Role::Auditor, Permission::WriteStream | Permission::Operate) => false,
        (role, Permission::ManageAccounts) => *role == Role::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a permission: no role, viewer, miner at its own page, miner at another's,
    /// operator, auditor, admin.
    const EXPECTED: &[(Permission, &str)] = &[
        (Permission::Probe, "yyyyyyy"),
        (Permission::Anybody, "yyyyyyy"),
        (Permission::Callback, "yyyyyyy"),
        (Permission::PublicPage, "ny-nyyy"),
        (Permission::MinerPage, "nyynyyy"),
        (Permission::Read, "ny-nyyy"),
        (Permission::ReadRows, "nyyyyyy"),
        (Permission::ReadPersonal, "nn-nyyy"),
        (Permission::WriteStream, "nn-nyny"),
        (Permission::Operate, "nn-nyny"),
        (Permission::ManageAccounts, "nn-nnny"),
    ];

    #[test]
    fn each_role_has_the_permissions_of_the_table_and_no_other() {
        let miner = Role::Miner("4Own".into());
        let columns = [
            (None, "4Own"),
            (Some(&Role::Viewer), "4Own"),
            (Some(&miner), "4Own"),
            (Some(&miner), "4Other"),
            (Some(&Role::Operator), "4Own"),
            (Some(&Role::Auditor), "4Own"),
            (Some(&Role::Admin), "4Own"),
        ];
        let listed: Vec<Permission> = EXPECTED.iter().map(|(one, _)| *one).collect();
        assert_eq!(listed, Permission::ALL);
        for (permission, cells) in EXPECTED {
            for ((role, subject), cell) in columns.iter().zip(cells.chars()) {
                let expected = cell == 'y';
                if cell != '-' {
                    let found = allows(*role, *permission, Some(subject));
                    assert_eq!(found, expected, "{permission:?} {role:?} {subject}");
                }
            }
        }
        assert!(!allows(Some(&miner), Permission::MinerPage, None));
        assert!(!allows(Some(&miner), Permission::MinerPage, Some("4own")));
    }
}
