//! Prometheus' text format: families, lines and labels, written so that no name a miner chose can
//! break out of its quotes.

use std::collections::HashSet;
use std::fmt::Write as _;

/// Characters of a label's value; longer ones are cut.
const MAX_LABEL: usize = 160;

/// A page being written, family by family.
#[derive(Default)]
pub(super) struct Exposition {
    text: String,
    /// The labels of the family's lines so far: two alike would spoil the whole scrape.
    seen: HashSet<String>,
}

impl Exposition {
    /// Begins a family. Its lines must follow at once.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.seen.clear();
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A line of the family; the second one with the same labels is left out.
    pub(super) fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{}\"", escaped(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        if self.seen.insert(labels.clone()) {
            let _ = writeln!(self.text, "{name}{labels} {value}");
        }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// A label's value: cut, without control characters, and with what the format needs escaped.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars().take(MAX_LABEL) {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            character if character.is_control() => escaped.push('_'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::Exposition;

    #[test]
    fn labels_stay_in_their_quotes_and_are_not_written_twice() {
        let mut page = Exposition::default();
        page.family("a", "gauge", "Help.");
        page.line("a", &[("m", "x\"} 1\nevil 2\\\r")], 0.5);
        page.line("a", &[("m", &"y".repeat(200))], 1.0);
        page.line("a", &[("m", &"y".repeat(300))], 2.0);
        page.family("b", "gauge", "Help.");
        page.line("b", &[], 3.0);
        let cut = "y".repeat(160);
        let wanted = format!(
            "# HELP a Help.\n# TYPE a gauge\na{{m=\"x\\\"}} 1\\nevil 2\\\\_\"}} \
             0.5\na{{m=\"{cut}\"}} 1\n# HELP b Help.\n# TYPE b gauge\nb 3\n"
        );
        assert_eq!(page.finish(), wanted);
    }
}
