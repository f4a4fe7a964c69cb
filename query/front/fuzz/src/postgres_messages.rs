//! What a PostgreSQL client sends: what is understood holds no more than the bytes did, and is the
//! same when it is written again.

use headframe_query_front::wire::postgres::message::{
    Bind, Message, Startup, Target, read_message, read_startup,
};

/// The first byte chooses between a start-up packet (0) and a message of this kind.
pub fn run(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else {
        return;
    };
    if *kind == 0 {
        if let Ok(startup) = read_startup(body) {
            check_startup(body, &startup);
        }
        return;
    }
    let Ok(message) = read_message(*kind, body) else {
        return;
    };
    if let Some(again) = write(&message) {
        assert!(
            again.len() <= body.len(),
            "{message:?} holds more than was sent"
        );
        let read = read_message(*kind, &again);
        assert_eq!(
            read.as_ref(),
            Ok(&message),
            "what was written again is another message"
        );
    }
}

fn check_startup(body: &[u8], startup: &Startup) {
    let held = match startup {
        Startup::Tls | Startup::Gss => 0,
        Startup::Cancel { key, .. } => key.len(),
        Startup::Session { parameters, .. } => {
            let texts = parameters.iter();
            texts
                .map(|(name, value)| name.len() + value.len() + 2)
                .sum()
        }
    };
    assert!(held <= body.len(), "{startup:?} holds more than was sent");
}

/// The body of a message whose every byte means something.
fn write(message: &Message) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    match message {
        Message::Query(sql) => text(&mut body, sql),
        Message::Parse { name, sql, types } => {
            text(&mut body, name);
            text(&mut body, sql);
            count(&mut body, types.len());
            types.iter().for_each(|of| body.extend(of.to_be_bytes()));
        }
        Message::Bind(bind) => write_bind(&mut body, bind),
        Message::Describe(target) | Message::Close(target) => {
            let (kind, name) = match target {
                Target::Statement(name) => (b'S', name),
                Target::Portal(name) => (b'P', name),
            };
            body.push(kind);
            text(&mut body, name);
        }
        Message::Execute { portal, max_rows } => {
            text(&mut body, portal);
            body.extend(max_rows.to_be_bytes());
        }
        Message::Password(bytes) => body.extend_from_slice(bytes),
        Message::Flush
        | Message::Sync
        | Message::Copy
        | Message::Terminate
        | Message::Unknown(_) => return None,
    }
    Some(body)
}

fn write_bind(body: &mut Vec<u8>, bind: &Bind) {
    text(body, &bind.portal);
    text(body, &bind.statement);
    count(body, bind.formats.len());
    bind.formats
        .iter()
        .for_each(|of| body.extend(of.to_be_bytes()));
    count(body, bind.values.len());
    for value in &bind.values {
        match value {
            Some(value) => {
                body.extend((value.len() as i32).to_be_bytes());
                body.extend_from_slice(value);
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    count(body, bind.result_formats.len());
    let formats = bind.result_formats.iter();
    formats.for_each(|of| body.extend(of.to_be_bytes()));
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(text.as_bytes());
    body.push(0);
}

fn count(body: &mut Vec<u8>, count: usize) {
    body.extend((count as u16).to_be_bytes());
}
