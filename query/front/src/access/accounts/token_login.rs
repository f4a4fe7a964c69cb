//! Log-ins by what cannot be guessed: tokens and signatures, on wires that keep the session.

use std::net::IpAddr;

use crate::access::Principal;
use crate::access::accounts::Accounts;
use crate::access::accounts::bearer::{TokenHolder, TokenRefusal};
use crate::access::accounts::login::{LoginError, Wire};
use crate::peer::network_of;

/// What rows call whoever comes with a token that is not taken.
const TOKEN_NAME: &str = "token";

impl Accounts {
    /// An attempt with a token, which `check` tells the holder of.
    pub(crate) fn token_login(
        &self,
        wire: Wire,
        peer: IpAddr,
        check: impl FnOnce() -> Result<TokenHolder, TokenRefusal>,
    ) -> Result<TokenHolder, LoginError> {
        self.begin_token_login(wire, TOKEN_NAME, peer)?;
        match check() {
            Ok(holder) => {
                self.token_login_succeeded(wire, peer, &holder.principal);
                Ok(holder)
            }
            Err(refusal) => {
                let reason = refusal.reason();
                self.note_refused_login(wire, TOKEN_NAME, peer, &reason);
                Err(LoginError::Wrong)
            }
        }
    }

    /// Begins an attempt with a token or a signature, which counts as failed until it succeeds, and
    /// for its address alone: neither can be guessed, and strangers keep nobody else waiting with
    /// wrong ones.
    pub(crate) fn begin_token_login(
        &self,
        wire: Wire,
        name: &str,
        peer: IpAddr,
    ) -> Result<(), LoginError> {
        let mut throttle = self.inner.login.throttle();
        let begun = throttle.begin(None, network_of(peer), self.now());
        drop(throttle);
        begun.map_err(|wait| {
            self.note_login(wire, name, peer, None, "throttled", None);
            LoginError::Throttled(wait)
        })
    }

    /// The attempt was made by this one.
    pub(crate) fn token_login_succeeded(&self, wire: Wire, peer: IpAddr, principal: &Principal) {
        self.token_login_undecided(peer);
        self.note_login(wire, &principal.name, peer, Some(principal), "ok", None);
    }

    /// The attempt came to nothing for a reason of ours, and counts as none.
    pub(crate) fn token_login_undecided(&self, peer: IpAddr) {
        self.inner.login.throttle().succeed(None, network_of(peer));
    }

    /// Notes that somebody was refused before anything was checked, or for what only rows tell.
    pub(crate) fn note_refused_login(&self, wire: Wire, name: &str, peer: IpAddr, reason: &str) {
        self.note_login(wire, name, peer, None, "refused", Some(reason));
    }
}
