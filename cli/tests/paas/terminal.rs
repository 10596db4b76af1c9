//! `run` at a real terminal: keys go to the command, sizes follow, and the terminal is itself again afterwards.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::fake::Fake;

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn a_run_at_a_terminal_gets_every_key_and_gives_the_terminal_back() {
    let fake = Fake::start(&[]);
    let home = tempfile::tempdir().unwrap();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
    resize(&master, 30, 90);
    let before = tcgetattr(&terminal).unwrap();

    let stdio = || Stdio::from(terminal.try_clone().unwrap());
    let mut child = Command::new("setsid")
        .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_paasctl"), "run", "-a", "shop", "keys"])
        .env("TRIREME_URL", &fake.url)
        .env("TRIREME_TOKEN", "tok-1")
        .env("TRIREME_HOME", home.path())
        .stdin(stdio())
        .stdout(stdio())
        .stderr(stdio())
        .spawn()
        .unwrap();
    let mut keyboard = File::from(master.try_clone().unwrap());
    let mut screen = Screen::of(File::from(master.try_clone().unwrap()));

    screen.wait_for("ready");
    let request = fake.asked().pop().unwrap();
    assert!(request.contains(r#""tty":true,"rows":30,"columns":90"#), "{request}");
    keyboard.write_all(b"\x03").unwrap();
    screen.wait_for("key [03]");
    resize(&master, 40, 120);
    screen.wait_for(r#"control {"control":"resize","rows":40,"columns":120}"#);
    keyboard.write_all(b"q").unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(3), "{}", screen.seen);

    let after = tcgetattr(&terminal).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
    assert_eq!(after.input_modes, before.input_modes);
    assert_eq!(after.output_modes, before.output_modes);
}

fn resize(master: &impl std::os::fd::AsFd, rows: u16, columns: u16) {
    tcsetwinsize(master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
        .unwrap();
}

/// What was shown so far.
struct Screen {
    pieces: Receiver<Vec<u8>>,
    seen: String,
}

impl Screen {
    fn of(mut master: File) -> Screen {
        let (sender, pieces) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = master.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Screen { pieces, seen: String::new() }
    }

    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(_) => panic!("`{text}` was not shown in time, but: {}", self.seen),
            }
        }
    }
}
