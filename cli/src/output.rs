//! What both command lines print: tables, JSON, and progress that is live on a terminal and plain lines in a pipe.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// What a shell reports for a program whose reader went away (128 + SIGPIPE).
pub const READER_GONE: i32 = 141;

/// Prints a line; ends the program quietly when nobody reads any more, as in `paasctl logs | head`.
pub fn line(text: impl Display) {
    raw(format!("{text}\n").as_bytes());
}

/// Prints bytes as they are, at once.
pub fn raw(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(READER_GONE),
        Err(error) => {
            eprintln!(" !     failed to write to standard output: {error}");
            std::process::exit(1);
        }
    }
}

/// Prints a table without borders.
pub fn table(headers: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headers).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    line(table.trim_fmt());
}

/// Says on standard error what one should know of what was printed.
pub fn warning(text: &str) {
    eprintln!(" !     {text}");
}

/// Prints a document as JSON.
pub fn json<T: Serialize + ?Sized>(document: &T) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(document)?);
    Ok(())
}

/// What is being done: one live line on a terminal, a line per change elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    said: String,
}

impl Progress {
    /// Nothing said yet.
    pub fn new() -> Progress {
        let bar = console::Term::stdout().is_term().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
                .expect("the template is written here");
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
            bar
        });
        Progress { bar, said: String::new() }
    }

    /// What is being done now.
    pub fn say(&mut self, message: &str) {
        if self.said == message {
            return;
        }
        message.clone_into(&mut self.said);
        match &self.bar {
            Some(bar) => bar.set_message(message.to_owned()),
            None => line(message),
        }
    }

    /// Something that stays, above the live line.
    pub fn done(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| line(message)),
            None => line(message),
        }
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
