//! The terminal here, handed over to the command there, and always given back.

use std::sync::Once;

use crossterm::terminal;

use crate::paas::failure::Failure;

/// Rows and columns when the terminal does not know.
const FALLBACK: (u16, u16) = (80, 24);

/// While this lives, every key goes to the other side, Ctrl-C included.
pub struct Raw(());

impl Raw {
    /// Hands the terminal over.
    pub fn enter() -> Result<Raw, Failure> {
        restore_on_panic();
        terminal::enable_raw_mode()
            .map_err(|error| Failure::local("take over the terminal", error))?;
        Ok(Raw(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Without a terminal any more there is nothing to give back.
        let _ = terminal::disable_raw_mode();
    }
}

/// Columns and rows.
pub fn size() -> (u32, u32) {
    let (columns, rows) = terminal::size().unwrap_or(FALLBACK);
    (columns.into(), rows.into())
}

fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let _ = terminal::disable_raw_mode();
            before(panic);
        }));
    });
}
