//! `clusterctl nodes:replace`: a lost node goes, and another machine may take its place.
//!
//! The lost member leaves the store before the new one comes: etcd takes nobody in while a member is down, and of three members of
//! which one is dead, as of two that live, both must be well. The new one learns first, so it never counts before it can vote.

use std::process::ExitCode;

use proto::api::NewJoinToken;

use super::{init, layout::Layout, nodes::Nodes};
use crate::output;

/// Takes the node out and prints how its successor joins. Safe to repeat.
pub async fn replace(layout: &Layout, node: &str, json: bool) -> anyhow::Result<ExitCode> {
    Nodes::of(layout)?.give_up(node).await?;
    let wanted = NewJoinToken { minutes: None, replaces: Some(node.to_owned()) };
    let code = init::create_token(layout, &wanted, json).await?;
    if !json {
        output::line(format_args!(
            "The machine gets the labels of {node}; with `--node {node}` its name, too."
        ));
    }
    Ok(code)
}
