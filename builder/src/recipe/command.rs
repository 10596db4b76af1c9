//! A Procfile line as the argument list a container runs.

use model::release::Command;

/// Words that the shell itself must see first: `exec` in front of them means something else or nothing.
const SHELL_WORDS: &[&str] = &[
    ".", ":", "!", "[", "[[", "alias", "break", "case", "cd", "command", "continue", "do", "done",
    "elif", "else", "esac", "eval", "exec", "exit", "export", "fi", "for", "function", "if", "in",
    "let", "local", "read", "readonly", "return", "select", "set", "shift", "source", "test",
    "then", "time", "times", "trap", "type", "ulimit", "umask", "unset", "until", "wait", "while",
];

/// `/bin/sh -c LINE`, with `exec` put in front of a simple command so that it takes the shell's
/// place and gets the signals itself. Anything compound is left as it is written.
pub fn from_line(line: &str) -> Command {
    let line = match simple_command_start(line) {
        Some(start) => format!("{}exec {}", &line[..start], &line[start..]),
        None => line.to_owned(),
    };
    Command(vec!["/bin/sh".to_owned(), "-c".to_owned(), line])
}

/// Where the command's first word begins, after `NAME=value` words; none if the line is not one simple command.
fn simple_command_start(line: &str) -> Option<usize> {
    if line.contains(|c: char| ";&|(){}`<>\\\n#".contains(c)) {
        return None;
    }
    let mut start = 0;
    for word in line.split_inclusive(' ') {
        let text = word.trim_end();
        if text.is_empty() {
            start += word.len();
            continue;
        }
        match text.split_once('=') {
            Some((name, value)) if is_name(name) => {
                // A quoted value may go on past the space; then we do not know where the command is.
                if value.contains(['"', '\'']) {
                    return None;
                }
                start += word.len();
            }
            _ if SHELL_WORDS.contains(&text) => return None,
            _ => return Some(start),
        }
    }
    None
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simple_command_takes_the_shells_place_and_a_compound_one_does_not() {
        for (line, expected) in [
            ("gunicorn app:app --bind 0.0.0.0:$PORT", "exec gunicorn app:app --bind 0.0.0.0:$PORT"),
            ("python -c 'print(1)'", "python -c 'print(1)'"),
            ("A=1 B=$C node x.js", "A=1 B=$C exec node x.js"),
            ("A=\"1 2\" node x.js", "A=\"1 2\" node x.js"),
            ("cd web && node x.js", "cd web && node x.js"),
            ("cd web", "cd web"),
            ("node a & node b", "node a & node b"),
            ("exec node a", "exec node a"),
            ("while true; do sleep 1; done", "while true; do sleep 1; done"),
            ("A=1", "A=1"),
            ("  sleep 1", "  exec sleep 1"),
        ] {
            assert_eq!(from_line(line).0, ["/bin/sh", "-c", expected], "{line}");
        }
    }
}
