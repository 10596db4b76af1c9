//! Which of a push's refs deploys: exactly one branch, nothing else beside it.

use proto::problem::{Code, Problem};

use crate::hook::Update;

/// The one update that may deploy. Which branch of an app does is the controller's to say.
pub fn deploying(updates: &[Update]) -> Result<&Update, Problem> {
    if let Some(deleted) = updates.iter().find(|update| update.is_deletion()) {
        let message = format!("{} cannot be deleted here", shown(&deleted.name));
        return Err(Problem::new(Code::WrongBranch, message)
            .hint("`paasctl apps:destroy` removes an app, `paasctl rollback` goes back to an earlier release"));
    }
    if let Some(tag) = updates.iter().find(|update| !update.name.starts_with("refs/heads/")) {
        let message = format!("{} does not deploy: only a branch does", shown(&tag.name));
        return Err(Problem::new(Code::WrongBranch, message)
            .hint("Push the branch alone, for example `git push deis master`"));
    }
    match updates {
        [update] => Ok(update),
        [] => Err(Problem::new(Code::WrongBranch, "the push names no branch")),
        [_, _, ..] => {
            let names: Vec<String> = updates.iter().map(|update| shown(&update.name)).collect();
            let message = format!("a push deploys one branch; this one has {}", names.join(", "));
            Err(Problem::new(Code::WrongBranch, message).hint("Push the branch that deploys alone"))
        }
    }
}

/// A ref's name as people write it.
fn shown(name: &str) -> String {
    match (name.strip_prefix("refs/heads/"), name.strip_prefix("refs/tags/")) {
        (Some(branch), _) => format!("branch `{branch}`"),
        (_, Some(tag)) => format!("tag `{tag}`"),
        _ => format!("`{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(new: &str, name: &str) -> Update {
        Update { old: "0".repeat(40), new: new.repeat(40), name: name.to_owned() }
    }

    #[test]
    fn exactly_one_branch_deploys() {
        let one = [update("1", "refs/heads/master")];
        assert_eq!(deploying(&one).unwrap().name, "refs/heads/master");
        for (updates, message) in [
            (vec![], "the push names no branch"),
            (vec![update("1", "refs/tags/v1")], "tag `v1` does not deploy"),
            (vec![update("1", "refs/notes/x")], "`refs/notes/x` does not deploy"),
            (vec![update("0", "refs/heads/master")], "branch `master` cannot be deleted"),
            (
                vec![update("1", "refs/heads/a"), update("2", "refs/heads/b")],
                "a push deploys one branch; this one has branch `a`, branch `b`",
            ),
            (vec![update("1", "refs/heads/a"), update("1", "refs/tags/b")], "tag `b`"),
        ] {
            let problem = deploying(&updates).unwrap_err();
            assert_eq!(problem.code, Code::WrongBranch);
            assert!(problem.message.starts_with(message), "{problem}");
        }
    }
}
