//! Questions to the person at the terminal. Without one, a question is a usage error that names the option.

mod secret;

use std::io::{BufRead, IsTerminal};

use dialoguer::{Input, Select};

use self::secret::Typed;
use super::failure::Failure;
use super::terminal::Raw;

/// What a shell reports for a program that was interrupted (128 + SIGINT).
const INTERRUPTED: u8 = 130;

/// Longest password line read from standard input.
const MAX_LINE_BYTES: u64 = 4096;

/// A line of text.
pub fn line(question: &str, option: &str) -> Result<String, Failure> {
    terminal(question, option)?;
    Input::new().with_prompt(question).interact_text().map_err(|error| stopped(&error))
}

/// A password, not shown.
pub fn password(question: &str) -> Result<String, Failure> {
    terminal(question, "--password-stdin")?;
    loop {
        let password = hidden(question)?;
        if !password.is_empty() {
            return Ok(password);
        }
    }
}

/// A new password, typed twice.
pub fn new_password(question: &str) -> Result<String, Failure> {
    loop {
        let password = password(question)?;
        if hidden("The same again")? == password {
            return Ok(password);
        }
        eprintln!("These two differ.");
    }
}

/// The terminal is taken over before the question is seen, so that nothing typed is shown.
fn hidden(question: &str) -> Result<String, Failure> {
    let typed = {
        let _raw = Raw::enter()?;
        eprint!("{question}: ");
        secret::read(std::io::stdin().lock())
    };
    eprintln!();
    match typed.map_err(|error| Failure::local("ask", error))? {
        Typed::Line(line) => Ok(line),
        Typed::Nothing => Err(Failure::usage("nothing was typed")),
        Typed::Interrupted => Err(Failure::silent(INTERRUPTED)),
    }
}

/// One of several; their place.
pub fn choice(question: &str, items: &[String], option: &str) -> Result<usize, Failure> {
    terminal(question, option)?;
    Select::new()
        .with_prompt(question)
        .items(items)
        .default(0)
        .interact()
        .map_err(|error| stopped(&error))
}

/// Makes sure that the name of what will be gone was given or is typed now.
pub fn confirm_name(name: &str, given: Option<&str>, what: &str) -> Result<(), Failure> {
    let typed = match given {
        Some(given) => given.to_owned(),
        None => {
            terminal("Confirmation", &format!("--confirm {name}"))?;
            eprintln!(" !     {what}");
            line(&format!("Type `{name}` to go on"), "--confirm")?
        }
    };
    if typed == name {
        return Ok(());
    }
    Err(Failure::usage(format!("`{typed}` is not `{name}`: nothing was done")))
}

/// The next line of standard input, without its end.
pub fn stdin_line() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::Read::take(std::io::stdin().lock(), MAX_LINE_BYTES)
        .read_line(&mut text)
        .map_err(|error| Failure::local("read standard input", error))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(Failure::usage("there is no password on standard input"));
    }
    Ok(text.to_owned())
}

fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn terminal(question: &str, option: &str) -> Result<(), Failure> {
    if has_terminal() {
        return Ok(());
    }
    Err(Failure::usage(format!("{question} is needed and there is no terminal to ask at"))
        .hint(format!("Give it with {option}.")))
}

fn stopped(error: &dialoguer::Error) -> Failure {
    Failure::local("ask", error)
}
