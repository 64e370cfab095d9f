//! Reads what a CloudFormation stack says of itself.

use std::collections::BTreeMap;

use super::config::Connection;
use super::errors::Failure;
use crate::error::{Error, Result};

/// The outputs of a stack that is up.
pub async fn outputs(connection: &Connection, stack: &str) -> Result<BTreeMap<String, String>> {
    let described = connection.cloudformation.describe_stacks().stack_name(stack).send().await;
    let described = match described.map_err(Failure::from) {
        Ok(described) => described,
        Err(Failure::Answer(answer)) if answer.message.contains("does not exist") => {
            return Err(Error::not_found(format!("there is no stack `{stack}` in {}", connection.region))
                .with_hint("infra/README.md tells how it is deployed"));
        }
        Err(failure) => {
            return Err(Error::from(failure.at(&connection.endpoint)).context(format!("stack `{stack}`")));
        }
    };
    let Some(found) = described.stacks.unwrap_or_default().into_iter().next() else {
        return Err(Error::not_found(format!("there is no stack `{stack}` in {}", connection.region)));
    };
    let status = found.stack_status.map(|status| status.as_str().to_owned()).unwrap_or_default();
    // Whatever goes on with an update: what was completed once has outputs that hold.
    let usable = status.starts_with("CREATE_COMPLETE")
        || status.starts_with("IMPORT_COMPLETE")
        || status.starts_with("UPDATE_");
    if !usable {
        return Err(Error::conflict(format!("stack `{stack}` is {status}"))
            .with_hint("wait until it is CREATE_COMPLETE; the console says why if it fails"));
    }
    let outputs = found.outputs.unwrap_or_default().into_iter();
    Ok(outputs.filter_map(|output| Some((output.output_key?, output.output_value?))).collect())
}
