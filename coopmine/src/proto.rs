//! The protocol between coordinator and workers: messages, paths, and both ends of a call.

pub mod client;
pub mod messages;
pub mod service;

/// The service's name, as reflection and load balancers want it.
pub const SERVICE: &str = "coopmine.CoopMine";
/// The longest message either side takes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The path of each call.
pub mod path {
    /// A worker comes.
    pub const REGISTER: &str = "/coopmine.CoopMine/Register";
    /// A worker goes.
    pub const UNREGISTER: &str = "/coopmine.CoopMine/Unregister";
    /// A worker is there.
    pub const HEARTBEAT: &str = "/coopmine.CoopMine/Heartbeat";
    /// What to do.
    pub const STREAM_JOBS: &str = "/coopmine.CoopMine/StreamJobs";
    /// A result.
    pub const SUBMIT_SHARE: &str = "/coopmine.CoopMine/SubmitShare";
    /// The cluster.
    pub const GET_CLUSTER_STATS: &str = "/coopmine.CoopMine/GetClusterStats";
    /// A worker.
    pub const GET_WORKER_STATS: &str = "/coopmine.CoopMine/GetWorkerStats";
}

#[cfg(test)]
mod tests {
    use super::path;

    const PROTO: &str = include_str!("../proto/coopmine.proto");
    const MESSAGES: &str = include_str!("proto/messages.rs");

    /// `message.field label type tag` of each field of the file that others generate from.
    fn promised() -> Vec<String> {
        let mut found = Vec::new();
        let mut message = "";
        for line in PROTO.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("message ") {
                message = rest.trim_end_matches(" {");
            }
            let Some((field, tag)) = line
                .strip_suffix(';')
                .and_then(|line| line.split_once(" = "))
            else {
                continue;
            };
            let words: Vec<&str> = field.split(' ').collect();
            match words[..] {
                [label, kind, name] => found.push(format!("{message}.{name} {label} {kind} {tag}")),
                [kind, name] => found.push(format!("{message}.{name} plain {kind} {tag}")),
                _ => {}
            }
        }
        found
    }

    /// The same of the messages that are sent.
    fn sent() -> Vec<String> {
        let mut found = Vec::new();
        let (mut message, mut attribute) = ("", "");
        for line in MESSAGES.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("pub struct ") {
                message = rest.split(' ').next().unwrap();
            } else if let Some(rest) = line.strip_prefix("#[prost(") {
                attribute = rest.trim_end_matches(")]");
            } else if let Some(rest) = line.strip_prefix("pub ") {
                let (name, kind) = rest.trim_end_matches(',').split_once(": ").unwrap();
                let parts: Vec<&str> = attribute.split(", ").collect();
                let tag = parts
                    .last()
                    .unwrap()
                    .trim_start_matches("tag = ")
                    .trim_matches('"');
                let inner = kind
                    .trim_start_matches("Option<")
                    .trim_start_matches("Vec<");
                let (kind, is_message) = match parts[0] {
                    "message" => (inner.trim_end_matches('>'), true),
                    "bytes = \"vec\"" => ("bytes", false),
                    scalar => (scalar, false),
                };
                let label = match parts.get(1) {
                    // A message is optional whether the file says so or not.
                    Some(&"optional") if !is_message => "optional",
                    Some(&"repeated") => "repeated",
                    _ => "plain",
                };
                found.push(format!("{message}.{name} {label} {kind} {tag}"));
            }
        }
        found
    }

    #[test]
    fn the_messages_are_those_of_the_file() {
        let promised = promised();
        assert!(promised.len() > 50, "{promised:?}");
        assert_eq!(sent(), promised);
    }

    #[test]
    fn every_call_of_the_file_has_its_path() {
        let calls: Vec<String> = PROTO
            .lines()
            .filter_map(|line| line.trim().strip_prefix("rpc "))
            .map(|rest| format!("/{}/{}", super::SERVICE, rest.split('(').next().unwrap()))
            .collect();
        let paths = [
            path::REGISTER,
            path::UNREGISTER,
            path::HEARTBEAT,
            path::STREAM_JOBS,
            path::SUBMIT_SHARE,
            path::GET_CLUSTER_STATS,
            path::GET_WORKER_STATS,
        ];
        assert_eq!(calls, paths);
    }
}
