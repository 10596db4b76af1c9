//! The network that containers are put in: a bridge of our own, without traffic between containers.

use std::collections::HashMap;

use bollard::models::NetworkCreateRequest;

use super::{
    meaning,
    slots::{self, Pool},
};
use crate::runtime::RuntimeError;

/// The network's bridge. A fixed name, so that the engine refuses a second network of this name.
const BRIDGE: &str = "trireme0";

/// Makes the network where it is missing. Gives the addresses there that units are given; none where it is of an earlier
/// version and in use.
pub async fn ensure(client: &bollard::Docker, name: &str) -> Result<Option<Pool>, RuntimeError> {
    match client.inspect_network(name, None).await.map_err(meaning) {
        Ok(found) => {
            let pool = Pool::of(found.ipam);
            // Of an earlier version; the engine refuses while anything is in it.
            if pool.is_some() || client.remove_network(name).await.is_err() {
                return Ok(pool);
            }
        }
        Err(RuntimeError::Gone(_)) => {}
        Err(error) => return Err(error),
    }
    let subnet = free_subnet(client, name).await?;
    let options = HashMap::from([
        ("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned()),
        ("com.docker.network.bridge.name".to_owned(), BRIDGE.to_owned()),
    ]);
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(options),
        ipam: slots::ipam(&subnet),
        ..NetworkCreateRequest::default()
    };
    let made = client.create_network(request).await.map_err(meaning);
    // Another may have made it at the same moment.
    match (made, client.inspect_network(name, None).await) {
        (_, Ok(found)) => Ok(Pool::of(found.ipam)),
        (Err(error), Err(_)) => Err(error),
        (Ok(_), Err(error)) => Err(meaning(error)),
    }
}

/// One that the engine chooses: it knows what the machine has routes to.
async fn free_subnet(client: &bollard::Docker, network: &str) -> Result<String, RuntimeError> {
    let name = format!("{network}-try-{:016x}", rand::random::<u64>());
    let request = NetworkCreateRequest { name: name.clone(), ..NetworkCreateRequest::default() };
    client.create_network(request).await.map_err(meaning)?;
    let made = client.inspect_network(&name, None).await.map_err(meaning);
    client.remove_network(&name).await.map_err(meaning)?;
    let configs = made?.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let subnet = configs.into_iter().find_map(|config| config.subnet);
    subnet.ok_or_else(|| RuntimeError::Refused("the engine gives networks no subnet".to_owned()))
}
