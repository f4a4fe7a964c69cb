//! The proof that a stream still is the one that was read, asked for at every start and every
//! connect.

use async_nats::jetstream::stream::RawMessageErrorKind;
use headframe_schemas::Stream;

use super::ReadFault;
use crate::nats::Nats;
use crate::nats::provision::{ProvisionError, StreamIdentity, inspect_stream};
use crate::read::message::Message;
use crate::read::state::MessageFingerprint;

/// Compares the stream with what is known of it. `next` is the first sequence wanted.
pub async fn check(
    nats: &Nats,
    stream: &'static dyn Stream,
    next: u64,
    created_ns: Option<i64>,
    last_message: Option<&MessageFingerprint>,
) -> Result<StreamIdentity, ReadFault> {
    let name = stream.name();
    let mut identity = identify(nats, stream).await?;
    if let Some(expected) = created_ns
        && expected != identity.created_ns
    {
        return Err(ReadFault::StreamRecreated {
            stream: name,
            expected,
            found: identity.created_ns,
        });
    }
    if identity.last_seq + 1 < next {
        let reason = format!("the newest sequence is {}", identity.last_seq);
        return Err(ReadFault::SourceRegressed {
            stream: name,
            seq: next - 1,
            reason,
        });
    }
    if let Some(last_message) = last_message {
        let seq = u64::try_from(last_message.seq).unwrap_or(0);
        if seq > identity.last_seq {
            let reason = format!("the newest sequence is {}", identity.last_seq);
            return Err(ReadFault::SourceRegressed {
                stream: name,
                seq,
                reason,
            });
        }
        if seq >= identity.first_seq && !holds(nats, name, seq, last_message).await? {
            // It may have expired between the two questions; nothing else may remove it.
            identity = identify(nats, stream).await?;
            if seq >= identity.first_seq {
                return Err(ReadFault::SourceRegressed {
                    stream: name,
                    seq,
                    reason: "the message is gone".to_owned(),
                });
            }
        }
    }
    if identity.first_seq > next {
        return Err(ReadFault::Gap {
            stream: name,
            from: next,
            to: identity.first_seq - 1,
        });
    }
    Ok(identity)
}

async fn identify(nats: &Nats, stream: &'static dyn Stream) -> Result<StreamIdentity, ReadFault> {
    let name = stream.name();
    match inspect_stream(&nats.js, stream).await {
        Ok(Some(identity)) => Ok(identity),
        Ok(None) => Err(ReadFault::StreamMissing { stream: name }),
        Err(ProvisionError::Unfit { faults, .. }) => Err(ReadFault::SettingsChanged {
            stream: name,
            faults,
        }),
        Err(error) => Err(ReadFault::Nats {
            stream: name,
            attempt: "inspect",
            reason: error.to_string(),
        }),
    }
}

/// Whether the stream holds exactly the guarded message; `false` when it holds none there, an error
/// when another.
///
/// The leader is asked, not a replica: a replica that lags would look like a loss.
async fn holds(
    nats: &Nats,
    name: &'static str,
    seq: u64,
    last_message: &MessageFingerprint,
) -> Result<bool, ReadFault> {
    let failed = |reason: String| ReadFault::Nats {
        stream: name,
        attempt: "read the last taken message of",
        reason,
    };
    let handle = nats
        .js
        .get_stream_no_info(name)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let stored = match handle.get_raw_message(seq).await {
        Ok(stored) => stored,
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(false),
        Err(error) => return Err(failed(error.to_string())),
    };
    let time_ns = i64::try_from(stored.time.unix_timestamp_nanos()).unwrap_or(i64::MAX);
    let found = MessageFingerprint::from_message(&Message::new(
        stored.sequence,
        time_ns,
        Some(&stored.headers),
        stored.payload,
    ));
    if found == *last_message {
        return Ok(true);
    }
    let differs = |what: bool, name: &'static str| what.then_some(name);
    let parts = [
        differs(found.time_ns != last_message.time_ns, "time"),
        differs(found.msg_id != last_message.msg_id, "message id"),
        differs(found.hash != last_message.hash, "payload"),
    ];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    let reason = format!(
        "another message is there (its {} differs)",
        parts.join(", ")
    );
    Err(ReadFault::SourceRegressed {
        stream: name,
        seq,
        reason,
    })
}
