//! Somebody at a real terminal: types, looks at the screen, drags the window's corner.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long anything may take to appear.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program running at a terminal of its own.
pub struct Terminal {
    keyboard: File,
    pieces: Receiver<Vec<u8>>,
    seen: String,
    child: Child,
}

impl Terminal {
    /// Starts a command at a new terminal of this size.
    #[track_caller]
    pub fn start(command: &Command, rows: u16, columns: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal is there");
        grantpt(&master).expect("the terminal is ours");
        unlockpt(&master).expect("the terminal opens");
        let name = ptsname(&master, Vec::new()).expect("the terminal has a name");
        let name = name.into_string().expect("its name is text");
        let screen = OpenOptions::new().read(true).write(true).open(name).expect("it opens");
        let stdio = || Stdio::from(screen.try_clone().expect("it can be shared"));
        let mut own = Command::new("setsid");
        own.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => own.env(name, value),
                None => own.env_remove(name),
            };
        }
        own.current_dir(command.get_current_dir().expect("people are somewhere"));
        own.stdin(stdio()).stdout(stdio()).stderr(stdio());
        let keyboard = File::from(master);
        resize(&keyboard, rows, columns);
        let pieces = read(keyboard.try_clone().expect("it can be shared"));
        let child = own.spawn().expect("setsid starts");
        Terminal { keyboard, pieces, seen: String::new(), child }
    }

    /// Types.
    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the keyboard works");
    }

    /// Makes the window this large.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.keyboard, rows, columns);
    }

    /// Waits until the screen shows `text` after what was waited for before.
    #[track_caller]
    pub fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(place) = self.seen.find(text) {
                self.seen.drain(..place + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(_) => panic!("the screen should show `{text}`, but: {}", self.seen),
            }
        }
    }

    /// The program's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the program's end; its exit code.
    pub fn ends(mut self) -> Option<i32> {
        self.child.wait().expect("the program ends").code()
    }
}

fn resize(terminal: &File, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a terminal has a size");
}

/// What is written to the screen, piece by piece.
fn read(mut screen: File) -> Receiver<Vec<u8>> {
    let (sender, pieces) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = screen.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    pieces
}
