//! The OpenAPI document: what the handlers' annotations say, and what holds for every endpoint.

use proto::problem::Problem;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use super::access::ENDPOINTS;

/// What every endpoint may answer.
#[derive(OpenApi)]
#[openapi(components(schemas(Problem)))]
pub(super) struct Common;

/// Adds what need not be said at each handler: path parameters, errors, who needs a token.
pub(super) fn finish(description: Document) -> String {
    let mut document = serde_json::to_value(description).expect("an OpenAPI document is JSON");
    document["info"] = json!({
        "title": "Trireme",
        "version": "v1",
        "description": "Apps, their releases and units. Every error is a Problem.",
    });
    document["components"]["securitySchemes"] =
        json!({"token": {"type": "http", "scheme": "bearer"}});
    for endpoint in ENDPOINTS {
        let method = endpoint.method.to_lowercase();
        let operation = &mut document["paths"][endpoint.path][method];
        if !operation.is_object() {
            continue;
        }
        operation["x-right"] = json!(format!("{:?}", endpoint.right));
        operation["responses"]["default"] = json!({
            "description": "A refusal or failure",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        });
        if endpoint.right != model::account::Right::Public {
            operation["security"] = json!([{"token": []}]);
        }
        add_path_parameters(operation, endpoint.path);
    }
    let mut text = serde_json::to_string_pretty(&document).expect("JSON values can be written");
    text.push('\n');
    text
}

fn add_path_parameters(operation: &mut Value, path: &str) {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        })
        .collect();
    let own = operation["parameters"].as_array().cloned().unwrap_or_default();
    parameters.extend(own.into_iter().filter(|parameter| parameter["in"] != "path"));
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
}
