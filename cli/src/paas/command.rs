//! Every command there is, by group, with its short names.

use clap::{CommandFactory, Parser, Subcommand};

use super::failure::Failure;
use super::{
    apps, auth, certs, checks, completion, config, domains, keys, limits, logs, maintenance, perms,
    placement, ps, releases, remotes, run, tokens, users, volumes,
};

/// The command line.
#[derive(Parser)]
#[command(
    name = "paasctl",
    disable_help_subcommand = true,
    subcommand_required = true,
    subcommand_help_heading = "Commands",
    override_usage = "paasctl COMMAND [ARGUMENTS]"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The whole grammar. For limits `-c` means the CPU, as people know it; the cluster is `--cluster` there.
pub fn grammar() -> clap::Command {
    let mut grammar = Cli::command();
    for name in ["limits:set", "limits:unset"] {
        grammar = grammar.mut_subcommand(name, |command| {
            command.mut_arg("cluster", |argument| argument.short(None))
        });
    }
    grammar
}

macro_rules! commands {
    ($($title:literal { $($name:literal $(| $alias:literal)* => $variant:ident($arguments:ty);)* })*) => {
        /// One command with its arguments.
        #[derive(Subcommand)]
        pub enum Command {
            $($(
                #[command(name = $name, visible_aliases = [$($alias),*] as [&str; _])]
                #[expect(missing_docs, reason = "the arguments' own text is shown as help")]
                $variant(Box<$arguments>),
            )*)*
        }

        /// Command names by title, in the order of the overview.
        pub const GROUPS: &[(&str, &[&str])] = &[$(($title, &[$($name),*])),*];

        impl Command {
            /// Does it.
            pub async fn run(self) -> Result<(), Failure> {
                match self { $($(Command::$variant(arguments) => arguments.run().await,)*)* }
            }
        }
    };
}

commands! {
    "Account" {
        "register" | "auth:register" => Register(auth::Register);
        "login" | "auth:login" => Login(auth::Login);
        "logout" | "auth:logout" => Logout(auth::Logout);
        "whoami" | "auth:whoami" => Whoami(auth::Whoami);
        "passwd" | "auth:passwd" => Passwd(auth::Passwd);
        "tokens:create" => TokensCreate(tokens::Create);
        "tokens:list" => TokensList(tokens::List);
        "tokens:remove" => TokensRemove(tokens::Remove);
        "keys:add" => KeysAdd(keys::Add);
        "keys:list" => KeysList(keys::List);
        "keys:remove" => KeysRemove(keys::Remove);
    }
    "Apps" {
        "apps:create" | "create" => AppsCreate(apps::Create);
        "apps:list" => AppsList(apps::List);
        "apps:info" | "info" => AppsInfo(apps::Info);
        "apps:open" | "open" => AppsOpen(apps::Open);
        "apps:branch" => AppsBranch(apps::Branch);
        "apps:transfer" => AppsTransfer(apps::Transfer);
        "apps:destroy" | "destroy" => AppsDestroy(apps::Destroy);
        "perms:list" => PermsList(perms::List);
        "perms:add" | "perms:create" => PermsAdd(perms::Add);
        "perms:remove" | "perms:delete" => PermsRemove(perms::Remove);
        "git:remote" => GitRemote(remotes::Add);
    }
    "Processes" {
        "ps:list" => PsList(ps::List);
        "ps:scale" | "scale" => PsScale(ps::Scale);
        "ps:restart" | "restart" => PsRestart(ps::Restart);
        "ps:stop" => PsStop(ps::Stop);
        "ps:start" => PsStart(ps::Start);
        "tags:list" => TagsList(placement::List);
        "tags:set" => TagsSet(placement::Set);
        "tags:unset" => TagsUnset(placement::Unset);
        "class:set" => ClassSet(placement::ClassSet);
        "exclusive:on" => ExclusiveOn(placement::ExclusiveOn);
        "exclusive:off" => ExclusiveOff(placement::ExclusiveOff);
        "volumes:list" => VolumesList(volumes::List);
        "volumes:create" => VolumesCreate(volumes::Create);
        "volumes:mount" => VolumesMount(volumes::Mount);
        "volumes:unmount" => VolumesUnmount(volumes::Unmount);
        "volumes:destroy" => VolumesDestroy(volumes::Destroy);
        "run" | "apps:run" => Run(run::Run);
        "logs" | "apps:logs" => Logs(logs::Logs);
    }
    "Settings of an app (each change is a release)" {
        "config:list" => ConfigList(config::List);
        "config:get" => ConfigGet(config::Get);
        "config:set" => ConfigSet(config::Set);
        "config:unset" => ConfigUnset(config::Unset);
        "config:pull" => ConfigPull(config::Pull);
        "config:push" => ConfigPush(config::Push);
        "limits:list" => LimitsList(limits::List);
        "limits:set" => LimitsSet(limits::Set);
        "limits:unset" => LimitsUnset(limits::Unset);
        "checks:list" => ChecksList(checks::List);
        "checks:set" => ChecksSet(checks::Set);
        "checks:unset" => ChecksUnset(checks::Unset);
        "releases:list" => ReleasesList(releases::List);
        "releases:info" => ReleasesInfo(releases::Info);
        "releases:rollback" | "rollback" => ReleasesRollback(releases::Rollback);
    }
    "Traffic" {
        "domains:list" => DomainsList(domains::List);
        "domains:add" => DomainsAdd(domains::Add);
        "domains:remove" => DomainsRemove(domains::Remove);
        "certs:list" => CertsList(certs::List);
        "certs:add" => CertsAdd(certs::Add);
        "certs:remove" => CertsRemove(certs::Remove);
        "maintenance:info" | "maintenance" => MaintenanceInfo(maintenance::Info);
        "maintenance:on" => MaintenanceOn(maintenance::On);
        "maintenance:off" => MaintenanceOff(maintenance::Off);
    }
    "Administrators" {
        "users:list" => UsersList(users::List);
        "users:delete" | "auth:cancel" => UsersDelete(users::Delete);
        "registration:open" => RegistrationOpen(users::OpenRegistration);
        "registration:close" => RegistrationClose(users::CloseRegistration);
    }
    "This program" {
        "completion" => Completion(completion::Completion);
        "version" => Version(completion::Version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_has_no_contradictions() {
        grammar().debug_assert();
    }
}
