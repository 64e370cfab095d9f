//! What `--output json` says of definitions. Scripts read it: keep the keys stable.

use serde_json::{Value, json};

use crate::model::{App, AppName, Function, Version};

pub fn app(name: &AppName, app: &App) -> Value {
    json!({
        "name": name,
        "config": app.config,
        "annotations": app.annotations,
        "created_at": app.created_at,
        "updated_at": app.updated_at,
    })
}

pub fn function(app: &AppName, function: &Function) -> Value {
    json!({
        "app": app,
        "name": function.name,
        "route": function.route,
        "type": function.kind,
        "version": function.version,
        "config": function.config,
        "annotations": function.annotations,
        "created_at": function.created_at,
        "updated_at": function.updated_at,
    })
}

/// A function with all that its current version says.
pub fn deployed(app: &AppName, function: &Function, version: &Version) -> Value {
    let mut value = self::function(app, function);
    value["label"] = json!(version.label);
    value["source"] = json!(version.source);
    value["os"] = json!(version.os);
    value["arch"] = json!(version.arch);
    value["runtime"] = json!(version.runtime);
    value["format"] = json!(version.format);
    value["command"] = json!(version.command);
    value["content_type"] = json!(version.content_type);
    value["limits"] = json!(version.limits);
    value["deployed_at"] = json!(version.created_at);
    value
}
