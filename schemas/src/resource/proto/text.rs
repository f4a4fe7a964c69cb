//! The text of the `.proto` file.

use crate::resource::proto::{MessageField, PACKAGE, SERVICE, TIME_FILE, calls, messages};

/// Columns of the comments.
const WIDTH: usize = 100;

/// The file.
pub fn text() -> String {
    let mut text = String::new();
    comment(
        &mut text,
        "",
        "The registry of Headframe over gRPC: the resources, the rules, the rights and the limits \
         of REST at /api/v1/{kind}, which docs/registry.md describes.",
    );
    text.push_str("//\n");
    comment(
        &mut text,
        "",
        "It is made from the definitions of the kinds. The numbers of fields never change.",
    );
    text.push_str(&format!(
        "syntax = \"proto3\";\n\npackage {PACKAGE};\n\nimport \"{TIME_FILE}\";\n\n"
    ));
    text.push_str(&format!("service {SERVICE} {{\n"));
    for call in calls() {
        comment(&mut text, "  ", &call.doc);
        text.push_str(&format!(
            "  rpc {}({}) returns ({});\n",
            call.name, call.request.name, call.response.name
        ));
    }
    text.push_str("}\n");
    for message in messages() {
        text.push('\n');
        comment(&mut text, "", &message.doc);
        text.push_str(&format!("message {} {{\n", message.name));
        for field in &message.fields {
            comment(&mut text, "  ", &field.doc);
            text.push_str(&format!("  {};\n", declaration(field)));
        }
        text.push_str("}\n");
    }
    text
}

/// `optional string name = 11`.
fn declaration(field: &MessageField) -> String {
    let (label, shape) = (field.label.as_str(), field.shape.as_str());
    format!("{label}{shape} {} = {}", field.name, field.number)
}

/// Lines of a comment.
fn comment(text: &mut String, indent: &str, sentence: &str) {
    let mut line = format!("{indent}//");
    for word in sentence.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = format!("{indent}//");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/registry.proto");

    /// `Site.optional string name = 11` of each field of a file.
    fn declared(file: &str) -> BTreeSet<String> {
        let mut message = "";
        let mut found = BTreeSet::new();
        for line in file.lines() {
            if let Some(rest) = line.strip_prefix("message ") {
                message = rest.trim_end_matches(" {");
            }
            let field = line
                .trim()
                .strip_suffix(';')
                .filter(|line| line.contains(" = "));
            if let Some(field) = field.filter(|_| line.starts_with("  ")) {
                found.insert(format!("{message}.{field}"));
            }
        }
        found
    }

    /// What a file says of fields, and the program no longer does.
    fn broken_promises(file: &str) -> Vec<String> {
        let now = declared(&text());
        declared(file)
            .into_iter()
            .filter(|field| !now.contains(field))
            .collect()
    }

    /// Set `HEADFRAME_BLESS=1` to write the file anew. Fields that it has stay as they are.
    #[test]
    fn the_file_is_that_of_the_program_and_no_number_in_it_changes() {
        let file = std::fs::read_to_string(PATH).unwrap_or_default();
        let broken = broken_promises(&file);
        assert!(
            broken.is_empty(),
            "clients have these fields: keep their names, types and numbers: {broken:#?}"
        );
        if file != text() {
            let bless = std::env::var_os("HEADFRAME_BLESS").is_some();
            assert!(bless, "{PATH} is old; HEADFRAME_BLESS=1 rewrites it");
            std::fs::write(PATH, text()).unwrap();
        }
    }

    #[test]
    fn a_number_a_type_or_a_name_that_changes_is_seen() {
        let file = text();
        assert_eq!(broken_promises(&file), Vec::<String>::new());
        let name = "  optional string name = 11;\n";
        for other in [
            "  optional string name = 12;\n",
            "  optional int64 name = 11;\n",
            "  string name = 11;\n",
            "  optional string title = 11;\n",
        ] {
            let published = file.replacen(name, other, 1);
            assert_ne!(published, file);
            assert_eq!(broken_promises(&published).len(), 1, "{other}");
        }
        let published = file.replace(name, "");
        assert!(
            broken_promises(&published).is_empty(),
            "a new field is fine"
        );
    }

    #[test]
    fn comments_are_wrapped() {
        assert!(text().lines().all(|line| line.chars().count() <= 100));
    }
}
