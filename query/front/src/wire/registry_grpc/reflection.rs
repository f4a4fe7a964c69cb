//! Server reflection: what tools such as grpcurl ask a server for, instead of a file.
//!
//! It describes the registry alone, to whoever may read the file.

use std::sync::LazyLock;

use headframe_schemas::resource::proto;
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, decode_key, skip_field};
use tonic::Code;

use crate::wire::field_status::message_field;
use crate::wire::registry_grpc::descriptor::{registry_file, time_file};

/// The paths of its one call, in the two versions of the protocol, whose messages are the same.
pub(super) const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// A question of a stream.
#[derive(Debug, Default, PartialEq)]
enum Question {
    /// The file of this name.
    FileByName(String),
    /// The file that declares this.
    FileOfSymbol(String),
    /// The names of the services.
    Services,
    /// About extensions, which this file has not.
    #[default]
    Other,
}

/// The answer to a question, both as bytes.
pub(super) fn answer(question: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut answer = Vec::new();
    message_field(2, question, &mut answer);
    match read(question)? {
        Question::Services => {
            let mut service = Vec::new();
            let name = format!("{}.{}", proto::PACKAGE, proto::SERVICE);
            message_field(1, name.as_bytes(), &mut service);
            let mut services = Vec::new();
            message_field(1, &service, &mut services);
            message_field(6, &services, &mut answer);
        }
        Question::FileByName(name) => put_file(file_of_name(&name), &name, &mut answer),
        Question::FileOfSymbol(name) => put_file(file_of_symbol(&name), &name, &mut answer),
        Question::Other => put_error(Code::Unimplemented, "there are no extensions", &mut answer),
    }
    Ok(answer)
}

fn read(mut bytes: &[u8]) -> Result<Question, DecodeError> {
    let mut question = Question::Other;
    while !bytes.is_empty() {
        let (number, wire_type) = decode_key(&mut bytes)?;
        let context = DecodeContext::default();
        if !matches!(number, 3 | 4 | 7) {
            skip_field(wire_type, number, &mut bytes, context)?;
            continue;
        }
        let mut text = String::new();
        encoding::string::merge(wire_type, &mut text, &mut bytes, context)?;
        question = match number {
            3 => Question::FileByName(text),
            4 => Question::FileOfSymbol(text),
            _ => Question::Services,
        };
    }
    Ok(question)
}

fn put_file(file: Option<&[u8]>, name: &str, answer: &mut Vec<u8>) {
    match file {
        Some(file) => {
            let mut files = Vec::new();
            message_field(1, file, &mut files);
            message_field(4, &files, answer);
        }
        None => put_error(Code::NotFound, &format!("there is no {name:?}"), answer),
    }
}

fn put_error(code: Code, message: &str, answer: &mut Vec<u8>) {
    let mut error = Vec::new();
    encoding::int32::encode(1, &(code as i32), &mut error);
    message_field(2, message.as_bytes(), &mut error);
    message_field(7, &error, answer);
}

fn file_of_name(name: &str) -> Option<&'static [u8]> {
    static REGISTRY: LazyLock<Vec<u8>> = LazyLock::new(registry_file);
    static TIME: LazyLock<Vec<u8>> = LazyLock::new(time_file);
    match name {
        proto::FILE => Some(&REGISTRY),
        proto::TIME_FILE => Some(&TIME),
        _ => None,
    }
}

/// The file that declares a service, a call, a message or a field.
fn file_of_symbol(symbol: &str) -> Option<&'static [u8]> {
    if symbol == proto::TIME {
        return file_of_name(proto::TIME_FILE);
    }
    let symbol = symbol.strip_prefix(proto::PACKAGE)?.strip_prefix('.')?;
    let (name, member) = match symbol.split_once('.') {
        Some((name, member)) => (name, Some(member)),
        None => (symbol, None),
    };
    let is_declared = match name == proto::SERVICE {
        true => member.is_none_or(|member| proto::calls().iter().any(|call| call.name == member)),
        false => {
            let message = proto::messages().into_iter().find(|one| one.name == name)?;
            member.is_none_or(|member| message.has(member))
        }
    };
    file_of_name(proto::FILE).filter(|_| is_declared)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn ask(number: u32, text: &str) -> Vec<u8> {
        let mut question = Vec::new();
        message_field(number, text.as_bytes(), &mut question);
        answer(&question).unwrap()
    }

    fn has(answer: &[u8], part: &[u8]) -> bool {
        answer.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn what_is_declared_is_described_and_nothing_else() {
        assert!(has(&ask(7, ""), b"headframe.registry.v1.Registry"));
        for (number, name, file) in [
            (3, proto::FILE, registry_file()),
            (3, proto::TIME_FILE, time_file()),
            (4, "headframe.registry.v1.Registry", registry_file()),
            (
                4,
                "headframe.registry.v1.Registry.ListSites",
                registry_file(),
            ),
            (4, "headframe.registry.v1.Site", registry_file()),
            (4, "headframe.registry.v1.Site.name", registry_file()),
            (4, "google.protobuf.Timestamp", time_file()),
        ] {
            assert!(has(&ask(number, name), &file), "{name}");
        }
        for (number, name) in [
            (3, "other.proto"),
            (4, "headframe.registry.v1.Moon"),
            (4, "headframe.registry.v1.Registry.GetMoon"),
            (4, "headframe.registry.v1.Site.moon"),
            (4, "headframe.registry.v1"),
            (5, ""),
        ] {
            assert!(ask(number, name).len() < 120, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_confuse_it(bytes in vec(any::<u8>(), 0..200)) {
            let _ = answer(&bytes);
        }
    }
}
