//! Every endpoint and the right it needs.

use model::account::Right;

/// One endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// `GET`, ...
    pub method: &'static str,
    /// With its parameters: `/v1/apps/{app}`.
    pub path: &'static str,
    /// What the caller needs.
    pub right: Right,
}

const fn endpoint(method: &'static str, path: &'static str, right: Right) -> Endpoint {
    Endpoint { method, path, right }
}

/// All of them. A test holds this list and the routes together.
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint("GET", "/v1/info", Right::Public),
    endpoint("GET", "/v1/openapi.json", Right::Public),
    endpoint("POST", "/v1/auth/register", Right::Register),
    endpoint("POST", "/v1/auth/login", Right::Public),
    endpoint("POST", "/v1/auth/logout", Right::SeeSelf),
    endpoint("GET", "/v1/auth/whoami", Right::SeeSelf),
    endpoint("POST", "/v1/auth/passwd", Right::ChangeSelf),
    endpoint("GET", "/v1/auth/tokens", Right::SeeSelf),
    endpoint("POST", "/v1/auth/tokens", Right::ChangeSelf),
    endpoint("DELETE", "/v1/auth/tokens/{id}", Right::ChangeSelf),
    endpoint("GET", "/v1/keys", Right::SeeSelf),
    endpoint("POST", "/v1/keys", Right::ChangeSelf),
    endpoint("DELETE", "/v1/keys/{name}", Right::ChangeSelf),
    endpoint("GET", "/v1/users", Right::Administer),
    endpoint("DELETE", "/v1/users/{user}", Right::ChangeSelf),
    endpoint("PUT", "/v1/settings/registration", Right::Administer),
    endpoint("GET", "/v1/cluster", Right::Administer),
    endpoint("GET", "/v1/cluster/backup", Right::Administer),
    endpoint("GET", "/v1/cluster/capacity", Right::Administer),
    endpoint("POST", "/v1/cluster/tokens", Right::Administer),
    endpoint("POST", "/v1/cluster/join", Right::Public),
    endpoint("GET", "/v1/cluster/store", Right::Administer),
    endpoint("POST", "/v1/cluster/recovery", Right::Administer),
    endpoint("GET", "/v1/nodes", Right::Administer),
    endpoint("GET", "/v1/nodes/{node}", Right::Administer),
    endpoint("PATCH", "/v1/nodes/{node}", Right::Administer),
    endpoint("DELETE", "/v1/nodes/{node}", Right::Administer),
    endpoint("GET", "/v1/apps", Right::ListApps),
    endpoint("POST", "/v1/apps", Right::CreateApp),
    endpoint("GET", "/v1/apps/{app}", Right::SeeApp),
    endpoint("DELETE", "/v1/apps/{app}", Right::OwnApp),
    endpoint("POST", "/v1/apps/{app}/transfer", Right::OwnApp),
    endpoint("PUT", "/v1/apps/{app}/maintenance", Right::OperateApp),
    endpoint("PUT", "/v1/apps/{app}/deploy-branch", Right::OperateApp),
    endpoint("GET", "/v1/apps/{app}/perms", Right::SeeApp),
    endpoint("POST", "/v1/apps/{app}/perms", Right::OwnApp),
    endpoint("DELETE", "/v1/apps/{app}/perms/{user}", Right::OwnApp),
    endpoint("GET", "/v1/apps/{app}/config", Right::SeeApp),
    endpoint("PATCH", "/v1/apps/{app}/config", Right::OperateApp),
    endpoint("GET", "/v1/apps/{app}/ps", Right::SeeApp),
    endpoint("POST", "/v1/apps/{app}/scale", Right::OperateApp),
    endpoint("POST", "/v1/apps/{app}/scale/plan", Right::OperateApp),
    endpoint("GET", "/v1/apps/{app}/placement", Right::SeeApp),
    endpoint("PATCH", "/v1/apps/{app}/placement", Right::OperateApp),
    endpoint("PUT", "/v1/apps/{app}/class", Right::OperateApp),
    endpoint("POST", "/v1/apps/{app}/restart", Right::OperateApp),
    endpoint("POST", "/v1/apps/{app}/stop", Right::OperateApp),
    endpoint("POST", "/v1/apps/{app}/start", Right::OperateApp),
    endpoint("GET", "/v1/apps/{app}/releases", Right::SeeApp),
    endpoint("GET", "/v1/apps/{app}/releases/{release}", Right::SeeApp),
    endpoint("POST", "/v1/apps/{app}/rollback", Right::OperateApp),
    endpoint("GET", "/v1/apps/{app}/rollout", Right::SeeApp),
    endpoint("GET", "/v1/apps/{app}/limits", Right::SeeApp),
    endpoint("PATCH", "/v1/apps/{app}/limits", Right::OperateApp),
    endpoint("GET", "/v1/apps/{app}/checks", Right::SeeApp),
    endpoint("PUT", "/v1/apps/{app}/checks/{process}", Right::OperateApp),
    endpoint("DELETE", "/v1/apps/{app}/checks/{process}", Right::OperateApp),
    endpoint("GET", "/v1/apps/{app}/volumes", Right::SeeApp),
    endpoint("POST", "/v1/apps/{app}/volumes", Right::OperateApp),
    endpoint("PATCH", "/v1/apps/{app}/volumes/{volume}", Right::OperateApp),
    endpoint("DELETE", "/v1/apps/{app}/volumes/{volume}", Right::OperateApp),
    endpoint("GET", "/v1/apps/{app}/domains", Right::SeeApp),
    endpoint("POST", "/v1/apps/{app}/domains", Right::OperateApp),
    endpoint("DELETE", "/v1/apps/{app}/domains/{host}", Right::OperateApp),
    endpoint("GET", "/v1/apps/{app}/certs", Right::SeeApp),
    endpoint("POST", "/v1/apps/{app}/certs", Right::OperateApp),
    endpoint("DELETE", "/v1/apps/{app}/certs/{name}", Right::OperateApp),
    endpoint("GET", "/v1/apps/{app}/logs", Right::SeeApp),
    endpoint("GET", "/v1/apps/{app}/run", Right::RunInApp),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_and_the_routes_are_one_list() {
        let table: BTreeSet<(String, String)> = ENDPOINTS
            .iter()
            .map(|endpoint| (endpoint.method.to_lowercase(), endpoint.path.to_owned()))
            .collect();
        assert_eq!(table.len(), ENDPOINTS.len(), "an endpoint stands twice in the table");
        let document: serde_json::Value =
            serde_json::from_str(&crate::api::openapi_json()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let routes = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (method.clone(), path.clone()))
        });
        assert_eq!(routes.collect::<BTreeSet<_>>(), table);
    }
}
