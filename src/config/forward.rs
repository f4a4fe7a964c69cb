//! The `[forward]` section: where the rows of a site go.

use headframe_ingest::ForwardConfig;

use super::section::{ConfigFault, Section};
use super::{Config, Role};

impl Section for ForwardConfig {
    const DOC: &'static str = "Where the rows of this site go, in the role forward: an office that \
                               takes them over HTTP (docs/forward.md).";

    fn faults(&self, config: &Config) -> Vec<ConfigFault> {
        if !config.runs(Role::Forward) {
            return Vec::new();
        }
        let faults = self.validate().err().unwrap_or_default();
        faults.into_iter().map(ConfigFault).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn faults(keys: &str) -> Vec<String> {
        let text = format!("roles = [\"forward\"]\n[forward]\n{keys}\n");
        let config: Config = toml::from_str(&text).unwrap();
        let faults = config.forward.faults(&config);
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_cannot_be_forwarded_is_named_with_its_key() {
        let good =
            |more: &str| format!("url = \"https://office.example:8443\"\nname = \"north\"\n{more}");
        assert_eq!(faults(&good("")), [""; 0]);
        assert_eq!(faults("").len(), 2, "no url and no name");
        for (keys, says) in [
            (
                good("streams = [\"shares\"]"),
                "forward.streams names \"shares\"",
            ),
            (good("streams = []"), "forward.streams is empty"),
            (good("streams = [\"energy\", \"energy\"]"), "twice"),
            (good("max_in_flight = 0"), "forward.max_in_flight is 0"),
            (good("timeout_s = 301"), "forward.timeout_s is 301"),
            (good("").replace("north", "North 1"), "forward.name"),
            (
                good("").replace("https", "http"),
                "anybody on the way reads",
            ),
            (
                good("").replace("https://", "https://me:secret@"),
                "forward.secret_file",
            ),
            (good("").replace("https:", "nats:"), "must be https"),
        ] {
            let said = faults(&keys);
            assert!(
                said.len() == 1 && said[0].contains(says),
                "{keys}: {said:?}"
            );
            assert!(!said[0].contains("secret@"), "{said:?}");
        }
        assert_eq!(
            faults("url = \"http://127.0.0.1:80\"\nname = \"n\""),
            [""; 0]
        );
    }

    #[test]
    fn in_other_roles_the_section_asks_for_nothing() {
        let config = Config::default();
        assert_eq!(config.forward.faults(&config), []);
    }
}
