//! Accounts: users, keys, tokens, and the one point that decides who may do what.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::name::Username;
use crate::time::Time;

/// A user. The password is stored as an argon2id hash only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Name.
    pub name: Username,
    /// Where notices go; may be empty.
    pub email: String,
    /// PHC string of the password hash.
    pub password_hash: String,
    /// Administrators may do everything.
    pub is_admin: bool,
    /// When the account was made.
    pub created: Time,
}

/// A public key that may push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshKey {
    /// Name given by its owner, unique per user.
    pub name: String,
    /// Whose it is.
    pub user: Username,
    /// `SHA256:...` fingerprint, unique in the cluster.
    pub fingerprint: String,
    /// The key in OpenSSH form, without its comment.
    pub public_key: String,
    /// When it was added.
    pub created: Time,
}

/// A bearer token; only its SHA-256 is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Shown to its owner, and used to revoke it.
    pub id: String,
    /// Whose it is.
    pub user: Username,
    /// What it was made for.
    pub label: String,
    /// SHA-256 of the secret, hex.
    pub secret_hash: String,
    /// What it may be used for.
    pub scope: Scope,
    /// When it was made.
    pub created: Time,
    /// When it ends; none means when revoked.
    pub expires: Option<Time>,
}

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Reads, secrets excepted.
    Read,
    /// Reads, deploys, scaling and configuration.
    Deploy,
    /// Everything its user may do.
    Full,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Nobody we know.
    Anonymous,
    /// A user, through a token.
    User {
        /// Who.
        name: Username,
        /// Whether an administrator.
        is_admin: bool,
        /// What the token allows.
        scope: Scope,
    },
}

/// What is asked for. One variant per kind of right, not per endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// Facts anybody may know: version, whether registration is open; logging in.
    Public,
    /// Make an account.
    Register,
    /// See one's own account.
    SeeSelf,
    /// Change one's own account: password, keys, tokens.
    ChangeSelf,
    /// Create an app, list one's own.
    CreateApp,
    /// List the apps one may see.
    ListApps,
    /// See an app: processes, releases, logs, names of variables.
    SeeApp,
    /// See the values of an app's variables.
    SeeSecrets,
    /// Deploy, scale, configure, restart, roll back, bind domains.
    OperateApp,
    /// Run a command in an app's container.
    RunInApp,
    /// Destroy, hand over, share.
    OwnApp,
    /// See nodes and the cluster's state; change the cluster.
    Administer,
}

/// What decides beside actor and right.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// The platform itself.
    Platform {
        /// Whether there is no user yet or registration is open.
        registration_open: bool,
    },
    /// An app.
    App(&'a App),
}

/// Proof that `authorize` said yes. Handlers ask for it; only `authorize` makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    user: Option<Username>,
    is_admin: bool,
}

impl Permit {
    /// Who was permitted; none for an anonymous right.
    pub fn user(&self) -> Option<&Username> {
        self.user.as_ref()
    }

    /// Whether an administrator.
    pub fn is_admin(&self) -> bool {
        self.is_admin
    }
}

/// Why the answer is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Log in first.
    #[error("authorize the request: no valid token was given")]
    LoginNeeded,
    /// The account has no right to it.
    #[error("authorize the request: the account has no right to it")]
    NotYours,
    /// The account has, the token has not.
    #[error("authorize the request: the token's scope does not cover it")]
    ScopeTooSmall,
    /// Registration is closed.
    #[error("authorize the request: registration is closed")]
    RegistrationClosed,
}

/// The one point that decides who may do what.
pub fn authorize(actor: &Actor, right: Right, resource: Resource<'_>) -> Result<Permit, Denied> {
    let Actor::User { name, is_admin, scope } = actor else {
        return anonymous(right, resource);
    };
    let permit = Permit { user: Some(name.clone()), is_admin: *is_admin };
    let allowed = match (right, resource) {
        (
            Right::Public | Right::SeeSelf | Right::ChangeSelf | Right::CreateApp | Right::ListApps,
            _,
        ) => true,
        (Right::Register, Resource::Platform { registration_open }) if registration_open => true,
        (Right::Register | Right::Administer, _) => *is_admin,
        (Right::OwnApp, Resource::App(app)) => *is_admin || app.owner == *name,
        (
            Right::SeeApp | Right::SeeSecrets | Right::OperateApp | Right::RunInApp,
            Resource::App(app),
        ) => *is_admin || app.owner == *name || app.collaborators.contains(name),
        (
            Right::SeeApp | Right::SeeSecrets | Right::OperateApp | Right::RunInApp | Right::OwnApp,
            Resource::Platform { .. },
        ) => false,
    };
    match (allowed, *scope >= least_scope(right)) {
        (true, true) => Ok(permit),
        (true, false) => Err(Denied::ScopeTooSmall),
        (false, _) if right == Right::Register => Err(Denied::RegistrationClosed),
        (false, _) => Err(Denied::NotYours),
    }
}

fn anonymous(right: Right, resource: Resource<'_>) -> Result<Permit, Denied> {
    let nobody = Permit { user: None, is_admin: false };
    match (right, resource) {
        (Right::Public, _) => Ok(nobody),
        (Right::Register, Resource::Platform { registration_open: true }) => Ok(nobody),
        (Right::Register, _) => Err(Denied::RegistrationClosed),
        _ => Err(Denied::LoginNeeded),
    }
}

fn least_scope(right: Right) -> Scope {
    match right {
        Right::Public | Right::SeeSelf | Right::ListApps | Right::SeeApp => Scope::Read,
        Right::OperateApp => Scope::Deploy,
        Right::Register
        | Right::ChangeSelf
        | Right::CreateApp
        | Right::SeeSecrets
        | Right::RunInApp
        | Right::OwnApp
        | Right::Administer => Scope::Full,
    }
}

/// All rights, for tables.
pub fn all_rights() -> BTreeSet<Right> {
    use Right::*;
    BTreeSet::from([
        Public, Register, SeeSelf, ChangeSelf, CreateApp, ListApps, SeeApp, SeeSecrets, OperateApp,
        RunInApp, OwnApp, Administer,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, is_admin: bool, scope: Scope) -> Actor {
        Actor::User { name: name.parse().unwrap(), is_admin, scope }
    }

    fn app() -> App {
        let mut app = App::new("shop".parse().unwrap(), "olga".parse().unwrap(), Time(0));
        app.collaborators.insert("carl".parse().unwrap());
        app
    }

    #[test]
    fn strangers_see_no_app() {
        let app = app();
        let stranger = user("sam", false, Scope::Full);
        for right in
            [Right::SeeApp, Right::SeeSecrets, Right::OperateApp, Right::RunInApp, Right::OwnApp]
        {
            assert_eq!(authorize(&stranger, right, Resource::App(&app)), Err(Denied::NotYours));
        }
    }

    #[test]
    fn collaborators_operate_but_do_not_own() {
        let app = app();
        let carl = user("carl", false, Scope::Full);
        assert!(authorize(&carl, Right::OperateApp, Resource::App(&app)).is_ok());
        assert_eq!(authorize(&carl, Right::OwnApp, Resource::App(&app)), Err(Denied::NotYours));
    }

    #[test]
    fn a_token_never_does_more_than_its_scope() {
        let app = app();
        let read = user("olga", false, Scope::Read);
        assert!(authorize(&read, Right::SeeApp, Resource::App(&app)).is_ok());
        for right in [Right::SeeSecrets, Right::OperateApp, Right::RunInApp, Right::OwnApp] {
            assert_eq!(authorize(&read, right, Resource::App(&app)), Err(Denied::ScopeTooSmall));
        }
        let deploy = user("olga", false, Scope::Deploy);
        assert!(authorize(&deploy, Right::OperateApp, Resource::App(&app)).is_ok());
        assert!(authorize(&deploy, Right::RunInApp, Resource::App(&app)).is_err());
    }

    #[test]
    fn nobody_gets_only_what_is_public() {
        let app = app();
        for right in all_rights() {
            let closed = authorize(
                &Actor::Anonymous,
                right,
                Resource::Platform { registration_open: false },
            );
            assert_eq!(closed.is_ok(), right == Right::Public, "{right:?}");
            let on_app = authorize(&Actor::Anonymous, right, Resource::App(&app));
            assert_eq!(on_app.is_ok(), right == Right::Public, "{right:?}");
        }
    }

    #[test]
    fn registration_closes() {
        let open = Resource::Platform { registration_open: true };
        let closed = Resource::Platform { registration_open: false };
        assert!(authorize(&Actor::Anonymous, Right::Register, open).is_ok());
        assert_eq!(
            authorize(&Actor::Anonymous, Right::Register, closed),
            Err(Denied::RegistrationClosed)
        );
        assert!(authorize(&user("root", true, Scope::Full), Right::Register, closed).is_ok());
        assert!(authorize(&user("olga", false, Scope::Full), Right::Register, closed).is_err());
    }
}
