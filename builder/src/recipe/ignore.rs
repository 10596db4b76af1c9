//! What of a commit does not go into the build: `.slugignore` and `.dockerignore`.

use super::glob;

/// An ordered list of patterns; the last that fits a path decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
    kept: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    pattern: String,
    ignores: bool,
}

/// More patterns than this are a mistake; the rest is not read.
const MAX_RULES: usize = 1000;

impl Ignore {
    /// As `.dockerignore`: patterns stand at the root.
    pub fn docker(text: &str) -> Ignore {
        Ignore {
            rules: rules(text, |pattern| pattern.to_owned()),
            kept: vec!["Dockerfile".to_owned()],
        }
    }

    /// As `.slugignore`: like `.gitignore`, a pattern without a slash fits in every folder.
    pub fn slug(text: &str) -> Ignore {
        let place = |pattern: &str| match pattern.contains('/') {
            true => pattern.to_owned(),
            false => format!("**/{pattern}"),
        };
        Ignore { rules: rules(text, place), kept: Vec::new() }
    }

    /// The same, but `path` is never left out.
    pub fn keeping(mut self, path: &str) -> Ignore {
        self.kept.push(path.to_owned());
        self
    }

    /// Whether `path`, or a folder above it, is left out.
    pub fn leaves_out(&self, path: &str) -> bool {
        if self.rules.is_empty() || self.kept.iter().any(|kept| kept == path) {
            return false;
        }
        let folders = path.match_indices('/').map(|(end, _)| &path[..end]);
        let prefixes: Vec<&str> = folders.chain([path]).collect();
        let decisive = self
            .rules
            .iter()
            .rev()
            .find(|rule| prefixes.iter().any(|prefix| glob::fits(&rule.pattern, prefix)));
        decisive.is_some_and(|rule| rule.ignores)
    }
}

fn rules(text: &str, place: impl Fn(&str) -> String) -> Vec<Rule> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .take(MAX_RULES)
        .filter_map(|line| {
            let (ignores, pattern) = match line.strip_prefix('!') {
                Some(pattern) => (false, pattern.trim()),
                None => (true, line),
            };
            // A slash at the end says "a folder"; one in the middle or in front says "from the root".
            let bare = pattern.trim_end_matches('/');
            let placed = place(bare);
            let placed = placed.trim_start_matches("./").trim_start_matches('/');
            (!placed.is_empty()).then(|| Rule { pattern: placed.to_owned(), ignores })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Ignore;

    #[test]
    fn slug_patterns_fit_in_every_folder_unless_they_are_anchored() {
        let ignore = Ignore::slug("*.psd\n/test\ndocs/\n# note\na/b\n");
        for out in ["x.psd", "art/x.psd", "test/a.py", "docs/a", "sub/docs/a", "a/b/c"] {
            assert!(ignore.leaves_out(out), "{out}");
        }
        for kept in ["x.ps", "sub/test/a.py", "x/a/b", "note"] {
            assert!(!ignore.leaves_out(kept), "{kept}");
        }
    }

    #[test]
    fn docker_patterns_stand_at_the_root_and_the_last_one_decides() {
        let ignore = Ignore::docker("*\n!src\n!./keep.txt\nsrc/secret\n");
        for out in ["a", "sub/b", "src/secret/key"] {
            assert!(ignore.leaves_out(out), "{out}");
        }
        for kept in ["src/a/b", "keep.txt", "Dockerfile"] {
            assert!(!ignore.leaves_out(kept), "{kept}");
        }
        assert!(!Ignore::docker("*.md").leaves_out("sub/a.md"));
    }

    #[test]
    fn what_a_recipe_needs_stays() {
        let ignore = Ignore::slug("*.txt").keeping("requirements.txt");
        assert!(!ignore.leaves_out("requirements.txt") && ignore.leaves_out("other.txt"));
    }
}
