//! The programs' log files: each program appends to its own; what grows too large is moved aside.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use super::super::layout::Layout;
use super::note;

/// A log file is moved aside when it is larger; one older part is kept.
const MAX_LOG_BYTES: u64 = 16 << 20;
const CHECK_PERIOD: Duration = Duration::from_secs(10);

/// Opens a log to append to; programs get it as their standard output and error.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Looks after all logs of the cluster, until the task is ended.
pub async fn rotate_forever(layout: Layout) {
    loop {
        tokio::time::sleep(CHECK_PERIOD).await;
        for path in logs(&layout) {
            if let Err(error) = rotate(&path, MAX_LOG_BYTES) {
                note(&format!("rotate `{}`: {error}", path.display()));
            }
        }
    }
}

fn logs(layout: &Layout) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(layout.logs()).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect()
}

/// Copies a log that is too large to `<name>.log.1` and empties it. The program keeps its open file, so it survives
/// without knowing of us; the price is that lines written between the two steps are lost.
fn rotate(path: &Path, limit: u64) -> io::Result<()> {
    if fs::metadata(path)?.len() <= limit {
        return Ok(());
    }
    let mut older = path.as_os_str().to_owned();
    older.push(".1");
    fs::copy(path, &older)?;
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_large_log_is_moved_aside_and_its_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("router.log");
        let mut writer = open(&path).unwrap();
        writer.write_all(b"old line\n").unwrap();
        rotate(&path, 9).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old line\n", "at the limit nothing happens");
        rotate(&path, 8).unwrap();
        writer.write_all(b"new line\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new line\n");
        assert_eq!(fs::read(folder.path().join("router.log.1")).unwrap(), b"old line\n");
    }
}
