//! Configuration to and from a `.env` file.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use proto::api;

use super::{change, revealed, value_rule};
use crate::output::{self, line};
use crate::paas::dotenv;
use crate::paas::failure::Failure;
use crate::paas::rollout::Wait;
use crate::paas::target::OnApp;

/// Largest file of variables read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Write the variables to a .env file
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl config:pull              to .env
  paasctl config:pull -            to standard output")]
pub struct Pull {
    /// The file; `-` for standard output
    #[arg(default_value = ".env")]
    file: PathBuf,
    /// Replace the file if there is one
    #[arg(short, long)]
    overwrite: bool,
    #[command(flatten)]
    app: OnApp,
}

/// Set all variables of a .env file, in one release; others stay
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl config:push              from .env
  vault read app | paasctl config:push -")]
pub struct Push {
    /// The file; `-` for standard input
    #[arg(default_value = ".env")]
    file: PathBuf,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

impl Pull {
    /// Writes them.
    pub async fn run(self) -> Result<(), Failure> {
        let to_stdout = self.file.as_os_str() == "-";
        if !to_stdout && !self.overwrite && self.file.exists() {
            return Err(Failure::usage(format!(
                "{} is there already; nothing was written",
                self.file.display()
            ))
            .hint("Replace it with --overwrite, or name another file."));
        }
        let values = revealed(&self.app.open().await?).await?;
        let text = dotenv::write(&values);
        if to_stdout {
            output::raw(text.as_bytes());
            return Ok(());
        }
        self.write(&text)
            .map_err(|error| Failure::local(format!("write {}", self.file.display()), error))?;
        line(format!(
            "Wrote {} variables to {}. Do not commit it.",
            values.len(),
            self.file.display()
        ));
        Ok(())
    }

    /// Secrets are for their owner only, also where a file was open to others.
    fn write(&self, text: &str) -> std::io::Result<()> {
        if self.overwrite && self.file.exists() {
            std::fs::remove_file(&self.file)?;
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.file)?;
        file.write_all(text.as_bytes())
    }
}

impl Push {
    /// Sets them.
    pub async fn run(self) -> Result<(), Failure> {
        let what = format!("read {}", self.file.display());
        let read = if self.file.as_os_str() == "-" {
            std::io::read_to_string(std::io::Read::take(std::io::stdin().lock(), MAX_FILE_BYTES))
        } else {
            std::fs::File::open(&self.file)
                .and_then(|file| std::io::read_to_string(std::io::Read::take(file, MAX_FILE_BYTES)))
        };
        let text = read.map_err(|error| Failure::local(&what, error))?;
        let set = dotenv::read(&text).map_err(|error| {
            Failure::usage(format!("{}: {error}; nothing was set", self.file.display()))
        })?;
        if set.is_empty() {
            return Err(Failure::usage(format!("{} holds no variables", self.file.display())));
        }
        for (key, value) in &set {
            value_rule(key, value)?;
        }
        change(&self.app, &self.wait, api::ConfigPatch { set, unset: Vec::new() }).await
    }
}
