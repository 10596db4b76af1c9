//! Lists: as JSON, as a table, or as one line that says what makes the first item.

use serde::Serialize;

use super::failure::Failure;
use super::target::Json;
use crate::output;

/// How items of one kind are shown.
pub struct Listing<T> {
    /// Said when there are none.
    pub when_empty: &'static str,
    /// Of the table.
    pub headers: &'static [&'static str],
    /// An item's cells.
    pub row: fn(T) -> Vec<String>,
}

impl<T: Serialize> Listing<T> {
    /// Shows them.
    pub fn print(&self, items: Vec<T>, json: &Json) -> Result<(), Failure> {
        if json.json {
            return Ok(output::json(&items)?);
        }
        if items.is_empty() {
            eprintln!("{}", self.when_empty);
            return Ok(());
        }
        output::table(self.headers, items.into_iter().map(self.row).collect());
        Ok(())
    }
}
