//! What can be done to a resource, what it is then, and why it is not done.

use serde_json::{Value, json};

use crate::resource::{Resource, Values, values};

/// One change that somebody wants.
#[derive(Debug, Clone)]
pub struct Change {
    /// The kind.
    pub resource: &'static Resource,
    /// The id, which must be one.
    pub id: String,
    /// What is wanted.
    pub action: Action,
    /// Who wants it.
    pub actor: String,
    /// The role of who wants it.
    pub role: Option<String>,
}

/// What is wanted of a resource. Values have been checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// To be there, where nothing is.
    Create(Values),
    /// To have other fields, where it is at this version.
    Replace {
        /// All its fields from then on.
        values: Values,
        /// The version that was seen.
        seen: i64,
    },
    /// To be gone, where it is at this version.
    Delete {
        /// The version that was seen.
        seen: i64,
    },
}

/// A resource at a version.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceVersion {
    /// Its id.
    pub id: String,
    /// 1 for the first of this id; they never repeat.
    pub version: i64,
    /// When it was changed to this, microseconds since 1970.
    pub updated_us: i64,
    /// Who changed it.
    pub updated_by: String,
    /// Its fields; none once it is deleted.
    pub values: Values,
}

impl ResourceVersion {
    /// The JSON shape: `id`, `version`, `updated_at`, `updated_by` and the fields.
    pub fn to_json(&self) -> Value {
        let mut shape = json!({
            "id": self.id,
            "version": self.version,
            "updated_at": values::micros_text(self.updated_us),
            "updated_by": self.updated_by,
        });
        if let Some(object) = shape.as_object_mut() {
            object.extend(self.values.clone());
        }
        shape
    }
}

/// Why a change is not made, although it is well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is one of this id.
    #[error("there is a {singular} {id:?} already, at version {version}")]
    Exists {
        /// The kind of it.
        singular: &'static str,
        /// Its id.
        id: String,
        /// Its version.
        version: i64,
    },
    /// There is none of this id.
    #[error("there is no {singular} {id:?}")]
    Missing {
        /// The kind of it.
        singular: &'static str,
        /// Its id.
        id: String,
    },
    /// Somebody else was faster.
    #[error("{singular} {id:?} is at version {found} and no longer at {seen}")]
    Changed {
        /// The kind of it.
        singular: &'static str,
        /// Its id.
        id: String,
        /// The version that was seen.
        seen: i64,
        /// The version that it is at.
        found: i64,
    },
    /// A field names something that is not there.
    #[error("field `{field}`: there is no {singular} {id:?}")]
    UnknownReference {
        /// The field.
        field: &'static str,
        /// The kind that it names.
        singular: &'static str,
        /// What it names.
        id: String,
    },
    /// A field has a value that another one has.
    #[error("field `{field}`: {other:?} has {value:?} already")]
    NotUnique {
        /// The field.
        field: &'static str,
        /// The value.
        value: String,
        /// The id of the other one.
        other: String,
    },
    /// Others name it.
    #[error("{singular} {id:?} is named by {count} others, such as {by}")]
    Referenced {
        /// The kind of it.
        singular: &'static str,
        /// Its id.
        id: String,
        /// How many.
        count: usize,
        /// One of them.
        by: String,
    },
    /// There are as many of the kind as there may be.
    #[error("there are {count} {kind} already, deleted ones included, which are the most")]
    Full {
        /// The kind.
        kind: &'static str,
        /// How many.
        count: usize,
    },
}

impl Refusal {
    /// The field that is to blame.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Refusal::UnknownReference { field, .. } | Refusal::NotUnique { field, .. } => {
                Some(field)
            }
            _ => None,
        }
    }
}
