//! What people type becomes one command name and its arguments: `apps create`, `apps:create` and `create` are the same.

use std::ffi::OsString;

use clap::Command;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Words {
    /// The list of all commands.
    Overview,
    /// The list of one group's commands.
    Group(String),
    /// A command and its arguments.
    Command(Vec<OsString>),
    /// There is no such command.
    Unknown(String),
}

/// Options that may also stand before the command.
const LEADING_WITH_VALUE: [&str; 4] = ["-a", "--app", "-c", "--cluster"];

/// Suggestions for an unknown command.
const MAX_SIMILAR: usize = 3;

/// Brings the command to the front as one word.
pub fn normalise(mut words: Vec<OsString>, grammar: &Command) -> Words {
    let leading = take_leading(&mut words);
    let words = match (text(&words, 0), text(&words, 1)) {
        (None | Some("help" | "-h" | "--help"), None) => return Words::Overview,
        (Some("help"), Some(_)) => match help_topic(&words[1..], grammar) {
            Ok(name) => vec![name.into(), "--help".into()],
            Err(group) => return Words::Group(group),
        },
        (Some("-V" | "--version"), _) => vec!["version".into()],
        (Some(first), second) => {
            let asks_help = matches!(second, Some("-h" | "--help"));
            if asks_help && !is_command(grammar, first) && is_group(grammar, first) {
                return Words::Group(first.to_owned());
            }
            let Some((name, used)) = name(first, second, grammar) else {
                return Words::Group(first.to_owned());
            };
            let rest = words[used..].to_vec();
            std::iter::once(OsString::from(name)).chain(leading).chain(rest).collect()
        }
        (None, _) => words,
    };
    match text(&words, 0) {
        Some(name) if !name.starts_with('-') && !is_command(grammar, name) => {
            Words::Unknown(name.to_owned())
        }
        _ => Words::Command(words),
    }
}

/// The commands that were probably meant, the nearest first.
pub fn similar<'a>(name: &str, grammar: &'a Command) -> Vec<&'a str> {
    let names = grammar.get_subcommands().flat_map(|command| {
        std::iter::once(command.get_name()).chain(command.get_visible_aliases())
    });
    let far = (name.len() / 3).clamp(1, 3);
    let mut near: Vec<(usize, &str)> = names
        .map(|known| (distance(name, known), known))
        .filter(|(distance, _)| *distance <= far)
        .collect();
    near.sort_unstable();
    near.into_iter().take(MAX_SIMILAR).map(|(_, known)| known).collect()
}

/// How many letters must be put in, taken out or changed to make one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (place, wanted) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *wanted);
            diagonal = row[place + 1];
            row[place + 1] = changed.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// The command's name, and how many words it took; none: the bare name of a group without a list.
fn name(first: &str, second: Option<&str>, grammar: &Command) -> Option<(String, usize)> {
    if let Some(second) = second.filter(|word| !word.starts_with('-')) {
        let joined = format!("{first}:{second}");
        if is_command(grammar, &joined) {
            return Some((joined, 2));
        }
        if !is_command(grammar, first) && is_group(grammar, first) {
            return Some((joined, 2)); // there is none of that name, and that is said
        }
    }
    let list = format!("{first}:list");
    if is_command(grammar, first) {
        Some((first.to_owned(), 1))
    } else if is_command(grammar, &list) {
        Some((list, 1))
    } else if is_group(grammar, first) {
        None
    } else {
        Some((first.to_owned(), 1))
    }
}

/// What `help WORDS` is about: a command, or else a group.
fn help_topic(words: &[OsString], grammar: &Command) -> Result<String, String> {
    let first = text(words, 0).unwrap_or_default();
    if let Some(second) = text(words, 1) {
        return Ok(format!("{first}:{second}"));
    }
    let of_its_own = is_command(grammar, first);
    if is_group(grammar, first) && !of_its_own {
        Err(first.to_owned())
    } else {
        Ok(first.to_owned())
    }
}

fn take_leading(words: &mut Vec<OsString>) -> Vec<OsString> {
    let mut length = 0;
    while let Some(word) = text(words, length) {
        let joined = LEADING_WITH_VALUE.iter().any(|option| {
            option.starts_with("--")
                && word.strip_prefix(option).is_some_and(|rest| rest.starts_with('='))
        });
        length += match (LEADING_WITH_VALUE.contains(&word), joined) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => break,
        };
    }
    words.drain(..length.min(words.len())).collect()
}

fn text(words: &[OsString], place: usize) -> Option<&str> {
    words.get(place).and_then(|word| word.to_str())
}

fn is_command(grammar: &Command, name: &str) -> bool {
    grammar.find_subcommand(name).is_some()
}

/// Whether commands `name:...` exist.
fn is_group(grammar: &Command, name: &str) -> bool {
    grammar
        .get_subcommands()
        .any(|command| command.get_name().split_once(':').is_some_and(|(group, _)| group == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paas::command::grammar;

    fn typed(line: &str) -> String {
        let words = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
        match normalise(words, &grammar()) {
            Words::Overview => "overview".to_owned(),
            Words::Group(group) => format!("group {group}"),
            Words::Unknown(name) => format!("no {name}"),
            Words::Command(words) => words.join(std::ffi::OsStr::new(" ")).into_string().unwrap(),
        }
    }

    #[test]
    fn commands_are_known_by_every_form_people_use() {
        let table = [
            ("apps:create shop", "apps:create shop"),
            ("apps create shop", "apps:create shop"),
            ("create shop", "create shop"),
            ("apps", "apps:list"),
            ("apps --json", "apps:list --json"),
            ("config", "config:list"),
            ("config set A=1", "config:set A=1"),
            ("ps", "ps:list"),
            ("ps scale web=2", "ps:scale web=2"),
            ("maintenance", "maintenance"),
            ("run apps create", "run apps create"),
            ("run -- ls -l", "run -- ls -l"),
            ("-a shop -c prod config set A=1", "config:set -a shop -c prod A=1"),
            ("--app=shop ps", "ps:list --app=shop"),
            ("apps crate", "no apps:crate"),
            ("apps:crate -a shop", "no apps:crate"),
            ("--json", "--json"),
            ("nonsense", "no nonsense"),
            ("-V", "version"),
            ("", "overview"),
            ("help", "overview"),
            ("--help", "overview"),
            ("help apps", "group apps"),
            ("apps --help", "group apps"),
            ("git", "group git"),
            ("help apps:create", "apps:create --help"),
            ("help apps create", "apps:create --help"),
            ("help login", "login --help"),
            ("-a", "overview"),
        ];
        for (line, wanted) in table {
            assert_eq!(typed(line), wanted, "typed `{line}`");
        }
    }

    #[test]
    fn what_was_probably_meant_is_suggested() {
        assert_eq!(similar("apps:crate", &grammar()), ["apps:create"]);
        assert_eq!(similar("lgos", &grammar()), Vec::<&str>::new());
        assert_eq!(similar("logn", &grammar()), ["login", "logs"]);
        assert_eq!(similar("nonsense", &grammar()), Vec::<&str>::new());
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
