//! Who sent a request: a name, a role, what else he was given, and how he proved it.

use std::sync::Arc;

use headframe_schemas::stream::{self, WritePermission};
use serde_json::{Value, json};

use crate::access::{Permission, Role, allows};
use crate::error::{ErrorCode, QueryError};

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name that rows and logs have.
    pub name: Arc<str>,
    /// What he is; `None` for a stranger.
    pub role: Option<Role>,
    /// The streams whose rows he may send although his role alone does not allow it.
    pub scope: Scope,
    /// How he proved it.
    pub proof: Proof,
}

/// Streams whose rows somebody may send beyond what his role allows. Streams that money or access
/// follows from are never among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// None.
    #[default]
    RoleOnly,
    /// These.
    Streams(Arc<[String]>),
    /// Every stream that producers write.
    EveryProducerStream,
}

/// How a principal proved who he is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Not at all.
    Nothing,
    /// The request comes from a program of this machine, on a server that needs no more.
    LocalProgram,
    /// The token of `query.token_file` or `query.operator_token_file`.
    TokenFile,
    /// A service token of the account store.
    Token,
    /// A session that began with a login.
    Session,
    /// The password itself.
    Password,
    /// A token that an issuer signed.
    Jwt,
}

impl Principal {
    /// Somebody who has proved nothing, to whom the probes and public pages are open.
    pub fn anonymous() -> Self {
        Self::new("anonymous", None, Scope::RoleOnly, Proof::Nothing)
    }

    /// The bearer of the reader's token file.
    pub fn reader() -> Self {
        let scope = Scope::EveryProducerStream;
        Self::new("reader", Some(Role::Viewer), scope, Proof::TokenFile)
    }

    /// The bearer of the operator's token file.
    pub fn operator() -> Self {
        let role = Some(Role::Operator);
        Self::new("operator", role, Scope::RoleOnly, Proof::TokenFile)
    }

    /// A program of this machine, on a server that reads without a token.
    pub fn local() -> Self {
        Self {
            name: "local".into(),
            proof: Proof::LocalProgram,
            ..Self::reader()
        }
    }

    /// The same, on a server that takes orders without a token.
    pub fn local_operator() -> Self {
        Self {
            name: "local".into(),
            proof: Proof::LocalProgram,
            ..Self::operator()
        }
    }

    fn new(name: &str, role: Option<Role>, scope: Scope, proof: Proof) -> Self {
        Self {
            name: name.into(),
            role,
            scope,
            proof,
        }
    }

    /// Whether he may do it. `subject` is what the path names: a miner's address or a stream.
    pub fn allows(&self, permission: Permission, subject: Option<&str>) -> bool {
        let given = permission == Permission::WriteStream
            && subject.is_some_and(|stream| self.scope.includes(stream));
        // Whoever may give orders here may see whom they are about.
        let is_local = permission == Permission::ReadPersonal && self.proof == Proof::LocalProgram;
        given || is_local || allows(self.role.as_ref(), permission, subject)
    }

    /// Whether he may read everything.
    pub fn is_reader(&self) -> bool {
        self.allows(Permission::Read, None)
    }

    /// Whether he is somebody in particular: of the account store, or by an issuer's word.
    pub fn is_account(&self) -> bool {
        matches!(
            self.proof,
            Proof::Token | Proof::Session | Proof::Password | Proof::Jwt
        )
    }

    /// The error of somebody who is known, and may not do it.
    pub fn forbidden(&self) -> QueryError {
        let role = self.role.as_ref().map_or("no role", Role::as_str);
        QueryError::new(
            ErrorCode::Forbidden,
            format!("{} is {role} here, which does not allow this", self.name),
            "docs/accounts.md says what each role may do; an admin gives roles",
        )
    }

    /// Who this is, for answers: `{name, role, address, proof}`.
    pub fn to_json(&self) -> Value {
        let role = self.role.as_ref();
        json!({
            "name": self.name.as_ref(),
            "role": role.map(Role::as_str),
            "address": role.and_then(Role::address),
            "proof": self.proof.as_str(),
        })
    }

    /// Whether he gives orders.
    pub fn is_operator(&self) -> bool {
        self.role.as_ref().is_some_and(Role::is_operator)
    }
}

impl Proof {
    /// As answers have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Proof::Nothing => "nothing",
            Proof::LocalProgram => "local_program",
            Proof::TokenFile => "token_file",
            Proof::Token => "token",
            Proof::Session => "session",
            Proof::Password => "password",
            Proof::Jwt => "jwt",
        }
    }
}

impl Scope {
    /// Whether rows of this stream may be sent.
    fn includes(&self, name: &str) -> bool {
        match self {
            Scope::RoleOnly => false,
            Scope::Streams(streams) => {
                streams.iter().any(|given| given == name) && can_be_given(name)
            }
            Scope::EveryProducerStream => is_for_producers(name),
        }
    }
}

/// Whether a stream of this name takes rows of whoever may send facts. What is no stream does not.
pub fn is_for_producers(name: &str) -> bool {
    stream::find(name).is_some_and(|stream| stream.write_permission() == WritePermission::Producer)
}

/// Whether an account may be given a stream of this name to send rows of: those of producers, and
/// those that a site forwards.
pub fn can_be_given(name: &str) -> bool {
    stream::find(name).is_some_and(|stream| {
        matches!(
            stream.write_permission(),
            WritePermission::Producer | WritePermission::Site
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_opens_the_streams_of_producers_that_it_names_and_no_other() {
        let of = |scope| Principal {
            scope,
            ..Principal::reader()
        };
        let given = ["energy", "signals", "shares", "payouts"].map(str::to_owned);
        let named = Scope::Streams(Arc::new(given));
        for stream in stream::ALL {
            let name = stream.name();
            let open = stream.write_permission() == WritePermission::Producer;
            let may = |principal: Principal| principal.allows(Permission::WriteStream, Some(name));
            assert!(!may(of(Scope::RoleOnly)), "{name}");
            assert_eq!(may(of(Scope::EveryProducerStream)), open, "{name}");
            let is_given = name == "energy" || name == "signals";
            assert_eq!(may(of(named.clone())), is_given, "{name}");
            assert!(may(Principal::operator()), "{name}");
            assert!(!may(Principal::anonymous()), "{name}");
        }
        for name in ["", "nothing", "Energy", "%65nergy"] {
            let every = of(Scope::EveryProducerStream);
            assert!(
                !every.allows(Permission::WriteStream, Some(name)),
                "{name:?}"
            );
        }
        assert!(!Principal::reader().allows(Permission::WriteStream, None));
    }
}
