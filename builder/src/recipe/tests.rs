//! A commit's files in, a plan or a refusal out.

use super::*;

fn files(all: &[(&str, &str)]) -> Files {
    Files {
        paths: all.iter().map(|(path, _)| (*path).to_owned()).collect(),
        texts: all
            .iter()
            .filter(|(path, _)| READ.contains(path))
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect(),
    }
}

fn planned(all: &[(&str, &str)]) -> Result<Plan, Problem> {
    plan(&files(all), Base { stack: "stack:1", app: "shop" })
}

/// "type=line" of every process; a dash where the image's own command runs.
fn processes(plan: &Plan) -> Vec<String> {
    let line = |command: &Option<Command>| match command {
        Some(command) => command.0[2].clone(),
        None => "-".to_owned(),
    };
    plan.processes.iter().map(|(process, command)| format!("{process}={}", line(command))).collect()
}

fn instructions(plan: &Plan) -> &str {
    match &plan.layout {
        Layout::Own => "own",
        Layout::Made(text) => text,
    }
}

const PROCFILE: (&str, &str) = ("Procfile", "web: serve\n");
const START: (&str, &str) = ("package.json", r#"{"scripts":{"start":"node a.js"}}"#);

#[test]
fn the_first_that_fits_decides() {
    let everything =
        [("Dockerfile", "FROM x"), ("requirements.txt", ""), START, ("index.html", ""), PROCFILE];
    for (from, kind) in
        [(0, "Dockerfile"), (1, "Python"), (2, "Node"), (3, "Static site"), (4, "Procfile")]
    {
        assert_eq!(planned(&everything[from..]).unwrap().kind, kind);
    }
}

#[test]
fn nothing_to_go_by_is_refused_with_what_to_add() {
    let problem = planned(&[("README", "hello")]).unwrap_err();
    assert_eq!(problem.code, Code::Unsupported);
    assert!(problem.hint.contains("requirements.txt"), "{problem}");
    assert_eq!(planned(&[]).unwrap_err().code, Code::Unsupported);
    assert_eq!(planned(&[("sub/Dockerfile", "")]).unwrap_err().code, Code::Unsupported);
}

#[test]
fn a_dockerfile_runs_its_own_command_unless_a_procfile_says_otherwise() {
    let own = planned(&[("Dockerfile", "FROM x")]).unwrap();
    assert_eq!((processes(&own), instructions(&own)), (vec!["web=-".to_owned()], "own"));
    let with = planned(&[("Dockerfile", "FROM x"), ("Procfile", "worker: w\n")]).unwrap();
    assert_eq!(processes(&with), ["worker=exec w"]);
}

#[test]
fn python_dependencies_are_installed_before_the_app_is_copied() {
    let plan = planned(&[("requirements.txt", "flask\n"), PROCFILE]).unwrap();
    let text = instructions(&plan);
    let place = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} in {text}"));
    assert!(place("app/requirements.txt /app/") < place("pip install"));
    assert!(place("pip install") < place("app/ /app/"));
    assert!(text.starts_with("FROM stack:1\n") && text.contains("id=trireme-pip-shop"));
    let local = planned(&[("requirements.txt", "-r more.txt\n"), PROCFILE]).unwrap();
    let text = instructions(&local);
    assert!(text.find("app/ /app/").unwrap() < text.find("pip install").unwrap());
    assert_eq!(local.notes.len(), 1);
}

#[test]
fn python_needs_a_procfile() {
    let problem = planned(&[("requirements.txt", "flask")]).unwrap_err();
    assert!(problem.hint.contains("web: gunicorn"), "{problem}");
}

#[test]
fn node_starts_by_procfile_then_start_script_then_server_js() {
    let package = |scripts: &str| format!(r#"{{"scripts":{{{scripts}}}}}"#);
    for (scripts, more, expected) in [
        (r#""start":"node a.js""#, PROCFILE, "web=exec serve"),
        (r#""start":"node a.js""#, ("a.js", ""), "web=exec node a.js"),
        (r#""start":"node a.js","prestart":"x""#, ("a.js", ""), "web=exec npm start"),
        ("", ("server.js", ""), "web=exec node server.js"),
    ] {
        let plan = planned(&[("package.json", &package(scripts)), more]).unwrap();
        assert_eq!(processes(&plan), [expected]);
    }
    assert_eq!(planned(&[("package.json", "{}")]).unwrap_err().code, Code::Unsupported);
    let problem = planned(&[("package.json", "{")]).unwrap_err();
    assert!(problem.message.starts_with("package.json cannot be read"), "{problem}");
}

#[test]
fn node_installs_as_locked_and_builds_when_it_has_a_build_script() {
    let locked = planned(&[START, ("package-lock.json", "{}")]).unwrap();
    assert!(instructions(&locked).contains("npm ci") && locked.notes.is_empty());
    assert!(instructions(&locked).contains("app/package.json app/package-lock.json /app/"));
    assert!(
        instructions(&locked).contains("--omit=dev")
            && !instructions(&locked).contains("run build")
    );
    let free = planned(&[START, ("yarn.lock", ""), ("node_modules/x/i.js", "")]).unwrap();
    assert!(instructions(&free).contains("npm install"));
    assert_eq!(free.notes.len(), 3);
    assert!(free.ignore.leaves_out("node_modules/x/i.js"));
    let builds =
        planned(&[("package.json", r#"{"scripts":{"start":"x","build":"y","postinstall":"z"}}"#)])
            .unwrap();
    let text = instructions(&builds);
    assert!(text.find("app/ /app/").unwrap() < text.find("npm install").unwrap());
    assert!(text.contains("npm run build && npm prune --omit=dev"));
}

#[test]
fn static_sites_are_served_and_keep_their_other_types() {
    let alone = planned(&[("index.html", "")]).unwrap();
    assert_eq!(processes(&alone), ["web=exec serve-static ."]);
    let more = planned(&[("index.html", ""), ("Procfile", "worker: w")]).unwrap();
    assert_eq!(processes(&more), ["web=exec serve-static .", "worker=exec w"]);
    assert!(more.ignore.leaves_out("Procfile") && !more.ignore.leaves_out("index.html"));
    let own = planned(&[("index.html", ""), PROCFILE]).unwrap();
    assert_eq!(processes(&own), ["web=exec serve"]);
}

#[test]
fn a_wrong_procfile_refuses_the_whole_push() {
    let problem = planned(&[("Dockerfile", ""), ("Procfile", "web\n")]).unwrap_err();
    assert_eq!(problem.code, Code::Invalid);
    assert!(problem.message.contains("line 1"), "{problem}");
}
