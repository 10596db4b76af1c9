//! What the pusher reads, line by line, and what the app's log keeps of it.

use bytes::Bytes;
use model::name::AppName;
use proto::problem::Problem;
use tokio::sync::mpsc;

use crate::log::Log;

/// Chunks that may wait for a slow pusher; then the build waits too.
pub const WAITING: usize = 256;
/// A longer line is cut.
const MAX_LINE: usize = 8 << 10;

/// Lines of one push, in the shape users know: steps with an arrow, details indented, errors with a mark.
#[derive(Debug, Clone)]
pub struct Output {
    pusher: mpsc::Sender<Bytes>,
    log: Log,
    app: AppName,
}

impl Output {
    /// Lines of a push to `app`. A pusher that is gone is no error here.
    pub fn new(pusher: mpsc::Sender<Bytes>, log: Log, app: AppName) -> Output {
        Output { pusher, log, app }
    }

    /// `-----> Python app detected`
    pub async fn step(&self, text: &str) {
        self.line(format!("-----> {text}")).await;
    }

    /// One or more lines, indented below their step.
    pub async fn detail(&self, text: &str) {
        for line in lines(text) {
            self.line(format!("       {line}")).await;
        }
    }

    /// ` !     What went wrong`, then what to do, then the last lines.
    pub async fn problem(&self, problem: &Problem) {
        for line in [&problem.message, &problem.hint].into_iter().flat_map(|text| lines(text)) {
            self.line(format!(" !     {line}")).await;
        }
        for line in &problem.details {
            self.detail(line).await;
        }
        if !problem.request_id.is_empty() {
            self.line(format!(" !     request {}", problem.request_id)).await;
        }
    }

    /// ` !     Something to know`
    pub async fn note(&self, text: &str) {
        for line in lines(text) {
            self.line(format!(" !     {line}")).await;
        }
    }

    async fn line(&self, mut line: String) {
        line.truncate(line.trim_end().len());
        self.log.append(&self.app, &line);
        line.push('\n');
        // A pusher that is gone ends the push elsewhere.
        let _ = self.pusher.send(Bytes::from(line)).await;
    }
}

/// The lines of a text as a terminal would leave them: what a carriage return overwrote is not shown, control
/// characters but colours are dropped, and very long lines are cut.
fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| {
        let shown = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
        let plain = shown.chars().filter(|c| !c.is_control() || matches!(c, '\t' | '\u{1b}'));
        let mut length = 0;
        plain
            .take_while(|c| {
                length += c.len_utf8();
                length <= MAX_LINE
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn progress_bars_leave_their_last_state_and_nothing_odd_passes() {
        let shown: Vec<String> = lines("10%\r50%\r100%\r\nplain\u{7}\n\n\u{1b}[31mred").collect();
        assert_eq!(shown, ["100%", "plain", "", "\u{1b}[31mred"]);
        assert_eq!(lines(&"é".repeat(MAX)).next().unwrap().len(), MAX);
    }

    const MAX: usize = super::MAX_LINE;
}
