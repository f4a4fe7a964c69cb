//! The file of the registry as reflection describes it, and the file of times that it imports.

use headframe_schemas::resource::proto::{self, Label, Message, MessageField, Shape};
use prost::encoding;

use crate::wire::field_status::message_field;

/// Numbers of fields of `google.protobuf.FileDescriptorProto`.
mod file {
    pub(super) const NAME: u32 = 1;
    pub(super) const PACKAGE: u32 = 2;
    pub(super) const DEPENDENCY: u32 = 3;
    pub(super) const MESSAGE: u32 = 4;
    pub(super) const SERVICE: u32 = 6;
    pub(super) const SYNTAX: u32 = 12;
}

/// Those of `FieldDescriptorProto`.
mod field {
    pub(super) const NAME: u32 = 1;
    pub(super) const NUMBER: u32 = 3;
    pub(super) const LABEL: u32 = 4;
    pub(super) const TYPE: u32 = 5;
    pub(super) const TYPE_NAME: u32 = 6;
    pub(super) const ONEOF_INDEX: u32 = 9;
    pub(super) const PROTO3_OPTIONAL: u32 = 17;
}

/// The file of the registry.
pub(super) fn registry_file() -> Vec<u8> {
    let mut bytes = begun(proto::FILE, proto::PACKAGE);
    text(file::DEPENDENCY, proto::TIME_FILE, &mut bytes);
    for message in proto::messages() {
        message_field(file::MESSAGE, &described(&message), &mut bytes);
    }
    let mut service = Vec::new();
    text(1, proto::SERVICE, &mut service);
    for call in proto::calls() {
        let mut method = Vec::new();
        text(1, &call.name, &mut method);
        text(2, &full_name(&call.request.name), &mut method);
        text(3, &full_name(&call.response.name), &mut method);
        message_field(2, &method, &mut service);
    }
    message_field(file::SERVICE, &service, &mut bytes);
    bytes
}

/// The file of times.
pub(super) fn time_file() -> Vec<u8> {
    let mut bytes = begun(proto::TIME_FILE, "google.protobuf");
    let time = |name: &'static str, number: u32, shape: Shape| MessageField {
        name,
        number,
        shape,
        label: Label::Plain,
        doc: String::new(),
    };
    let message = Message {
        name: "Timestamp".to_owned(),
        doc: String::new(),
        fields: vec![
            time("seconds", 1, Shape::Whole),
            time("nanos", 2, Shape::Small),
        ],
    };
    message_field(file::MESSAGE, &described(&message), &mut bytes);
    bytes
}

fn begun(name: &str, package: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    text(file::NAME, name, &mut bytes);
    text(file::PACKAGE, package, &mut bytes);
    text(file::SYNTAX, "proto3", &mut bytes);
    bytes
}

/// A message: its name, its fields, and a group of one for each field that may be left out.
fn described(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    text(1, &message.name, &mut bytes);
    let mut groups = 0;
    for field in &message.fields {
        let mut described = described_field(field);
        if field.label == Label::Optional {
            encoding::int32::encode(field::ONEOF_INDEX, &groups, &mut described);
            encoding::bool::encode(field::PROTO3_OPTIONAL, &true, &mut described);
            groups += 1;
            let mut group = Vec::new();
            text(1, &format!("_{}", field.name), &mut group);
            message_field(8, &group, &mut bytes);
        }
        message_field(2, &described, &mut bytes);
    }
    bytes
}

fn described_field(field: &MessageField) -> Vec<u8> {
    let mut bytes = Vec::new();
    text(field::NAME, field.name, &mut bytes);
    let label = match field.label {
        Label::Plain | Label::Optional => 1,
        Label::Repeated => 3,
    };
    let (kind, type_name) = match &field.shape {
        Shape::Number => (1, None),
        Shape::Whole => (3, None),
        Shape::Small => (5, None),
        Shape::Bool => (8, None),
        Shape::Text => (9, None),
        Shape::Time => (11, Some(format!(".{}", proto::TIME))),
        Shape::Message(inner) => (11, Some(full_name(&inner.name))),
    };
    for (number, value) in [
        (
            field::NUMBER,
            i32::try_from(field.number).unwrap_or_default(),
        ),
        (field::LABEL, label),
        (field::TYPE, kind),
    ] {
        encoding::int32::encode(number, &value, &mut bytes);
    }
    if let Some(type_name) = type_name {
        text(field::TYPE_NAME, &type_name, &mut bytes);
    }
    bytes
}

fn full_name(message: &str) -> String {
    format!(".{}.{message}", proto::PACKAGE)
}

fn text(number: u32, text: &str, bytes: &mut Vec<u8>) {
    message_field(number, text.as_bytes(), bytes);
}
