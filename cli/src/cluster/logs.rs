//! `clusterctl logs`: what a program of the platform wrote.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

use anyhow::Context;

use super::{layout::Layout, log_line::readable};
use crate::output;

const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// The most that is read from the end of a log to find its last lines.
const MAX_TAIL_BYTES: u64 = 4 << 20;

/// Which lines to show.
pub struct Show {
    /// How many of the last ones.
    pub lines: usize,
    /// Whether to go on with new ones.
    pub follow: bool,
    /// Whether to leave them as they were written.
    pub raw: bool,
}

/// Prints the last lines of a program's log.
pub fn logs(layout: &Layout, program: &str, show: &Show) -> anyhow::Result<()> {
    let path = layout.log(program);
    let shown = path.display();
    let (lines, mut place) = tail(&path, show.lines).with_context(|| {
        format!("read `{shown}`; is the cluster's data in `{}`?", layout.data.display())
    })?;
    for line in &lines {
        print(line, show.raw);
    }
    if !show.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(LOOK_PERIOD);
        // A log that was moved aside is shorter than where we were.
        let length = std::fs::metadata(&path).map(|file| file.len()).unwrap_or_default();
        place = if length < place { 0 } else { place };
        let text = read_from(&path, place).with_context(|| format!("read `{shown}`"))?;
        // The last line may be half written.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in String::from_utf8_lossy(&text[..whole]).lines() {
            print(line, show.raw);
        }
        place += whole as u64;
    }
}

fn print(line: &str, raw: bool) {
    if raw { output::line(line) } else { output::line(readable(line)) }
}

/// The last lines of a program's log, readable; empty where there is none.
pub fn last_lines(layout: &Layout, program: &str, count: usize) -> Vec<String> {
    let lines = tail(&layout.log(program), count).map(|(lines, _)| lines).unwrap_or_default();
    lines.iter().map(|line| readable(line).into_owned()).collect()
}

/// The last lines and the place after them.
fn tail(path: &Path, count: usize) -> io::Result<(Vec<String>, u64)> {
    let length = std::fs::metadata(path)?.len();
    let start = length.saturating_sub(MAX_TAIL_BYTES);
    let text = read_from(path, start)?;
    let place = start + text.len() as u64;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(count);
    Ok((lines[from..].iter().map(|line| (*line).to_owned()).collect(), place))
}

fn read_from(path: &Path, start: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.take(MAX_TAIL_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_shown_readable() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        std::fs::create_dir(layout.logs()).unwrap();
        std::fs::write(
            layout.log("agent"),
            "one\ntwo\n{\"level\":\"INFO\",\"message\":\"three\"}\n",
        )
        .unwrap();
        assert_eq!(last_lines(&layout, "agent", 2), ["two", "INFO three"]);
        assert_eq!(last_lines(&layout, "agent", 9).len(), 3);
        assert!(last_lines(&layout, "router", 9).is_empty());
    }
}
