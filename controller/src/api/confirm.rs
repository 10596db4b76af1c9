//! The name of what will be gone, given once more.

use proto::problem::{Code, Problem};
use serde::Deserialize;

use super::answer::Answer;

/// Where it is given.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Confirmation {
    /// The name of what will be gone, once more.
    #[serde(default)]
    confirm: String,
}

impl Confirmation {
    /// Refuses, unless it is this name.
    pub(super) fn check(&self, name: &str, gone: &str) -> Answer<()> {
        if self.confirm == name {
            return Ok(());
        }
        let message = format!("removing `{name}` needs its name as confirmation");
        Err(Problem::new(Code::Invalid, message)
            .hint(format!("add `confirm={name}`; {gone} will be gone"))
            .into())
    }
}
