//! The `[sources]` section: how devices are polled, and the devices themselves.

use headframe_ingest::source::{self, SourcesConfig};

use super::section::{ConfigFault, Section, faults_of};
use super::{Config, Role};

impl Section for SourcesConfig {
    const DOC: &'static str = "How devices are polled: those of the [[source]] entries, in the \
                               role sources.";

    fn faults(&self, config: &Config) -> Vec<ConfigFault> {
        let mut faults = faults_of(self.validate());
        let of_devices = source::faults(&config.source, config.runs(Role::Sources));
        faults.extend(
            of_devices
                .iter()
                .map(|fault| ConfigFault(fault.to_string())),
        );
        faults
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).unwrap();
        let faults = config.sources.faults(&config);
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_device_that_cannot_be_polled_is_named_with_its_key() {
        let with = |more: &str| {
            format!(
                "[[source]]\nkind = \"tasmota\"\nname = \"plug\"\nsite = \"north\"\n\
                 address = \"http://10.0.0.9\"\n{more}\n"
            )
        };
        assert_eq!(faults(&with("interval_s = 10")), [""; 0]);
        for (more, says) in [
            ("interval_s = 0", "interval_s is 0"),
            ("colour = 3", "unknown field `colour`"),
            ("user = \"me\"", "user is set without"),
            ("secret_env = \"NO_SUCH_SECRET\"", "NO_SUCH_SECRET"),
            ("secret_file = \"/no/such/file\"", "/no/such/file"),
            (
                "[source.limits]\ntemperature_c = [5, 1]",
                "limits.temperature_c",
            ),
        ] {
            let said = faults(&with(more));
            assert!(
                said.len() == 1 && said[0].contains(says),
                "{more}: {said:?}"
            );
            assert!(said[0].starts_with("source \"plug\": "), "{said:?}");
        }
        let twice = faults(&(with("") + &with("")));
        assert!(twice[0].contains("same name"), "{twice:?}");
        let login = with("").replace("http://", "http://me:secret@");
        let said = faults(&login);
        assert!(
            said[0].contains("secret_file") && !said[0].contains("secret@"),
            "{said:?}"
        );
        let unknown = faults(&with("").replace("tasmota", "toaster"));
        assert!(
            unknown[0].contains("there are http_json, roomalert"),
            "{unknown:?}"
        );
    }
}
