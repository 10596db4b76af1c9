//! The list of all commands, by group.

use std::fmt::Write as _;

use clap::Command;

use super::command::GROUPS;

const HEAD: &str = "paasctl runs your apps on a Trireme cluster.

Usage: paasctl COMMAND [ARGUMENTS]     `apps:create shop` and `apps create shop` are the same

The app is the one the git remote `deis` names; -a APP names another, -c NAME another cluster.
";

const FOOT: &str = "
More: `paasctl help GROUP`, `paasctl help COMMAND`

Environment:
  TRIREME_URL       address of the controller, instead of the one logged in to
  TRIREME_TOKEN     token to use, instead of the one of the login
  TRIREME_CA_FILE   certificate authority (PEM) that signed the controller's certificate
  TRIREME_APP       the app, as with -a
  TRIREME_HOME      folder of session.json; default ~/.config/trireme

Exit codes:
  0  done, and seen serving     2  wrong usage, nothing was done     4  controller not reachable
  1  refused or failed          3  not logged in                     `run`: the command's own code
";

/// Every command.
pub fn whole(grammar: &Command) -> String {
    let mut text = HEAD.to_owned();
    for (title, names) in GROUPS {
        let _ = write!(text, "\n{title}\n{}", lines(grammar, names));
    }
    text + FOOT
}

/// The commands of one group.
pub fn group(grammar: &Command, group: &str) -> String {
    let names: Vec<&str> = grammar
        .get_subcommands()
        .map(Command::get_name)
        .filter(|name| name.split_once(':').is_some_and(|(first, _)| first == group))
        .collect();
    format!("Commands of `{group}`:\n{}\nMore: paasctl help COMMAND", lines(grammar, &names))
}

fn lines(grammar: &Command, names: &[&str]) -> String {
    let mut text = String::new();
    for command in names.iter().filter_map(|name| grammar.find_subcommand(name)) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let aliases: Vec<&str> = command.get_visible_aliases().collect();
        let also = match aliases.is_empty() {
            true => String::new(),
            false => format!(" (also: {})", aliases.join(", ")),
        };
        let _ = writeln!(text, "  {:<20} {about}{also}", command.get_name());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paas::command::grammar;

    #[test]
    fn every_command_is_listed_and_says_what_it_does() {
        let commands = grammar();
        let text = whole(&commands);
        for command in commands.get_subcommands() {
            let name = command.get_name();
            assert!(text.contains(&format!("  {name} ")), "{name} is not listed");
            assert!(command.get_about().is_some(), "{name} does not say what it does");
            assert!(command.get_after_help().is_some(), "{name} has no example");
        }
    }
}
