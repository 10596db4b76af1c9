//! Python apps: `requirements.txt` installed by pip into a virtual environment, then the app's files.

use proto::problem::{Code, Problem};

use super::{Base, CONFIG_MOUNT, COPY_APP, Files, Ignore, Layout, Plan, Procfile, READ_CONFIG};

/// Dependencies are a layer of their own, keyed by `requirements.txt` alone where it stands alone.
pub fn plan(files: &Files, base: Base<'_>, procfile: Option<Procfile>) -> Result<Plan, Problem> {
    let Some(procfile) = procfile else {
        return Err(Problem::new(
            Code::Unsupported,
            "this Python app has no Procfile, so nothing says how to start it",
        )
        .hint("Add a file `Procfile` with a line such as `web: gunicorn app:app --bind 0.0.0.0:$PORT`"));
    };
    let requirements = files.text("requirements.txt").unwrap_or_default();
    let mut notes = Vec::new();
    let whole_tree = names_local_files(requirements);
    if whole_tree {
        notes.push(
            "requirements.txt names files of the app: dependencies are installed anew with each change"
                .to_owned(),
        );
    }
    Ok(Plan {
        kind: "Python",
        layout: Layout::Made(instructions(base, whole_tree)),
        ignore: Ignore::slug(files.text(".slugignore").unwrap_or_default())
            .keeping("requirements.txt"),
        processes: procfile.processes,
        processes_from: "Procfile",
        notes,
    })
}

fn instructions(base: Base<'_>, whole_tree: bool) -> String {
    let install = format!(
        "RUN --mount=type=cache,id=trireme-pip-{app},target=/tmp/pip-cache,uid=1000,gid=1000,sharing=locked \
         {CONFIG_MOUNT} {READ_CONFIG}python3 -m venv /home/app/venv && PIP_CACHE_DIR=/tmp/pip-cache /home/app/venv/bin/pip install \
         --no-input --progress-bar off --disable-pip-version-check --no-warn-script-location -r requirements.txt\n\
         ENV PATH=/home/app/venv/bin:$PATH VIRTUAL_ENV=/home/app/venv\n",
        app = base.app
    );
    let from = format!("FROM {}\nWORKDIR /app\n", base.stack);
    if whole_tree {
        format!("{from}{COPY_APP}{install}")
    } else {
        let copy = "COPY --chown=1000:1000 app/requirements.txt /app/\n";
        format!("{from}{copy}{install}{COPY_APP}")
    }
}

/// Whether installing needs more of the app than `requirements.txt` itself: included files, constraints,
/// editable or local packages.
fn names_local_files(requirements: &str) -> bool {
    requirements.lines().map(str::trim).any(|line| {
        ["-r", "-c", "-e", "--requirement", "--constraint", "--editable", "--find-links", "-f"]
            .iter()
            .any(|option| line.starts_with(option))
            || line.starts_with(['.', '/'])
            || line.contains("file:")
            || line.contains(" @ .")
            || (!line.starts_with(['#', '-']) && line.contains(".whl") && !line.contains("://"))
    })
}

#[cfg(test)]
mod tests {
    use super::names_local_files;

    #[test]
    fn requirements_that_need_the_app_are_found() {
        for local in
            ["-r base.txt", "--constraint c.txt", "-e .", "./lib", "x @ file:///app/x", "a.whl"]
        {
            assert!(names_local_files(&format!("flask==3\n{local}\n")), "{local}");
        }
        for remote in ["flask==3.0 # -e", "--index-url https://x/", "x @ https://h/x.whl", "# -r x"]
        {
            assert!(!names_local_files(remote), "{remote}");
        }
    }
}
