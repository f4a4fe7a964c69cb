//! The configuration: can a process start with it.

use async_trait::async_trait;

use super::{Check, CheckContext, Finding};

pub struct Configuration;

#[async_trait]
impl Check for Configuration {
    fn name(&self) -> &'static str {
        "configuration"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        let finding = match &context.file {
            None => Finding::warn(
                "none was named, so only the machine is looked at",
                "say --config FILE",
            ),
            Some((_, Some(fault))) => Finding::fail(
                fault.clone(),
                "correct it; docs/configuration.md lists every key",
            ),
            Some((file, None)) => Finding::ok(format!(
                "{} can be used; roles {}",
                file.display(),
                context.config.role_list()
            )),
        };
        vec![finding]
    }
}
