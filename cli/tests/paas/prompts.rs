//! Questions at a real terminal: what is typed is asked for, secrets are not shown, and a wrong answer does nothing.

use std::path::Path;

use tempfile::TempDir;

use crate::answers::{self, CHANGE, problem};
use crate::fake::{Answer, Fake};
use crate::pty::Terminal;

/// Somebody at a terminal, with a home.
struct Person {
    fake: Fake,
    home: TempDir,
    terminal: Terminal,
}

impl Person {
    fn new(answers: &[Answer]) -> Person {
        let home = tempfile::tempdir().unwrap();
        Person { fake: Fake::start(answers), home, terminal: Terminal::new() }
    }

    fn logged_in(answers: &[Answer]) -> Person {
        let person = Person::new(answers);
        let session = format!(
            r#"{{"v":1,"clusters":{{"default":{{"url":"{}","username":"ann","token":"tok-1","ca_pem":null,"git_remote_base":""}}}}}}"#,
            person.fake.url
        );
        std::fs::write(person.home.path().join("session.json"), session).unwrap();
        person
    }

    fn paasctl(&mut self, line: &str) {
        let words: Vec<&str> = line
            .split(' ')
            .map(|word| if word == "URL" { self.fake.url.as_str() } else { word })
            .collect();
        let home = self.home.path().to_str().unwrap();
        let paasctl = Path::new(env!("CARGO_BIN_EXE_paasctl"));
        self.terminal.run(paasctl, &words, &[("TRIREME_HOME", home), ("HOME", home)]);
    }

    /// Waits for a question and types the answer. What the terminal shows of it comes with the next wait.
    fn answer(&mut self, question: &str, answer: &str) {
        self.terminal.wait_for(question);
        self.terminal.press(answer);
        self.terminal.press("\r");
    }

    fn ends_with(&mut self, code: i32) -> String {
        let (status, rest) = self.terminal.end();
        assert_eq!(status.code(), Some(code), "{rest}");
        rest
    }
}

#[test]
fn a_login_asks_for_name_and_password_and_shows_no_password() {
    let mut ann = Person::new(&[
        Answer::json("GET /v1/info", 200, answers::INFO),
        Answer::json("POST /v1/auth/login", 200, answers::SESSION),
    ]);
    ann.paasctl("login URL");
    ann.answer("User name: ", "ann");
    ann.answer("Password: ", "open sesame");
    let rest = ann.ends_with(0);
    assert!(rest.contains("Logged in as ann") && !rest.contains("sesame"), "{rest}");
    let asked = ann.fake.asked().pop().unwrap();
    assert!(asked.contains(r#""username":"ann","password":"open sesame""#), "{asked}");
}

#[test]
fn a_new_password_is_asked_for_twice_until_both_are_one() {
    let mut ann = Person::new(&[
        Answer::json("GET /v1/info", 200, answers::INFO),
        Answer::json("POST /v1/auth/register", 201, answers::SESSION),
    ]);
    ann.paasctl("register URL --username ann");
    ann.answer("Password: ", "open sesame");
    ann.answer("The same again: ", "open sesami");
    ann.terminal.wait_for("These two differ.");
    assert!(!ann.fake.asked().iter().any(|asked| asked.contains("register")));
    ann.answer("Password: ", "open sesame");
    ann.answer("The same again: ", "open sesame");
    let rest = ann.ends_with(0);
    assert!(!rest.contains("sesam"), "{rest}");
    assert!(ann.fake.asked().pop().unwrap().contains(r#""password":"open sesame""#));
}

#[test]
fn a_password_is_changed_with_the_one_in_force() {
    let mut ann = Person::logged_in(&[
        Answer::json("POST /v1/auth/passwd", 401, &problem("wrong-password", "it is wrong")),
        Answer::json("POST /v1/auth/passwd", 204, ""),
    ]);
    for (current, code) in [("wrong", 1), ("right", 0)] {
        ann.paasctl("passwd");
        ann.answer("Current password: ", current);
        ann.answer("New password: ", "new secret");
        ann.answer("The same again: ", "new secret");
        let rest = ann.ends_with(code);
        assert!(!rest.contains("secret"), "{rest}");
        let asked = ann.fake.asked().pop().unwrap();
        assert!(asked.contains(&format!(r#""current":"{current}","new":"new secret""#)), "{asked}");
    }
}

#[test]
fn an_app_is_destroyed_only_by_its_name() {
    let mut ann = Person::logged_in(&[
        Answer::json("DELETE /v1/apps/shop?confirm=shop", 202, CHANGE),
        Answer::json(
            "GET /v1/apps/shop/rollout?generation=7",
            404,
            &problem("not-found", "there is no app `shop`"),
        ),
    ]);
    ann.paasctl("apps:destroy -a shop");
    ann.terminal.wait_for("shop will be gone for good");
    ann.answer("Type `shop` to go on: ", "shap");
    let rest = ann.ends_with(2);
    assert!(rest.contains("`shap` is not `shop`: nothing was done"), "{rest}");
    assert_eq!(ann.fake.asked(), [""; 0]);

    ann.paasctl("apps:destroy -a shop");
    ann.answer("Type `shop` to go on: ", "shop");
    let rest = ann.ends_with(0);
    assert!(rest.contains("shop is gone"), "{rest}");
    assert_eq!(ann.fake.asked()[0], "DELETE /v1/apps/shop?confirm=shop");
}

#[test]
fn an_account_is_deleted_only_by_its_name() {
    let mut ann = Person::logged_in(&[Answer::json("DELETE /v1/users/bob?confirm=bob", 204, "")]);
    ann.paasctl("users:delete bob");
    ann.answer("Type `bob` to go on: ", "yes");
    ann.ends_with(2);
    assert_eq!(ann.fake.asked(), [""; 0]);
    ann.paasctl("users:delete bob");
    ann.answer("Type `bob` to go on: ", "bob");
    assert!(ann.ends_with(0).contains("bob is gone."));
}

#[test]
fn a_key_is_chosen_with_the_arrows() {
    let mut ann = Person::logged_in(&[Answer::json("POST /v1/keys", 201, answers::KEY)]);
    let folder = ann.home.path().join(".ssh");
    std::fs::create_dir(&folder).unwrap();
    for name in ["a", "b", "c"] {
        let key = format!("ssh-ed25519 AAAA{name} ann@laptop\n");
        std::fs::write(folder.join(format!("{name}.pub")), key).unwrap();
    }
    ann.paasctl("keys:add");
    ann.terminal.wait_for("Which key may push");
    ann.terminal.wait_for("c.pub");
    ann.terminal.press("\x1b[B");
    ann.terminal.press("\r");
    ann.ends_with(0);
    assert!(ann.fake.asked().pop().unwrap().contains("ssh-ed25519 AAAAb"));
}

#[test]
fn an_interrupted_question_does_nothing_and_gives_the_terminal_back() {
    let mut ann = Person::logged_in(&[]);
    for (line, question) in
        [("passwd", "Current password: "), ("apps:destroy -a shop", "Type `shop` to go on: ")]
    {
        ann.paasctl(line);
        ann.terminal.wait_for(question);
        ann.terminal.press("\x03");
        let (status, _) = ann.terminal.end();
        assert!(!status.success(), "{line}: {status}");
        // By its own hand or the signal's, a shell sees the same.
        assert!(matches!(status.code(), Some(130) | None), "{line}: {status}");
        assert_eq!(ann.fake.asked(), [""; 0], "{line}");
    }
}
