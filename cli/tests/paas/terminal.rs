//! `run` at a real terminal: keys go to the command, sizes follow, and the terminal is itself again afterwards.

use std::path::Path;

use crate::fake::Fake;
use crate::pty::Terminal;

#[test]
fn a_run_at_a_terminal_gets_every_key_and_gives_the_terminal_back() {
    let fake = Fake::start(&[]);
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::new();
    let environment = [
        ("TRIREME_URL", fake.url.as_str()),
        ("TRIREME_TOKEN", "tok-1"),
        ("TRIREME_HOME", home.path().to_str().unwrap()),
    ];
    let paasctl = Path::new(env!("CARGO_BIN_EXE_paasctl"));
    terminal.run(paasctl, &["run", "-a", "shop", "keys"], &environment);

    terminal.wait_for("ready");
    let request = fake.asked().pop().unwrap();
    assert!(request.contains(r#""tty":true,"rows":30,"columns":90"#), "{request}");
    terminal.press("\x03");
    terminal.wait_for("key [03]");
    terminal.resize(40, 120);
    terminal.wait_for(r#"control {"control":"resize","rows":40,"columns":120}"#);
    terminal.press("q");
    let (status, rest) = terminal.end();
    assert_eq!(status.code(), Some(3), "{rest}");
}
