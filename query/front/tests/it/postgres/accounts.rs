//! Users of the account store on the wire: what lets them in, what does not, and what ends their
//! sessions.

use std::sync::Arc;

use headframe_query_front::access::ReadScope;
use headframe_query_front::access::accounts::{Accounts, LoginError, Wire as Way};
use headframe_query_front::{PostgresConfig, QueryConfig};

use super::client::{Wire, kinds, sqlstate};
use super::scram::log_in;
use crate::account_store::{MemoryStore, PASSWORD, account, accounts, actor};
use crate::accounts::PEER;
use crate::server::{READER, config, token_file};

struct Bed {
    wire: Wire,
    accounts: Accounts,
    store: Arc<MemoryStore>,
    _token: tempfile::NamedTempFile,
}

/// A wire that nobody reads without a token, with the users rig (a miner) and eva (an admin).
async fn bed() -> Bed {
    let token = token_file(READER);
    let query = QueryConfig {
        token_file: Some(token.path().to_owned()),
        ..config()
    };
    let store = MemoryStore::new();
    let accounts = accounts(&store).await;
    for (name, role) in [("rig", "miner"), ("eva", "admin")] {
        let new = account(name, role);
        accounts.add_user(actor(), new, PASSWORD).await.unwrap();
    }
    let wire = Wire::start_for(query, PostgresConfig::default(), Some(accounts.clone())).await;
    Bed {
        wire,
        accounts,
        store,
        _token: token,
    }
}

#[tokio::test]
async fn a_user_logs_in_with_its_password_and_reads_what_its_role_may() {
    let bed = bed().await;
    for (user, password, reads) in [
        ("rig", PASSWORD, ReadScope::Miner("4Own".to_owned())),
        ("eva", PASSWORD, ReadScope::Everything),
        ("reader", READER, ReadScope::Readers),
    ] {
        let mut client = bed.wire.raw().await;
        let replies = log_in(&mut client, user, password).await;
        assert!(kinds(&replies).ends_with("KZ"), "{user} {replies:?}");
        assert_eq!(kinds(&client.query("rows 1").await), "TDCZ");
        let request = bed.wire.seen.requests.lock().unwrap().pop().unwrap();
        assert_eq!(request.reads, reads, "{user}");
        assert_eq!(request.postgres.unwrap().user, user);
    }
    let outcomes = bed.store.outcomes();
    assert_eq!(outcomes[outcomes.len() - 3..], ["login ok"; 3]);
    assert!(bed.store.rows().iter().any(|row| row.wire == "postgres"));
}

#[tokio::test]
async fn who_is_not_let_in_is_told_the_same_whatever_is_wrong() {
    let bed = bed().await;
    let given = bed
        .accounts
        .add_token(actor(), account("t", "viewer"), None);
    let given = given.await.unwrap();
    bed.accounts.revoke(actor(), "eva").await.unwrap();
    for (user, password) in [
        ("rig", "another sentence of words"),
        ("eva", PASSWORD),
        ("nobody-at-all", PASSWORD),
        // A service token is a password over TLS only.
        ("token", &given),
        ("t", &given),
    ] {
        let mut client = bed.wire.raw().await;
        let replies = log_in(&mut client, user, password).await;
        let words = format!("Mpassword authentication failed for user \"{user}\"");
        let said = String::from_utf8_lossy(&replies[0].1).into_owned();
        assert!(said.contains(&words), "{said}");
        assert_eq!(kinds(&replies), "E", "{user}");
        assert_eq!(sqlstate(&replies).as_deref(), Some("28P01"), "{user}");
    }
    let refused = bed.store.rows();
    let refused = refused.iter().filter(|row| row.outcome == "refused");
    assert_eq!(refused.count(), 5);
    assert!(!bed.store.everything().contains(&given));
}

#[tokio::test]
async fn attempts_of_both_wires_are_counted_together() {
    let bed = bed().await;
    let peer = bed.wire.address.ip();
    for n in 0..5 {
        let name = format!("nobody-{n}");
        bed.accounts
            .scram_secret(Way::Http, &name, peer)
            .ok()
            .unwrap();
        bed.accounts.scram_failed(Way::Http, &name, peer);
    }
    for (user, password) in [("rig", PASSWORD), ("nobody", PASSWORD), ("reader", READER)] {
        let mut client = bed.wire.raw().await;
        let replies = log_in(&mut client, user, password).await;
        assert_eq!(sqlstate(&replies).as_deref(), Some("53300"), "{user}");
    }
    // From elsewhere the owner is not kept waiting.
    let elsewhere = bed.accounts.scram_secret(Way::Http, "rig", PEER);
    assert!(!matches!(elsewhere, Err(LoginError::Throttled(_))));
}

#[tokio::test]
async fn a_session_ends_with_the_rights_it_rests_on() {
    let bed = bed().await;
    for (user, sql) in [("rig", Some("silent")), ("eva", None)] {
        let mut client = bed.wire.raw().await;
        log_in(&mut client, user, PASSWORD).await;
        if let Some(sql) = sql {
            client.send(b'Q', &[sql.as_bytes(), b"\0"].concat()).await;
            bed.wire.until(1).await;
        }
        // What changes about somebody else changes nothing.
        let name = format!("beside-{user}");
        let beside = account(&name, "viewer");
        bed.accounts.add_token(actor(), beside, None).await.unwrap();
        if sql.is_none() {
            assert_eq!(kinds(&client.query("rows 1").await), "TDCZ");
        }
        match user {
            "rig" => {
                bed.accounts.revoke(actor(), user).await.unwrap();
            }
            _ => {
                let other = "another sentence of words";
                let changed = bed.accounts.set_password(actor(), user, other);
                changed.await.unwrap();
            }
        }
        let mut states = Vec::new();
        while let Some(reply) = client.reply().await {
            states.extend(sqlstate(&[reply]));
        }
        assert_eq!(states.last().map(String::as_str), Some("57P01"), "{user}");
        bed.wire.until(0).await;
    }
}
