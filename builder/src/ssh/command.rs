//! What a client asks to run: one of two git commands on one repository, and nothing else.

use model::name::AppName;

/// The longest command line that is looked at.
const MAX_LENGTH: usize = 512;

/// The git service asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `git push`.
    ReceivePack,
    /// `git fetch` and `git clone`.
    UploadPack,
}

/// A command this server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitCommand {
    /// What to do.
    pub service: Service,
    /// With which app's repository.
    pub app: AppName,
}

/// Why a command is not run, in the user's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Not one of the two git commands.
    #[error("only `git push`, `git fetch` and `git clone` work here; there is no shell")]
    NotGit,
    /// The repository's name is not `<app>.git`.
    #[error("the repository is named for its app, `<app>.git`: {0}")]
    Repository(String),
}

impl Service {
    /// git's subcommand.
    pub fn subcommand(self) -> &'static str {
        match self {
            Service::ReceivePack => "receive-pack",
            Service::UploadPack => "upload-pack",
        }
    }
}

/// Reads `git-receive-pack 'shop.git'` and its like. Quotes, a leading slash and the ending are optional; nothing is
/// ever unescaped or expanded.
pub fn parse(bytes: &[u8]) -> Result<GitCommand, CommandError> {
    if bytes.len() > MAX_LENGTH {
        return Err(CommandError::NotGit);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| CommandError::NotGit)?;
    let (service, rest) = service(text).ok_or(CommandError::NotGit)?;
    let path = unquoted(rest);
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = name.strip_suffix(".git").unwrap_or(name);
    let app = name.parse().map_err(|error: model::name::NameError| {
        CommandError::Repository(format!("an app's name has {}", error.rule()))
    })?;
    Ok(GitCommand { service, app })
}

fn service(text: &str) -> Option<(Service, &str)> {
    [
        ("git-receive-pack ", Service::ReceivePack),
        ("git receive-pack ", Service::ReceivePack),
        ("git-upload-pack ", Service::UploadPack),
        ("git upload-pack ", Service::UploadPack),
    ]
    .iter()
    .find_map(|(start, service)| text.strip_prefix(start).map(|rest| (*service, rest)))
}

fn unquoted(text: &str) -> &str {
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

/// Whether a client's `GIT_PROTOCOL` is one git itself would send: words, versions, colons.
pub fn is_git_protocol(value: &str) -> bool {
    (1..=64).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"=:.-".contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gits_own_spellings_are_understood() {
        for (text, service) in [
            ("git-receive-pack 'shop.git'", Service::ReceivePack),
            ("git-receive-pack '/shop.git'", Service::ReceivePack),
            ("git receive-pack 'shop'", Service::ReceivePack),
            ("git-upload-pack \"shop.git\"", Service::UploadPack),
            ("git-upload-pack shop.git", Service::UploadPack),
        ] {
            let command = parse(text.as_bytes()).unwrap();
            assert_eq!((command.service, command.app.as_str()), (service, "shop"), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "sh",
            "git-receive-pack",
            "git-receive-pack ",
            "git-shell -c x",
            "scp -t /",
            "git-receive-pack 'shop.git'; id",
            "git-receive-pack '../shop.git'",
            "git-receive-pack 'a/../b.git'",
            "git-receive-pack '$(id).git'",
            "git-receive-pack --help",
            "git-receive-pack 'shop.git' 'x'",
            "git-receive-pack ''shop.git''",
            "git-receive-pack '//shop.git'",
            "git-upload-archive 'shop.git'",
            "git-receive-pack 'shop.git\n'",
            "git-receive-pack 'Shop.git'",
            "git-receive-pack '-x.git'",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"git-receive-pack '\xff.git'").is_err());
        assert!(parse(&[b'a'; MAX_LENGTH + 1]).is_err());
    }

    #[test]
    fn only_plain_protocol_versions_reach_git() {
        assert!(is_git_protocol("version=2") && is_git_protocol("version=2:object-format=sha1"));
        for wrong in ["", "version=2\n", "$(id)", "a b"] {
            assert!(!is_git_protocol(wrong), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_names_a_plain_folder(text in "git-(receive|upload)-pack '?[a-z./$ ;'-]{0,20}'?") {
            if let Ok(command) = parse(text.as_bytes()) {
                let name = command.app.as_str();
                prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            }
        }
    }
}
