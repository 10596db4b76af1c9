//! A terminal with somebody at it: a program runs there, keys are pressed, and what is shown is read.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

const DEADLINE: Duration = Duration::from_secs(30);
/// Shown by the test itself when a program has ended.
const END: &str = "<the end>";

/// The terminal. It keeps what was shown so far.
pub struct Terminal {
    master: File,
    side: File,
    before: Termios,
    pieces: Receiver<Vec<u8>>,
    seen: String,
    child: Option<Child>,
}

impl Terminal {
    pub fn new() -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let side = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let master = File::from(master);
        let pieces = read_on(master.try_clone().unwrap());
        let before = tcgetattr(&side).unwrap();
        let terminal = Terminal { master, side, before, pieces, seen: String::new(), child: None };
        terminal.resize(30, 90);
        terminal
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// Runs a program here, as the one that the terminal belongs to.
    pub fn run(&mut self, program: &Path, arguments: &[&str], environment: &[(&str, &str)]) {
        let stdio = || Stdio::from(self.side.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program).args(arguments);
        command.envs(environment.iter().copied()).env("TERM", "xterm");
        let child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        self.child = Some(child);
    }

    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this is shown, after what was waited for before. Returns what came before it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(place) = self.seen.find(text) {
                let before = self.seen[..place].to_owned();
                self.seen.drain(..place + text.len());
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(_) => panic!("`{text}` was not shown in time, but: {}", self.seen),
            }
        }
    }

    /// Waits for the program's end; the terminal must be as it was before. Also what was shown since the last wait.
    pub fn end(&mut self) -> (ExitStatus, String) {
        let status = self.child.take().unwrap().wait().unwrap();
        let after = tcgetattr(&self.side).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
        self.side.write_all(END.as_bytes()).unwrap();
        (status, self.wait_for(END))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
        }
    }
}

fn read_on(mut master: File) -> Receiver<Vec<u8>> {
    let (sender, pieces) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    pieces
}
