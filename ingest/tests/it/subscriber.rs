//! Who may do what on a managed server: nobody without a key, and a subscriber nothing but read
//! through its ready-made durables.

use std::os::unix::fs::PermissionsExt;

use async_nats::{Client, ConnectOptions, Event};
use futures::StreamExt;
use headframe_ingest::nats::server::credentials::SUBSCRIBER_INBOX;
use headframe_ingest::{Nats, NatsConfig, StreamSettings, inspect_stream, provision_stream};
use headframe_schemas::Stream;
use headframe_schemas::stream::instructions::Instructions;
use headframe_schemas::stream::payouts::Payouts;
use tokio::sync::mpsc;

use crate::fixture::{Bed, PATIENCE};

const NEXT: &str = "$JS.API.CONSUMER.MSG.NEXT.payouts.subscriber";
const INFO: &str = "$JS.API.CONSUMER.INFO.payouts.subscriber";
const AT_ONCE: &str = r#"{"batch":1,"no_wait":true}"#;

struct Subscriber {
    client: Client,
    errors: mpsc::Receiver<String>,
}

impl Subscriber {
    async fn connect(bed: &Bed) -> Self {
        let seed = std::fs::read_to_string(bed.folder.path().join("subscriber.nk")).unwrap();
        let (sender, errors) = mpsc::channel(64);
        let options = ConnectOptions::with_nkey(seed.trim().to_owned())
            .custom_inbox_prefix(SUBSCRIBER_INBOX)
            .event_callback(move |event| {
                if let Event::ServerError(error) = &event {
                    sender.try_send(error.to_string().to_ascii_lowercase()).ok();
                }
                async {}
            });
        let client = options.connect(bed.url()).await.unwrap();
        Self { client, errors }
    }

    /// One message of the durable, or the server's status when it has none. A row comes under its
    /// own subject, which a client's shared inbox would not know what to do with.
    async fn next(&self) -> async_nats::Message {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.unwrap();
        let request = self.client.publish_with_reply(NEXT, inbox, AT_ONCE.into());
        request.await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await;
        answer.expect("the durable answers").unwrap()
    }

    /// Waits until the server has refused something with these words.
    async fn refused(&mut self, words: &str) {
        let words = words.to_ascii_lowercase();
        let found = async {
            while let Some(error) = self.errors.recv().await {
                if error.contains("permissions violation") && error.contains(&words) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .unwrap_or_else(|_| panic!("{words} was not refused"));
    }
}

/// Streams `payouts` with three messages and `instructions` with two.
async fn filled(bed: &Bed) -> Nats {
    let nats = bed.nats().await;
    for (stream, rows) in [(&Payouts as &dyn Stream, 3), (&Instructions, 2)] {
        provision_stream(&nats.js, stream, &StreamSettings::default())
            .await
            .unwrap();
        for n in 0..rows {
            let subject = format!("{}.main", stream.name());
            let ack = nats.js.publish(subject, format!("{{\"n\":{n}}}\n").into());
            ack.await.unwrap().await.unwrap();
        }
    }
    nats
}

async fn last_seqs(nats: &Nats) -> [u64; 2] {
    let last = async |stream| match inspect_stream(&nats.js, stream).await.unwrap() {
        Some(identity) if identity.first_seq == 1 => identity.last_seq,
        // Purged or deleted.
        _ => 0,
    };
    [last(&Payouts).await, last(&Instructions).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_key_is_refused() {
    let bed = Bed::start().await;
    let anonymous = NatsConfig {
        url: bed.url(),
        ..NatsConfig::default()
    };
    let refused = Nats::connect(&anonymous).await.unwrap_err().to_string();
    assert!(refused.contains("authorization violation"), "{refused}");
    let mode = |name: &str| {
        let path = bed.folder.path().join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(
        ["", "nats.conf", "headframe.nk", "subscriber.nk"].map(mode),
        [0o700, 0o600, 0o600, 0o600]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_reads_and_acknowledges_through_its_durable() {
    let bed = Bed::start().await;
    let nats = filled(&bed).await;
    let subscriber = Subscriber::connect(&bed).await;
    for n in 0..3 {
        let message = subscriber.next().await;
        assert_eq!(&message.payload[..], format!("{{\"n\":{n}}}\n").as_bytes());
        let reply = message.reply.unwrap();
        subscriber.client.publish(reply, "".into()).await.unwrap();
    }
    assert_eq!(
        subscriber.next().await.status,
        Some(async_nats::StatusCode::NOT_FOUND)
    );
    let acknowledged = async {
        loop {
            let info = nats.client.request(INFO, "".into()).await.unwrap();
            let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
            if info["ack_floor"]["stream_seq"] == 3 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, acknowledged).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_can_do_nothing_else() {
    let bed = Bed::start().await;
    let nats = filled(&bed).await;
    let mut subscriber = Subscriber::connect(&bed).await;
    for subject in [
        "payouts.main",
        "instructions.main",
        "$JS.API.STREAM.INFO.payouts",
        "$JS.API.STREAM.PURGE.payouts",
        "$JS.API.STREAM.DELETE.payouts",
        "$JS.API.STREAM.MSG.GET.payouts",
        "$JS.API.DIRECT.GET.instructions",
        "$JS.API.STREAM.CREATE.mine",
        "$JS.API.CONSUMER.CREATE.payouts.mine",
        "$JS.API.CONSUMER.DURABLE.CREATE.payouts.mine",
        "$JS.API.CONSUMER.DELETE.payouts.subscriber",
        "$JS.API.CONSUMER.MSG.NEXT.instructions.subscriber",
        "$JS.ACK.instructions.subscriber.1.1.1.1.1",
        "$KV.headframe_accounts.user.me",
        "$JS.API.STREAM.MSG.GET.KV_headframe_accounts",
        "$JS.API.DIRECT.GET.KV_headframe_accounts",
        "$JS.API.CONSUMER.CREATE.KV_headframe_accounts",
    ] {
        subscriber.client.publish(subject, "".into()).await.unwrap();
        subscriber.refused(&format!("\"{subject}\"")).await;
    }
    for subject in [">", "payouts.>", "instructions.main", "_INBOX.>", "$KV.>"] {
        let _subscription = subscriber.client.subscribe(subject).await.unwrap();
        subscriber.refused(&format!("\"{subject}\"")).await;
    }
    assert_eq!(last_seqs(&nats).await, [3, 2]);
}

/// The server answers wherever a request says. In the account of the streams an empty status at
/// `$JS.API.STREAM.DELETE.…` deletes one, and a row at a stream's subject is stored there.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_cannot_have_answers_sent_elsewhere() {
    let bed = Bed::start().await;
    let nats = filled(&bed).await;
    let subscriber = Subscriber::connect(&bed).await;
    let _exact = nats.client.subscribe("instructions.main").await.unwrap();
    nats.client.flush().await.unwrap();
    let targets = [
        "instructions.main",
        "$JS.API.STREAM.PURGE.instructions",
        "$JS.API.STREAM.DELETE.instructions",
    ];
    let ask = async |target: &'static str| {
        let sent = subscriber
            .client
            .publish_with_reply(NEXT, target, AT_ONCE.into());
        sent.await.unwrap();
    };
    // First with rows as answers, then with the status that there are none.
    for _ in 0..2 {
        for target in targets {
            ask(target).await;
        }
    }
    // An acknowledgement is answered too.
    let reply = "$JS.ACK.payouts.subscriber.1.1.1.1.1";
    for target in targets {
        let sent = subscriber
            .client
            .publish_with_reply(reply, target, "".into());
        sent.await.unwrap();
    }
    // The answer to the last question comes after all the others.
    subscriber.next().await;
    assert_eq!(last_seqs(&nats).await, [3, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_outlive_a_restart() {
    let mut bed = Bed::start().await;
    let nats = filled(&bed).await;
    let keys = || {
        ["headframe.nk", "subscriber.nk"]
            .map(|name| std::fs::read_to_string(bed.folder.path().join(name)).unwrap())
    };
    let before = keys();
    assert_ne!(before[0], before[1]);
    bed.down().await;
    bed.up().await;
    let after = ["headframe.nk", "subscriber.nk"]
        .map(|name| std::fs::read_to_string(bed.folder.path().join(name)).unwrap());
    assert_eq!(before, after);
    let mut connected = nats.connected();
    let again = connected.wait_for(|count| *count > 1);
    tokio::time::timeout(PATIENCE, again)
        .await
        .unwrap()
        .unwrap();
    let subscriber = Subscriber::connect(&bed).await;
    assert_eq!(&subscriber.next().await.payload[..], b"{\"n\":0}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_of_a_folder_without_keys_are_kept() {
    let mut bed = Bed::start().await;
    let nats = filled(&bed).await;
    let before = inspect_stream(&nats.js, &Payouts).await.unwrap().unwrap();
    drop(nats);
    bed.down().await;
    // As a version without keys left it: no keys, and the streams in the account of nobody.
    let folder = bed.folder.path();
    for key in ["headframe.nk", "subscriber.nk"] {
        std::fs::remove_file(folder.join(key)).unwrap();
    }
    let accounts = folder.join("jetstream/jetstream");
    std::fs::rename(accounts.join("HEADFRAME"), accounts.join("$G")).unwrap();
    bed.up().await;
    let nats = bed.nats().await;
    let after = inspect_stream(&nats.js, &Payouts).await.unwrap().unwrap();
    assert_eq!(before, after);
    assert_eq!(last_seqs(&nats).await, [3, 2]);
}
