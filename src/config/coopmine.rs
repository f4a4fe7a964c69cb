//! The `[coopmine]` section: a coordinator of workers in this process.

use headframe_coopmine::config::CoordinatorConfig;

use super::section::{ConfigFault, Section};
use super::{Config, Role};

impl Section for CoordinatorConfig {
    const DOC: &'static str = "A CoopMine coordinator: many machines that are one miner. Only used \
                               in the coopmine role.";

    fn faults(&self, config: &Config) -> Vec<ConfigFault> {
        if !config.runs(Role::Coopmine) {
            return Vec::new();
        }
        let mut faults = Vec::new();
        if let Err(error) = self.validate(true) {
            faults.push(ConfigFault(format!("coopmine.{error}")));
        }
        if self.facts.nats.is_some() {
            faults.push(ConfigFault(
                "coopmine.facts.nats is set, but here facts go where [nats] says; remove it"
                    .to_owned(),
            ));
        }
        let (pages, http) = (self.dashboard.listen.0, config.query.listen);
        if pages == http && pages.port() != 0 {
            faults.push(ConfigFault(format!(
                "coopmine.dashboard.listen and query.listen are both {http}; give one of them \
                 another port"
            )));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_coordinator_is_told_what_it_lacks_here() {
        let mut config = Config {
            roles: vec![Role::Query],
            ..Config::default()
        };
        assert_eq!(config.coopmine.faults(&config), []);
        config.roles.push(Role::Coopmine);
        let texts = |config: &Config| {
            let faults = config.coopmine.faults(config);
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let said = texts(&config);
        assert!(said[0].starts_with("coopmine.pool.wallet"), "{said:?}");
        assert!(said[1].contains("query.listen are both"), "{said:?}");
        config.coopmine.pool.wallet = "4abc".to_owned();
        config.coopmine.dashboard.listen = "127.0.0.1:8081".parse().unwrap();
        assert_eq!(texts(&config), [""; 0]);
        config.coopmine.facts.nats = Some(config.nats.clone());
        assert!(texts(&config)[0].starts_with("coopmine.facts.nats"));
    }
}
