//! The environment a container gets: configuration, PORT and what tells it who it is.

use std::collections::BTreeMap;

use model::name::EnvKey;
use model::release::Release;

/// Where a unit serves when its image does not declare one port.
pub const DEFAULT_PORT: u16 = 5000;

/// The port units of a release serve on.
pub fn port(release: &Release) -> u16 {
    release.build.as_ref().and_then(|build| build.exposed_port).unwrap_or(DEFAULT_PORT)
}

/// The whole environment. `unit` is the name users see, `web.2`. Secret, as `config` is.
pub fn environment(
    config: BTreeMap<EnvKey, String>,
    release: &Release,
    process: &str,
    unit: &str,
) -> BTreeMap<String, String> {
    let own = [
        ("PORT", port(release).to_string()),
        ("TRIREME_APP", release.app.to_string()),
        ("TRIREME_RELEASE", release.number.to_string()),
        ("TRIREME_PROCESS", process.to_owned()),
        ("TRIREME_UNIT", unit.to_owned()),
    ];
    let mut all: BTreeMap<String, String> =
        config.into_iter().map(|(key, value)| (String::from(key), value)).collect();
    all.extend(own.map(|(key, value)| (key.to_owned(), value)));
    all
}
