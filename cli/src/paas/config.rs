//! Configuration: the environment of an app's processes.

mod file;
pub use file::{Pull, Push};

use std::collections::BTreeMap;

use clap::Args;
use http::Method;
use model::name::EnvKey;
use proto::api;

use super::dotenv;
use super::failure::Failure;
use super::rollout::{self, Wait};
use super::target::{App, Json, OnApp};
use crate::output::{self, line};

/// What stands for a value that is not shown.
const MASK: &str = "********";

/// List the variables; values are masked
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl config
  paasctl config --reveal
  paasctl config --reveal --oneline")]
pub struct List {
    /// Show the values
    #[arg(long)]
    reveal: bool,
    /// All on one line, quoted as in a .env file
    #[arg(long, conflicts_with = "json")]
    oneline: bool,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// Print one value as it is
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl config:get DATABASE_URL")]
pub struct Get {
    /// The variable
    key: String,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// Set variables, all in one release
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl config:set DEBUG=0 DATABASE_URL=postgres://...
  paasctl config:set \"CERT=$(cat cert.pem)\"")]
pub struct Set {
    /// KEY=VALUE
    #[arg(required = true, value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

/// Remove variables, all in one release
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl config:unset DEBUG")]
pub struct Unset {
    /// The variables
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

impl List {
    /// Lists them.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        let path = if self.reveal { "config?reveal=true" } else { "config" };
        let config: api::Config = app.get(path).await?;
        if self.json.json {
            return Ok(output::json(&config)?);
        }
        let shown = |value: &Option<String>| {
            value.as_deref().map_or_else(|| MASK.to_owned(), dotenv::quote)
        };
        let pairs: Vec<(&String, String)> =
            config.values.iter().map(|(key, value)| (key, shown(value))).collect();
        if pairs.is_empty() {
            eprintln!("No variables yet. Set one: paasctl config:set KEY=VALUE");
        } else if self.oneline {
            let pairs: Vec<String> =
                pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            line(pairs.join(" "));
        } else {
            let width = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
            for (key, value) in pairs {
                line(format!("{key:<width$}  {value}"));
            }
        }
        Ok(())
    }
}

impl Get {
    /// Prints it.
    pub async fn run(self) -> Result<(), Failure> {
        key(&self.key)?;
        let app = self.app.open().await?;
        let value = revealed(&app).await?.remove(&self.key);
        let value = value.ok_or_else(|| {
            Failure::refused(format!("{} has no variable {}", app.name, self.key))
        })?;
        if self.json.json {
            return Ok(output::json(&value)?);
        }
        line(value);
        Ok(())
    }
}

impl Set {
    /// Sets them.
    pub async fn run(self) -> Result<(), Failure> {
        let set = pairs(&self.pairs)?;
        change(&self.app, &self.wait, api::ConfigPatch { set, unset: Vec::new() }).await
    }
}

impl Unset {
    /// Removes them.
    pub async fn run(self) -> Result<(), Failure> {
        for name in &self.keys {
            key(name)?;
        }
        change(&self.app, &self.wait, api::ConfigPatch { set: BTreeMap::new(), unset: self.keys })
            .await
    }
}

async fn change(app: &OnApp, wait: &Wait, patch: api::ConfigPatch) -> Result<(), Failure> {
    let app = app.open().await?;
    let names: Vec<&str> = patch.set.keys().chain(&patch.unset).map(String::as_str).collect();
    let verb = if patch.unset.is_empty() { "set" } else { "unset" };
    let what = match names.len() {
        0..=5 => format!("{verb} {}", names.join(", ")),
        count => format!("{verb} {count} variables"),
    };
    let change = app.send(Method::PATCH, "config", &patch).await?;
    rollout::follow(&app, &change, wait, &what).await
}

async fn revealed(app: &App) -> Result<BTreeMap<String, String>, Failure> {
    let config: api::Config = app.get("config?reveal=true").await?;
    let values = config.values.into_iter().map(|(key, value)| value.map(|value| (key, value)));
    values.collect::<Option<_>>().ok_or_else(|| Failure::refused("the values are not shown to you"))
}

fn key(text: &str) -> Result<(), Failure> {
    text.parse::<EnvKey>().map(drop).map_err(|error| {
        Failure::usage(format!("`{text}` is not a variable name; nothing was changed"))
            .hint(format!("A name has {}.", error.rule()))
    })
}

fn value_rule(key: &str, value: &str) -> Result<(), Failure> {
    if value.contains('\0') {
        return Err(Failure::usage(format!(
            "the value of {key} holds a zero byte, which no environment can"
        )));
    }
    Ok(())
}

/// All pairs, or a refusal of all.
pub fn pairs(texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut pairs = BTreeMap::new();
    for text in texts {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Failure::usage(format!("`{shown}` is not KEY=VALUE; nothing was set"))
                .hint("Quote values with spaces: paasctl config:set \"GREETING=good day\"")
        })?;
        key(name)?;
        value_rule(name, value)?;
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::usage(format!("{name} is given twice; nothing was set")));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_pair_refuses_all_and_a_value_may_hold_anything() {
        let read = |texts: &[&str]| {
            pairs(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(read(&["A=1=2\n\"x\" ä", "B="]).unwrap()["A"], "1=2\n\"x\" ä");
        for wrong in ["B", "1B=2", "B C=2", "=x", "A=again"] {
            assert!(read(&["A=1", wrong]).is_err(), "{wrong}");
        }
    }
}
