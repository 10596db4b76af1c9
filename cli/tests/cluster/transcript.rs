//! What an operator sees: each command, what it printed, how it ended; with names for what differs from run to run.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::ground::{Done, Ground};

/// What is being waited for; it differs from run to run.
const PASSING: [&str; 2] = ["waiting for ", "still running: "];

/// The commands given on one ground.
pub struct Transcript<'g> {
    name: &'static str,
    ground: &'g Ground,
    text: String,
}

impl<'g> Transcript<'g> {
    pub fn new(name: &'static str, ground: &'g Ground) -> Transcript<'g> {
        Transcript { name, ground, text: String::new() }
    }

    /// Tells what the next command is about.
    pub fn about(&mut self, remark: &str) {
        let _ = writeln!(self.text, "# {remark}");
    }

    /// Runs a command; the ground adds its folder and, to the first `up`, its ports.
    pub fn run(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let done = self.ground.clusterctl(&words);
        self.record(line, &done);
    }

    /// Runs a command as it stands.
    pub fn run_bare(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let done = Done::of(&mut self.ground.command(&words));
        let _ = writeln!(self.text, "$ clusterctl {line}");
        self.show(&done.out, &done.err, done.code);
    }

    /// Takes down what was done in another way.
    pub fn record(&mut self, line: &str, done: &Done) {
        let steadied = |text: &str| -> String {
            let text = self.placed(text);
            let is_passing = |line: &str| PASSING.iter().any(|words| line.starts_with(words));
            let lines = text.lines().filter(|line| !is_passing(line));
            lines.map(|line| format!("{}\n", steady(line))).collect()
        };
        let (out, err) = (steadied(&done.out), steadied(&done.err));
        let _ = writeln!(self.text, "$ clusterctl {line}");
        self.show(&out, &err, done.code);
    }

    fn show(&mut self, out: &str, err: &str, code: i32) {
        self.text.push_str(out);
        for line in err.lines() {
            let _ = writeln!(self.text, "2| {line}");
        }
        if code != 0 {
            let _ = writeln!(self.text, "[exit {code}]");
        }
        self.text.push('\n');
    }

    /// Compares with what is checked in.
    pub fn finish(self) {
        let path =
            format!("{}/tests/cluster/transcripts/{}.txt", env!("CARGO_MANIFEST_DIR"), self.name);
        if std::env::var_os("TRIREME_BLESS").is_some() {
            std::fs::write(&path, &self.text).unwrap();
            return;
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        if wanted != self.text {
            let pairs = wanted.lines().zip(self.text.lines());
            let differing = pairs.into_iter().position(|(left, right)| left != right);
            panic!(
                "{path} differs from line {}; TRIREME_BLESS=1 rewrites it. Now it is:\n{}",
                differing.map_or(0, |line| line + 1),
                self.text
            );
        }
    }

    /// With names instead of the ground's folder and ports.
    fn placed(&self, text: &str) -> String {
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        let mut text = text.replace(self.ground.folder().to_str().unwrap(), "HERE");
        text = text.replace(&format!("`{}`", own.trim()), "`THIS-TEST`");
        // With a service manager and without.
        for start in
            ["systemctl start docker", "setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &"]
        {
            text = text.replace(start, "START-DOCKER");
        }
        for (offset, name) in (0..).zip(["HTTP", "HTTPS", "SSH", "API", "REGISTRY"]) {
            text = text.replace(&self.ground.port(offset).to_string(), name);
        }
        for offset in 0..16 {
            let port = self.ground.port(5 + offset).to_string();
            text = text.replace(&port, &format!("BASE+{offset}"));
        }
        text
    }
}

/// With letters instead of ids, sizes, durations and times; columns as narrow as can be.
fn steady(line: &str) -> String {
    if let Some((name, _)) = line.split_once("\"uptime_seconds\": ") {
        return format!("{name}\"uptime_seconds\": N,");
    }
    let indent = line.len() - line.trim_start().len();
    let words: Vec<String> = line.split(' ').map(steady_word).collect();
    let mut text = words.join(" ");
    while let Some(place) = text[indent..].find("   ") {
        text.remove(indent + place);
    }
    text.trim_end().to_owned()
}

fn steady_word(word: &str) -> String {
    let bare = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_fraction =
        bare.split_once('.').is_some_and(|(whole, places)| is_number(whole) && is_number(places));
    let is_large = is_number(bare) && bare.len() > 2;
    let is_duration = bare.starts_with(|letter: char| letter.is_ascii_digit())
        && bare.ends_with(['s', 'm', 'h'])
        && bare.trim_end_matches(|letter: char| "smhd0123456789".contains(letter)).is_empty();
    if bare.parse::<Timestamp>().is_ok() {
        word.replace(bare, "TIME")
    } else if is_fraction || is_large || is_duration {
        word.replace(bare, "N")
    } else {
        word.to_owned()
    }
}
