//! Who comes in over Flight: the handshake, bearer tokens, and what ends a session.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use arrow_flight::Action;
use arrow_flight::decode::FlightRecordBatchStream;
use axum::http::Method;
use futures::TryStreamExt;
use headframe_query_front::access::ReadScope;
use headframe_query_front::access::accounts::{Accounts, Wire as LoginWire};
use headframe_query_front::{QueryConfig, Services};
use serde_json::json;
use tonic::Code;

use super::{Client, Wire, rows, start, status, ticket};
use crate::account_store::{MemoryStore, PASSWORD, account, accounts, actor, token};
use crate::accounts::{PEER, now_us, until};
use crate::jwt::{Issuer, claims, now_s};
use crate::server::{self, READER, config, services, token_file};

struct Bed {
    wire: Wire,
    store: Arc<MemoryStore>,
    accounts: Accounts,
}

impl Bed {
    /// With a viewer ann, on a server that needs a token.
    async fn start(config: QueryConfig) -> Self {
        let store = MemoryStore::new();
        let accounts = accounts(&store).await;
        let services = Services {
            accounts: Some(accounts.clone()),
            ..services()
        };
        let ann = accounts.add_user(actor(), account("ann", "viewer"), PASSWORD);
        ann.await.unwrap();
        Self {
            wire: Wire::start_with(config, services).await,
            store,
            accounts,
        }
    }
}

async fn ask(client: &mut Client) -> Code {
    match client.execute("rows 1".to_owned(), None).await {
        Ok(info) => match rows(client, &info).await {
            Ok(_) => Code::Ok,
            Err(error) => status(error).code(),
        },
        Err(error) => status(error).code(),
    }
}

#[tokio::test]
async fn a_password_gives_a_session_until_it_is_closed_or_the_password_is_another() {
    let file = token_file(READER);
    let guarded = QueryConfig {
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let bed = Bed::start(guarded).await;
    let mut stranger = bed.wire.client();
    assert_eq!(ask(&mut stranger).await, Code::Unauthenticated);

    let mut client = bed.wire.client();
    client.handshake("ann", PASSWORD).await.unwrap();
    let token = client.token().unwrap().clone();
    assert!(token.starts_with("hf_program_"), "{token}");
    assert_eq!(ask(&mut client).await, Code::Ok);
    assert_eq!(bed.store.outcomes(), ["user_add ok", "login ok"]);
    let mut closed = client
        .do_action(Action::new("CloseSession", ""))
        .await
        .unwrap();
    let closed = closed.message().await.unwrap().unwrap();
    assert_eq!(&closed.body[..], [8, 1]);
    assert_eq!(ask(&mut client).await, Code::Unauthenticated);

    client.clear_token();
    client.handshake("ann", PASSWORD).await.unwrap();
    let another = "another long password";
    let changed = bed.accounts.set_password(actor(), "ann", another).await;
    changed.unwrap();
    assert_eq!(ask(&mut client).await, Code::Unauthenticated);
    client.clear_token();
    client.handshake("ann", another).await.unwrap();
    assert_eq!(ask(&mut client).await, Code::Ok);
    bed.accounts.revoke(actor(), "ann").await.unwrap();
    assert_eq!(ask(&mut client).await, Code::Unauthenticated);
}

#[tokio::test]
async fn tokens_are_passwords_and_bearers_and_miners_read_their_own_rows() {
    let file = token_file(READER);
    let guarded = QueryConfig {
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let bed = Bed::start(guarded).await;
    let service = token(&bed.accounts, "viewer").await;
    for given in [READER, &service] {
        let mut client = bed.wire.client();
        client.handshake("whoever", given).await.unwrap();
        assert_eq!(client.token().unwrap(), given);
        assert_eq!(ask(&mut client).await, Code::Ok);
        let mut bearer = bed.wire.client();
        bearer.set_token(given.to_owned());
        assert_eq!(ask(&mut bearer).await, Code::Ok);
    }
    let mut miner = bed.wire.client();
    miner.set_token(token(&bed.accounts, "miner").await);
    assert_eq!(ask(&mut miner).await, Code::Ok);
    let reads = bed
        .wire
        .seen
        .requests
        .lock()
        .unwrap()
        .last()
        .unwrap()
        .reads
        .clone();
    assert_eq!(reads, ReadScope::Miner("4Own".to_owned()));
    let mut revoked = bed.wire.client();
    revoked.set_token(service);
    bed.accounts.revoke(actor(), "a-viewer").await.unwrap();
    assert_eq!(ask(&mut revoked).await, Code::Unauthenticated);
}

#[tokio::test]
async fn a_token_of_an_issuer_is_a_bearer_and_a_password_and_reads_by_its_role() {
    let (file, issuer, store) = (token_file(READER), Issuer::new("a"), MemoryStore::new());
    let guarded = QueryConfig {
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let services = Services {
        accounts: Some(accounts(&store).await),
        access: issuer.config(),
        ..services()
    };
    let wire = Wire::start_with(guarded, services).await;
    let last_reads = || {
        wire.seen
            .requests
            .lock()
            .unwrap()
            .last()
            .unwrap()
            .reads
            .clone()
    };
    let viewer = issuer.sign(&claims(&json!({})));
    let own = json!({"sub": "rig", "role": "miner", "address": "4Own"});
    let miner = issuer.sign(&claims(&own));
    for (given, reads) in [
        (&viewer, ReadScope::Readers),
        (&miner, ReadScope::Miner("4Own".to_owned())),
    ] {
        let mut bearer = wire.client();
        bearer.set_token(given.clone());
        assert_eq!(ask(&mut bearer).await, Code::Ok);
        assert_eq!(last_reads(), reads);
        let mut client = wire.client();
        client.handshake("whoever", given).await.unwrap();
        assert_eq!(ask(&mut client).await, Code::Ok);
        assert_eq!(last_reads(), reads);
    }
    let over = json!({"iat": now_s() - 7_200, "nbf": now_s() - 7_200, "exp": now_s() - 3_600});
    let stranger = Issuer::new("a");
    for wrong in [
        issuer.sign(&claims(&over)),
        stranger.sign(&claims(&json!({}))),
        issuer.sign(&claims(&json!({"aud": "another"}))),
        format!("{viewer}x"),
    ] {
        let mut bearer = wire.client();
        bearer.set_token(wrong.clone());
        assert_eq!(ask(&mut bearer).await, Code::Unauthenticated, "{wrong}");
        assert!(wire.client().handshake("whoever", &wrong).await.is_err());
    }
}

#[tokio::test]
async fn wrong_passwords_are_refused_counted_and_logged() {
    let bed = Bed::start(config()).await;
    let refused = bed.wire.client().handshake("ann", "a wrong password").await;
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("is wrong"), "{said}");
    // Attempts over another wire count as well, and these take no time, however busy the machine.
    while let Ok(_attempt) = bed.accounts.scram_secret(LoginWire::Postgres, "ann", PEER) {}
    let refused = bed.wire.client().handshake("ann", PASSWORD).await;
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("too many logins"), "{said}");
    assert_eq!(bed.store.outcomes().last().unwrap(), "login throttled");
    // This server reads without a token, so that nobody has to be somebody.
    let mut open = bed.wire.client();
    open.handshake("", "").await.unwrap();
    assert_eq!(ask(&mut open).await, Code::Ok);
    assert_eq!(ask(&mut bed.wire.client()).await, Code::Ok);
}

#[tokio::test]
async fn a_handle_is_of_no_use_to_anybody_else() {
    let bed = Bed::start(config()).await;
    let mut ann = bed.wire.client();
    ann.handshake("ann", PASSWORD).await.unwrap();
    let info = ann.execute("rows 1".to_owned(), None).await.unwrap();
    let mut other = bed.wire.client();
    let refused = status(rows(&mut other, &info).await.unwrap_err());
    assert_eq!(refused.code(), Code::NotFound);
    let mut again = bed.wire.client();
    again.handshake("ann", PASSWORD).await.unwrap();
    assert_eq!(rows(&mut again, &info).await.unwrap()[0].num_rows(), 1);
    let mut web_page = bed.wire.client();
    web_page.set_header("sec-fetch-site", "cross-site");
    assert_eq!(ask(&mut web_page).await, Code::PermissionDenied);
}

#[tokio::test]
async fn refused_and_expired_bearers_are_rows_of_access_and_are_throttled() {
    let file = token_file(READER);
    let guarded = QueryConfig {
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let bed = Bed::start(guarded).await;
    let soon = now_us() + 200_000;
    let short = bed
        .accounts
        .add_token(actor(), account("short", "viewer"), Some(soon));
    let short = short.await.unwrap();
    let bearer = |token: &str| {
        let mut client = bed.wire.client();
        client.set_token(token.to_owned());
        client
    };
    until("it has expired", async || {
        bed.accounts.bearer(&short).is_err()
    })
    .await;
    assert_eq!(ask(&mut bearer(&short)).await, Code::Unauthenticated);
    let mut mistyped = short.clone();
    mistyped.pop();
    assert_eq!(ask(&mut bearer(&mistyped)).await, Code::Unauthenticated);
    let refusals = || {
        let rows = bed.store.rows().into_iter();
        let refused = rows.filter(|row| row.action == "token_use" && row.outcome == "refused");
        refused.collect::<Vec<_>>()
    };
    let reasons: Vec<_> = refusals()
        .into_iter()
        .map(|row| (row.wire, row.reason.unwrap()))
        .collect();
    let expected = [
        "the token short has expired",
        "there is no such token, or it was revoked",
    ];
    assert_eq!(
        reasons,
        expected.map(|reason| ("flight".to_owned(), reason.to_owned()))
    );
    // A handshake is no other way in.
    assert!(
        bed.wire
            .client()
            .handshake("whoever", &short)
            .await
            .is_err()
    );
    let mut bearer = bearer(&mistyped);
    assert!(bearer.handshake("whoever", &mistyped).await.is_err());
    for _ in 0..40 {
        ask(&mut bearer).await;
    }
    let refused = status(bearer.get_catalogs().await.unwrap_err());
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(
        refused.message().contains("too many wrong tokens"),
        "{refused}"
    );
    assert!(refusals().len() <= 25, "{:?}", refusals());
}

#[tokio::test]
async fn a_revocation_ends_what_runs() {
    let file = token_file(READER);
    let guarded = QueryConfig {
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let bed = Bed::start(guarded).await;
    let service = token(&bed.accounts, "viewer").await;
    let mut client = bed.wire.client();
    client.set_token(service.clone());
    let (_, flowing) = start(&mut client, "endless").await;
    let info = client.execute("silent".to_owned(), None).await.unwrap();
    let silent = client.do_get(ticket(&info)).await.unwrap();
    let headers = [("authorization", &*format!("Bearer {service}"))];
    let over_http = server::ask(
        &bed.wire.router,
        &Method::GET,
        "/api/v1/sql?q=silent",
        &headers,
    );
    let readers = [("authorization", &*format!("Bearer {READER}"))];
    let others = server::ask(
        &bed.wire.router,
        &Method::GET,
        "/api/v1/sql?q=silent&query_id=others",
        &readers,
    );
    let seen = &bed.wire.seen;
    let revoke = async {
        until("all run", async || seen.working.load(Ordering::SeqCst) == 4).await;
        bed.accounts.revoke(actor(), "a-viewer").await.unwrap();
    };
    let collect = async |answer: FlightRecordBatchStream| {
        let ended = answer.try_collect::<Vec<RecordBatch>>().await;
        status(ended.unwrap_err()).code()
    };
    let ended = async {
        let (over_http, silent, ()) = tokio::join!(over_http, collect(silent), revoke);
        assert_eq!(
            over_http.status_and_code(),
            (401, "unauthorized".to_owned())
        );
        assert_eq!(silent, Code::Unauthenticated);
        assert_eq!(collect(flowing).await, Code::Unauthenticated);
        until("they have ended", async || {
            seen.working.load(Ordering::SeqCst) == 1
        })
        .await;
    };
    tokio::select! {
        () = ended => {}
        other = others => panic!("a statement of somebody else ended: {}", other.text),
    }
}
