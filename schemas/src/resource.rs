//! A kind of resource of the registry: what a mine consists of, as its operators declare it.
//!
//! Each kind is one definition: its name and its fields with type, unit, limits and references.
//! Validation, the JSON shape, OpenAPI, the documents, files in CSV and NDJSON and the views in SQL
//! are all made from it, and so is its gRPC. Adding one is one file in `resource/` and one line in
//! [`ALL`].

use crate::column::{Column, Kind, Limits, Unit};

pub mod allocations;
pub mod change;
pub mod file;
mod http_url;
pub mod inspections;
pub mod machines;
pub mod meters;
pub mod operators;
pub mod pools;
pub mod proto;
pub mod rules;
pub mod sites;
pub mod values;

pub use change::{Action, Change, Refusal, ResourceVersion};
pub use values::{FieldFault, Values};

/// The longest id, in bytes: with the kind it is one token of a NATS subject.
pub const MAX_ID_BYTES: usize = 48;
/// The column of a resource's id.
pub const ID: Column = Column::new(
    "id",
    Kind::Text,
    "Its id: 1 to 48 letters, digits, - and _, the first a letter or digit.",
);

/// A kind of resource.
#[derive(Debug, Clone, Copy)]
pub struct Resource {
    /// The plural noun: its path, its view in SQL, and the `kind` of its facts.
    pub name: &'static str,
    /// One of them, as messages call it.
    pub singular: &'static str,
    /// Where the list is.
    pub path: &'static str,
    /// Where one of them is.
    pub item_path: &'static str,
    /// One sentence for the users.
    pub doc: &'static str,
    /// What is said about one, beside its id.
    pub fields: &'static [Field],
    /// What must hold between fields.
    pub rules: &'static [Rule],
}

/// Something that is said about a resource.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Name, type, unit, limits and meaning.
    pub column: Column,
    /// Its number in messages of gRPC, which never changes: from [`proto::FIRST_NUMBER`] on.
    pub proto_number: u32,
    /// What its text must be.
    pub format: Format,
    /// Whether no two resources of the kind may have the same value.
    pub is_unique: bool,
}

/// What a text must be, beside the limits of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Anything.
    Plain,
    /// The id of a resource of this kind, which must be there.
    Reference(&'static str),
    /// A time zone of the IANA database.
    TimeZone,
    /// Two capital letters of ISO 3166.
    Country,
    /// From one time of a day to another.
    Hours,
    /// The address of pages: http or https, without a login, a query or a fragment.
    HttpUrl,
    /// SHA-256 of photos that are stored, separated by spaces.
    Photos,
}

/// What must hold between the fields of a resource.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// One of these is there, and no other.
    ExactlyOne(&'static [&'static str]),
    /// At least one of these is there.
    AtLeastOne(&'static [&'static str]),
    /// Where both are there, the first time is before the second.
    Before(&'static str, &'static str),
    /// Where the first has this value, the second is there.
    NeededWhere(&'static str, &'static str, &'static str),
    /// What else must hold; answers what is wrong.
    Holds(fn(&Values) -> Option<FieldFault>),
}

impl Field {
    /// A text that may be left out.
    pub const fn text(number: u32, name: &'static str, doc: &'static str) -> Self {
        Self::from_column(number, Column::new(name, Kind::Text, doc))
    }

    /// A text of at most so many bytes.
    pub const fn long_text(
        number: u32,
        name: &'static str,
        bytes: usize,
        doc: &'static str,
    ) -> Self {
        let column = Column::new(name, Kind::Text, doc);
        Self::from_column(number, column.limits(Limits::TextBytes(bytes)))
    }

    /// One of these words.
    pub const fn one_of(
        number: u32,
        name: &'static str,
        words: &'static [&'static str],
        doc: &'static str,
    ) -> Self {
        let column = Column::new(name, Kind::Text, doc);
        Self::from_column(number, column.limits(Limits::OneOf(words)))
    }

    /// A number within these bounds, both included.
    pub const fn number(
        number: u32,
        name: &'static str,
        unit: Unit,
        least: f64,
        most: f64,
        doc: &'static str,
    ) -> Self {
        let column = Column::new(name, Kind::Float, doc).unit(unit);
        Self::from_column(number, column.limits(Limits::Float(least, most)))
    }

    /// A whole number within these bounds, both included.
    pub const fn count(
        number: u32,
        name: &'static str,
        least: i64,
        most: i64,
        doc: &'static str,
    ) -> Self {
        let column = Column::new(name, Kind::Int, doc).unit(Unit::Count);
        Self::from_column(number, column.limits(Limits::Int(least, most)))
    }

    /// A time.
    pub const fn time(number: u32, name: &'static str, doc: &'static str) -> Self {
        Self::from_column(number, Column::time(name, doc))
    }

    /// The id of a resource of this kind.
    pub const fn reference(
        number: u32,
        name: &'static str,
        kind: &'static str,
        doc: &'static str,
    ) -> Self {
        let mut field = Self::text(number, name, doc);
        field.format = Format::Reference(kind);
        field
    }

    const fn from_column(proto_number: u32, column: Column) -> Self {
        Self {
            column,
            proto_number,
            format: Format::Plain,
            is_unique: false,
        }
    }

    /// The same field, needed.
    pub const fn required(mut self) -> Self {
        self.column = self.column.required();
        self
    }

    /// The same field, whose value no other resource of the kind may have.
    pub const fn unique(mut self) -> Self {
        self.is_unique = true;
        self
    }

    /// The same field with another format.
    pub const fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.column.name
    }
}

impl Resource {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name() == name)
    }

    /// The fields that name another resource, with the kind of that one.
    pub fn references(&self) -> impl Iterator<Item = (&'static Field, &'static str)> {
        self.fields.iter().filter_map(|field| match field.format {
            Format::Reference(kind) => Some((field, kind)),
            _ => None,
        })
    }
}

/// Every kind, in an order in which each stands after those that it refers to.
pub const ALL: &[&Resource] = &[
    &operators::OPERATORS,
    &sites::SITES,
    &pools::POOLS,
    &meters::METERS,
    &machines::MACHINES,
    &allocations::ALLOCATIONS,
    &inspections::INSPECTIONS,
    &rules::RULES,
];

/// The kind of this name.
pub fn find(name: &str) -> Option<&'static Resource> {
    ALL.iter().copied().find(|resource| resource.name == name)
}

/// The table of the kinds in the documents.
pub fn markdown_table() -> String {
    let mut text =
        "| kind | field | type | unit | limits | meaning |\n|---|---|---|---|---|---|\n".to_owned();
    for resource in ALL {
        text.push_str(&format!(
            "| **`{}`** | | | | | {} |\n",
            resource.name, resource.doc
        ));
        for field in resource.fields {
            let column = &field.column;
            let required = if column.required { ", needed" } else { "" };
            let unique = if field.is_unique { ", unique" } else { "" };
            text.push_str(&format!(
                "| | `{}` | {}{required}{unique} | {} | {} | {} |\n",
                column.name,
                type_text(field),
                column.unit.symbol(),
                limits_text(column.limits),
                column.doc
            ));
        }
    }
    text
}

fn type_text(field: &Field) -> String {
    match (field.format, field.column.kind) {
        (Format::Reference(kind), _) => format!("id of `{kind}`"),
        (Format::TimeZone, _) => "time zone".to_owned(),
        (Format::Country, _) => "country".to_owned(),
        (Format::Hours, _) => "hours of a day".to_owned(),
        (Format::HttpUrl, _) => "address of pages".to_owned(),
        (Format::Photos, _) => "photos".to_owned(),
        (Format::Plain, Kind::Timestamp) => "time".to_owned(),
        (Format::Plain, Kind::Int | Kind::SmallInt) => "whole number".to_owned(),
        (Format::Plain, Kind::Float) => "number".to_owned(),
        (Format::Plain, Kind::Bool) => "true or false".to_owned(),
        (Format::Plain, _) => "text".to_owned(),
    }
}

fn limits_text(limits: Limits) -> String {
    match limits {
        Limits::OneOf(words) => words.join(", "),
        Limits::Float(least, most) => format!("{least} to {most}"),
        Limits::TextBytes(most) => format!("at most {most} bytes"),
        Limits::Int(least, most) if most < 1_000_000_000_000 => format!("{least} to {most}"),
        Limits::Int(..) | Limits::Any | Limits::NoneOf(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::stream;

    /// Keys of a query string and of the JSON shape that are no field's.
    const TAKEN: &[&str] = &[
        "recorded_from",
        "recorded_to",
        "id",
        "version",
        "updated_at",
        "updated_by",
        "limit",
        "after",
        "as_of",
        "next",
    ];

    #[test]
    fn every_kind_is_named_documented_and_refers_to_kinds_before_it() {
        let mut before = BTreeSet::new();
        for resource in ALL {
            let name = resource.name;
            assert!(name.chars().all(|c| c.is_ascii_lowercase()), "{name}");
            assert!(name.len() + 1 + MAX_ID_BYTES <= 64, "{name} is no token");
            assert!(stream::find(name).is_none(), "{name} is a stream");
            assert_eq!(resource.path, format!("/api/v1/{name}"));
            assert_eq!(resource.item_path, format!("/api/v1/{name}/{{id}}"));
            assert!(resource.doc.ends_with('.'), "{name}");
            for (field, kind) in resource.references() {
                assert!(before.contains(kind), "{name}.{}: {kind}", field.name());
            }
            let mut fields = BTreeSet::new();
            for field in resource.fields {
                let column = field.column;
                assert!(fields.insert(column.name), "{name}.{} twice", column.name);
                assert!(!TAKEN.contains(&column.name), "{name}.{}", column.name);
                assert!(column.doc.ends_with('.'), "{name}.{}", column.name);
                assert!(!column.doc.contains('|'), "{name}.{}", column.name);
            }
            for rule in resource.rules {
                let names: Vec<&str> = match rule {
                    Rule::ExactlyOne(names) | Rule::AtLeastOne(names) => names.to_vec(),
                    Rule::Before(first, second) | Rule::NeededWhere(first, _, second) => {
                        vec![*first, *second]
                    }
                    Rule::Holds(_) => Vec::new(),
                };
                assert!(names.iter().all(|name| fields.contains(name)), "{rule:?}");
            }
            before.insert(name);
        }
    }
}
