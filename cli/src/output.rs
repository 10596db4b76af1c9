//! What both command lines print: tables, JSON, and progress that is live on a terminal and plain lines in a pipe.

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Prints a table without borders.
pub fn table(headers: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headers).add_rows(rows);
    println!("{}", table.trim_fmt());
}

/// Prints a document as JSON.
pub fn json<T: Serialize + ?Sized>(document: &T) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(document)?);
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
            None => println!("{message}"),
        }
    }

    /// Something that stays, above the live line.
    pub fn done(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{message}")),
            None => println!("{message}"),
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
