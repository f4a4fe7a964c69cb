//! The registry as gRPC has it, made from the kinds: one service, its messages and calls, and the
//! text of the `.proto` file that clients generate their stubs from.
//!
//! A kind's message has what every resource has, and the fields of its definition, each with the
//! number that the definition states. A number that clients may have never means anything else.

use std::sync::{Arc, LazyLock};

use crate::column::{Kind, Limits};
use crate::resource::{self, Field, ID, Resource};

mod text;

pub use text::text;

/// The name of the file.
pub const FILE: &str = "registry.proto";
/// The package of the file.
pub const PACKAGE: &str = "headframe.registry.v1";
/// The service, without its package.
pub const SERVICE: &str = "Registry";
/// The file that has the message of times.
pub const TIME_FILE: &str = "google/protobuf/timestamp.proto";
/// The message of times.
pub const TIME: &str = "google.protobuf.Timestamp";
/// The least number of a kind's own field; those below are for what every resource has.
pub const FIRST_NUMBER: u32 = 11;

/// Words that a comment lists.
const MAX_WORDS: usize = 10;

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its name, without the package.
    pub name: String,
    /// One sentence about it.
    pub doc: String,
    /// Its fields.
    pub fields: Vec<MessageField>,
}

/// A field of a message.
#[derive(Debug)]
pub struct MessageField {
    /// Its name.
    pub name: &'static str,
    /// Its number, by which messages name it.
    pub number: u32,
    /// What it holds.
    pub shape: Shape,
    /// How often it is there.
    pub label: Label,
    /// One sentence about it.
    pub doc: String,
}

/// What a field holds.
#[derive(Debug, Clone)]
pub enum Shape {
    /// `string`.
    Text,
    /// `int64`.
    Whole,
    /// `int32`.
    Small,
    /// `double`.
    Number,
    /// `bool`.
    Bool,
    /// `google.protobuf.Timestamp`.
    Time,
    /// Another message of the file.
    Message(Arc<Message>),
}

/// How often a field is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Once; not being there is the same as being empty or 0.
    Plain,
    /// At most once, and not being there is told from being empty.
    Optional,
    /// Any number of times.
    Repeated,
}

/// What a call does to the resources of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads one.
    Get,
    /// Reads a page of them.
    List,
    /// Registers one.
    Create,
    /// Gives one other fields.
    Update,
    /// Takes one away.
    Delete,
}

/// A call of the service.
#[derive(Debug)]
pub struct Call {
    /// Its name, such as `GetSite`.
    pub name: String,
    /// One sentence about it.
    pub doc: String,
    /// What it does.
    pub verb: Verb,
    /// To which kind.
    pub resource: &'static Resource,
    /// What it takes.
    pub request: Arc<Message>,
    /// What it answers.
    pub response: Arc<Message>,
}

/// Every call of the service.
pub fn calls() -> &'static [Call] {
    static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| {
        resource::ALL
            .iter()
            .flat_map(|kind| calls_of(kind))
            .collect()
    });
    &CALLS
}

/// Every message of the file, in its order.
pub fn messages() -> Vec<Arc<Message>> {
    let mut messages: Vec<Arc<Message>> = Vec::new();
    for call in calls() {
        let all = [&call.response, &call.request];
        for message in all {
            if !messages.iter().any(|known| known.name == message.name) {
                messages.push(message.clone());
            }
        }
    }
    messages
}

impl Message {
    /// The field of this number.
    pub fn field(&self, number: u32) -> Option<&MessageField> {
        self.fields.iter().find(|field| field.number == number)
    }

    /// Whether there is a field of this name.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }
}

impl Shape {
    /// As the file writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Shape::Text => "string",
            Shape::Whole => "int64",
            Shape::Small => "int32",
            Shape::Number => "double",
            Shape::Bool => "bool",
            Shape::Time => TIME,
            Shape::Message(message) => &message.name,
        }
    }
}

impl Label {
    /// What stands before the type, with a space after it.
    fn as_str(self) -> &'static str {
        match self {
            Label::Plain => "",
            Label::Optional => "optional ",
            Label::Repeated => "repeated ",
        }
    }
}

fn calls_of(kind: &'static Resource) -> Vec<Call> {
    let one = capitalized(kind.singular);
    let messages = KindMessages {
        kind,
        resource: Arc::new(resource_message(kind, &one)),
        many: capitalized(kind.name),
        one,
    };
    vec![
        messages.get(),
        messages.list(),
        messages.create(),
        messages.update(),
        messages.delete(),
    ]
}

/// What the calls of a kind are made of.
struct KindMessages {
    kind: &'static Resource,
    /// `Site`.
    one: String,
    /// `Sites`.
    many: String,
    /// The message of one.
    resource: Arc<Message>,
}

impl KindMessages {
    fn get(&self) -> Call {
        let doc = format!("One {}, with its version.", self.kind.singular);
        let name = format!("Get{}", self.one);
        self.call(Verb::Get, name, doc, vec![id(), as_of(2)])
    }

    fn list(&self) -> Call {
        let name = format!("List{}", self.many);
        let doc = format!("A page of {}, by id.", self.kind.name);
        let limit = "At most so many: 100 where it is 0, at most 1000.";
        let filter = "Only those that have these values in their own fields.";
        let after = "What the page before named as `next`.";
        let fields = vec![
            plain("limit", 1, Shape::Small, limit),
            plain("after", 2, Shape::Text, after),
            as_of(3),
            plain("filter", 4, self.one(), filter),
        ];
        let next = "The `after` of the next page; empty on the last.";
        let page = MessageField {
            label: Label::Repeated,
            ..plain(self.kind.name, 1, self.one(), "The page.")
        };
        let response = Message {
            name: format!("{name}Response"),
            doc: format!("A page of {}.", self.kind.name),
            fields: vec![page, plain("next", 2, Shape::Text, next)],
        };
        Call {
            response: Arc::new(response),
            ..self.call(Verb::List, name, doc, fields)
        }
    }

    fn create(&self) -> Call {
        let name = format!("Create{}", self.one);
        let doc = "Registers one: ALREADY_EXISTS where there is one of this id.".to_owned();
        let fields = vec![self.given("What is registered, with its id.")];
        self.call(Verb::Create, name, doc, fields)
    }

    fn update(&self) -> Call {
        let name = format!("Update{}", self.one);
        let doc = "Gives one other fields, all of them.".to_owned();
        let fields = vec![
            self.given("All its fields from then on."),
            expected_version(),
        ];
        self.call(Verb::Update, name, doc, fields)
    }

    fn delete(&self) -> Call {
        let name = format!("Delete{}", self.one);
        let doc = "Takes one away that no other names, and answers what it was.".to_owned();
        self.call(Verb::Delete, name, doc, vec![id(), expected_version()])
    }

    /// A call that answers one of them.
    fn call(&self, verb: Verb, name: String, doc: String, fields: Vec<MessageField>) -> Call {
        let request = Message {
            name: format!("{name}Request"),
            doc: format!("What {name} takes."),
            fields,
        };
        Call {
            name,
            doc,
            verb,
            resource: self.kind,
            request: Arc::new(request),
            response: self.resource.clone(),
        }
    }

    fn one(&self) -> Shape {
        Shape::Message(self.resource.clone())
    }

    fn given(&self, doc: &str) -> MessageField {
        plain(self.kind.singular, 1, self.one(), doc)
    }
}

fn id() -> MessageField {
    plain(ID.name, 1, Shape::Text, "Its id.")
}

fn as_of(number: u32) -> MessageField {
    let doc = "What was registered then; what is registered now without it.";
    plain("as_of", number, Shape::Time, doc)
}

fn expected_version() -> MessageField {
    let doc = "The version that was seen. Another one by now is ABORTED.";
    plain("expected_version", 2, Shape::Whole, doc)
}

/// The message of a resource.
fn resource_message(kind: &'static Resource, name: &str) -> Message {
    let mut fields = vec![
        plain(ID.name, 1, Shape::Text, ID.doc),
        plain(
            "version",
            2,
            Shape::Whole,
            "1 for the first of this id. Not taken.",
        ),
        plain(
            "updated_at",
            3,
            Shape::Time,
            "When it was changed to this. Not taken.",
        ),
        plain(
            "updated_by",
            4,
            Shape::Text,
            "Who changed it to this. Not taken.",
        ),
    ];
    fields.extend(kind.fields.iter().map(|field| MessageField {
        name: field.name(),
        number: field.proto_number,
        shape: shape_of(field),
        label: Label::Optional,
        doc: field_doc(field),
    }));
    Message {
        name: name.to_owned(),
        doc: kind.doc.to_owned(),
        fields,
    }
}

fn shape_of(field: &Field) -> Shape {
    match field.column.kind {
        Kind::Int | Kind::SmallInt => Shape::Whole,
        Kind::Float => Shape::Number,
        Kind::Bool => Shape::Bool,
        Kind::Timestamp => Shape::Time,
        _ => Shape::Text,
    }
}

fn field_doc(field: &Field) -> String {
    let column = &field.column;
    let unit = match column.kind {
        Kind::Timestamp => "",
        _ => column.unit.symbol(),
    };
    let is_plain = field.format == resource::Format::Plain;
    let limits = match column.limits {
        // A list that grows with each release would make the file another.
        Limits::OneOf(words) if words.len() > MAX_WORDS => "a word of docs/registry.md".to_owned(),
        limits => resource::limits_text(limits),
    };
    let details = [
        column.required.then(|| "needed".to_owned()),
        field.is_unique.then(|| "unique".to_owned()),
        (!is_plain).then(|| resource::type_text(field)),
        Some(unit.to_owned()),
        Some(limits),
    ];
    let details: Vec<String> = details
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect();
    match details.is_empty() {
        true => column.doc.to_owned(),
        false => format!("{} ({})", column.doc, details.join("; ")),
    }
}

fn plain(name: &'static str, number: u32, shape: Shape, doc: &str) -> MessageField {
    MessageField {
        name,
        number,
        shape,
        label: Label::Plain,
        doc: doc.to_owned(),
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_unique_and_fields_of_a_kind_begin_after_those_of_all() {
        for message in messages() {
            let numbers: BTreeSet<u32> = message.fields.iter().map(|field| field.number).collect();
            assert_eq!(numbers.len(), message.fields.len(), "{}", message.name);
            // Those from 19000 on are protobuf's own.
            assert!(numbers.iter().all(|number| (1..19_000).contains(number)));
        }
        for kind in resource::ALL {
            for field in kind.fields {
                let number = field.proto_number;
                assert!(number >= FIRST_NUMBER, "{}.{}", kind.name, field.name());
            }
        }
        let names: BTreeSet<&str> = calls().iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names.len(), 5 * resource::ALL.len());
        for call in calls() {
            let mut fields = call.request.fields.iter();
            assert!(
                fields.all(|field| field.label == Label::Plain),
                "{}",
                call.name
            );
        }
    }
}
