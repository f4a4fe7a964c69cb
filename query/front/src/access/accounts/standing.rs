//! Whether somebody who was let in may still stay: a session of a wire outlives the moment of its
//! log-in, and not the rights that it rests on.

use tokio::sync::watch;

use crate::access::accounts::Accounts;
use crate::access::accounts::record::{Grant, TokenRecord, UserRecord};
use crate::access::accounts::secret::SecretHash;
use crate::access::{Principal, Proof};
use crate::clock::now_us;

/// What a session rests on, as it was when it began.
pub(crate) struct Standing {
    accounts: Accounts,
    changes: watch::Receiver<u64>,
    name: String,
    grounds: Grounds,
}

#[derive(PartialEq, Eq)]
enum Grounds {
    /// A user with this grant, and the salt of the password: each password has another one.
    User(Grant, [u8; 16]),
    /// A token, and when it ends.
    Token(Grant, SecretHash, Option<i64>),
    /// An issuer's word, until then.
    Word(i64),
}

impl Grounds {
    fn of_user(user: &UserRecord) -> Self {
        Self::User(user.grant.clone(), user.password.scram().salt)
    }

    fn of_token(token: &TokenRecord) -> Self {
        Self::Token(token.grant.clone(), token.hash, token.expires_us)
    }
}

impl Accounts {
    /// What a principal of the store rests on; `None` when it is gone already.
    pub(crate) fn standing(&self, principal: &Principal) -> Option<Standing> {
        // Subscribed before it is read, so that no change falls between the two.
        let changes = self.inner.changes.subscribe();
        let name = principal.name.to_string();
        let (grounds, grant) = self.read(|directory| match principal.proof {
            Proof::Token => {
                let token = directory.token(&name)?;
                Some((Grounds::of_token(token), token.grant.clone()))
            }
            _ => {
                let user = directory.user(&name)?;
                Some((Grounds::of_user(user), user.grant.clone()))
            }
        })?;
        let is_same = grant.principal(&name, principal.proof).ok()? == *principal;
        is_same.then(|| Standing {
            accounts: self.clone(),
            changes,
            name,
            grounds,
        })
    }
}

impl Accounts {
    /// Counts the changes of the copy.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// What somebody rests on whom an issuer vouches for until this time.
    pub(crate) fn standing_until(&self, ends_us: i64) -> Standing {
        Standing {
            accounts: self.clone(),
            changes: self.inner.changes.subscribe(),
            name: String::new(),
            grounds: Grounds::Word(ends_us),
        }
    }
}

impl Standing {
    /// Returns when it was revoked or changed, or its time is over.
    pub(crate) async fn ended(mut self) {
        while self.holds() {
            let left = match self.grounds {
                Grounds::Token(_, _, Some(ends_us)) | Grounds::Word(ends_us) => {
                    (ends_us - now_us()).max(0)
                }
                _ => i64::MAX,
            };
            let expires = async {
                match left {
                    i64::MAX => std::future::pending().await,
                    left => tokio::time::sleep(std::time::Duration::from_micros(left as u64)).await,
                }
            };
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() {
                    return;
                },
                () = expires => {}
            }
        }
    }

    fn holds(&self) -> bool {
        self.accounts.read(|directory| match &self.grounds {
            Grounds::User(..) => {
                let user = directory.user(&self.name);
                user.is_some_and(|user| Grounds::of_user(user) == self.grounds)
            }
            Grounds::Token(_, _, expires_us) => {
                let token = directory.token(&self.name);
                let is_over = expires_us.is_some_and(|expires| expires <= now_us());
                !is_over && token.is_some_and(|token| Grounds::of_token(token) == self.grounds)
            }
            Grounds::Word(ends_us) => *ends_us > now_us(),
        })
    }
}
