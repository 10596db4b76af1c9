//! How far a recovery came, kept until it is done: the same command goes on with it after a cut.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service::durable::{DurableError, PRIVATE, read_json, write_json};

use super::super::layout::Layout;

const VERSION: u32 = 1;

/// A recovery that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// When it began; it is known by that.
    pub operation: String,
    /// The nodes that were confirmed to be gone.
    pub dead: Vec<String>,
    /// Whether what was there before is copied. Never again: afterwards it is something else.
    pub is_copied: bool,
}

impl Journal {
    /// The one that was begun here, if it is not done.
    pub fn read(layout: &Layout) -> Result<Option<Journal>, DurableError> {
        read_json(&path(layout), VERSION)
    }

    /// Keeps it.
    pub fn write(&self, layout: &Layout) -> Result<(), DurableError> {
        write_json(&path(layout), VERSION, self, PRIVATE)
    }

    /// It is done, or called off.
    pub fn remove(layout: &Layout) -> std::io::Result<()> {
        std::fs::remove_file(path(layout))
    }
}

fn path(layout: &Layout) -> PathBuf {
    layout.data.join("recovery.json")
}
