//! What the program says about itself: shell completion and version.

use std::fmt::Write as _;

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

use super::command::grammar;
use super::failure::Failure;
use crate::output::{self, line};

/// Shells with completion.
#[derive(Clone, Copy, ValueEnum)]
enum For {
    /// GNU bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// Print a script that completes commands and options in your shell
#[derive(Args)]
#[command(after_help = "Examples:
  bash:  paasctl completion bash > ~/.local/share/bash-completion/completions/paasctl
  zsh:   paasctl completion zsh > \"${fpath[1]}/_paasctl\"
  fish:  paasctl completion fish > ~/.config/fish/completions/paasctl.fish")]
pub struct Completion {
    /// Your shell
    shell: For,
}

/// Print the version
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl version")]
pub struct Version {}

impl Completion {
    /// Prints it.
    pub async fn run(self) -> Result<(), Failure> {
        let mut grammar = grammar();
        let script = match self.shell {
            For::Bash => bash(&grammar),
            For::Zsh => zsh(&mut grammar),
            For::Fish => generated(Shell::Fish, &mut grammar),
        };
        output::raw(script.as_bytes());
        Ok(())
    }
}

impl Version {
    /// Prints it.
    pub async fn run(self) -> Result<(), Failure> {
        line(concat!("paasctl ", env!("CARGO_PKG_VERSION")));
        Ok(())
    }
}

/// In zsh's lists of `word:description` a colon of the word itself needs a backslash, which the generator leaves out.
fn zsh(grammar: &mut Command) -> String {
    let mut script = generated(Shell::Zsh, grammar);
    for command in grammar.get_subcommands() {
        for name in std::iter::once(command.get_name()).chain(command.get_visible_aliases()) {
            let escaped = name.replace(':', "\\:");
            script = script.replace(&format!("\n'{name}:"), &format!("\n'{escaped}:"));
        }
    }
    script
}

fn generated(shell: Shell, grammar: &mut Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, grammar, "paasctl", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Bash takes `:` for the end of a word, which no generated script expects: this one reads the line
/// itself, and gives back only what stands behind the last colon.
fn bash(grammar: &Command) -> String {
    let mut names = Vec::new();
    let mut options = String::new();
    for command in grammar.get_subcommands() {
        let known: Vec<&str> =
            std::iter::once(command.get_name()).chain(command.get_visible_aliases()).collect();
        let longs = command.get_arguments().filter_map(|argument| argument.get_long());
        let longs: Vec<String> = longs.chain(["help"]).map(|long| format!("--{long}")).collect();
        let values = command.get_positionals().flat_map(|argument| argument.get_possible_values());
        let values: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
        let _ = writeln!(
            options,
            "    {}) echo '{}' ;;",
            known.join("|"),
            [longs, values].concat().join(" ")
        );
        names.extend(known);
    }
    BASH.replace("@NAMES@", &names.join(" ")).replace("@OPTIONS@", &options)
}

const BASH: &str = r#"# Completion of paasctl for bash.
_paasctl_options() {
  case "$1" in
@OPTIONS@  esac
}
_paasctl() {
  local names='@NAMES@ help'
  local typed="${COMP_LINE:0:COMP_POINT}"
  local -a words
  read -ra words <<< "$typed"
  [[ "$typed" == *[[:space:]] ]] && words+=('')
  local last=$((${#words[@]} - 1))
  local current="${words[last]}" name
  COMPREPLY=()
  if ((last == 1)); then
    COMPREPLY=($(compgen -W "$names" -- "$current"))
  else
    local first="${words[1]}" second="${words[2]}"
    local verbs=() options
    if ((last == 2)); then
      for name in $names; do
        [[ "$name" == "$first":* ]] && verbs+=("${name#*:}")
      done
    fi
    options="$(_paasctl_options "$first:$second")"
    [[ -n "$options" ]] || options="$(_paasctl_options "$first")"
    [[ -n "$options" ]] || options="$(_paasctl_options "$first:list")"
    COMPREPLY=($(compgen -W "${verbs[*]} $options" -- "$current"))
  fi
  if [[ "$current" == *:* && "$COMP_WORDBREAKS" == *:* ]]; then
    local cut="${current%"${current##*:}"}" i
    for i in "${!COMPREPLY[@]}"; do
      COMPREPLY[i]="${COMPREPLY[i]#"$cut"}"
    done
  fi
}
complete -o default -F _paasctl paasctl
"#;

#[cfg(test)]
mod tests {
    use std::process::Command as Program;

    use super::*;

    /// What bash offers for a line.
    fn offered(line: &str) -> Vec<String> {
        let script = format!(
            "{}\nCOMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; _paasctl; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            bash(&grammar())
        );
        let output = Program::new("bash").args(["--norc", "-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn zsh_is_told_which_colons_belong_to_a_word() {
        let script = zsh(&mut grammar());
        assert!(script.contains("\n'apps\\:create:Create an app"));
        assert!(script.contains("\n'login:Log in"));
        assert!(!script.contains("\n'apps:"));
    }

    /// What a shell says when it runs a script after loading ours.
    fn said(shell: &str, arguments: &[&str], script: &str) -> String {
        let output =
            Program::new(shell).args(arguments).arg(script).output().unwrap_or_else(|error| {
                panic!("cannot start `{shell}` ({error}): `cargo xtask test` installs it")
            });
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn fish_completes_commands_and_options() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("paasctl.fish");
        std::fs::write(&file, generated(Shell::Fish, &mut grammar())).unwrap();
        let offers = |line: &str| {
            let script = format!("source {}; complete -C '{line}'", file.display());
            said("fish", &["--no-config", "-c"], &script)
        };
        assert!(offers("paasctl apps:cr").starts_with("apps:create\t"));
        assert!(offers("paasctl apps:create --no").starts_with("--no-remote\t"));
    }

    #[test]
    fn zsh_takes_the_script_as_the_completion_of_paasctl() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("_paasctl");
        std::fs::write(&file, zsh(&mut grammar())).unwrap();
        let script = format!(
            "autoload -Uz compinit; compinit -u -d {0}/dump; source {0}/_paasctl; print $_comps[paasctl]",
            folder.path().display()
        );
        assert_eq!(said("zsh", &["-f", "-c"], &script), "_paasctl\n");
    }

    #[test]
    fn bash_completes_words_with_a_colon() {
        assert_eq!(offered("paasctl apps:cr"), ["create"]);
        assert_eq!(offered("paasctl apps:o"), ["open"]);
        assert_eq!(offered("paasctl rollb"), ["rollback"]);
        assert_eq!(offered("paasctl apps cr"), ["create"]);
        assert_eq!(offered("paasctl apps:create --no"), ["--no-remote"]);
        assert_eq!(offered("paasctl config set --no"), ["--no-wait"]);
        assert_eq!(offered("paasctl completion b"), ["bash"]);
    }
}
