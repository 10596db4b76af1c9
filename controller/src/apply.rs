//! Makes a plan true: each action one write that compares what it was decided from, and the leader's epoch.
//!
//! A lost race is stale, not an error: the next pass decides anew. Writes of units travel together where they can.

use std::collections::BTreeSet;

use model::app::{App, Outcome};
use model::name::AppName;
use model::snapshot::{Snapshot, Versioned};
use model::volume::{Doomed, Volume};
use store::StoreError;

use crate::history;
use crate::leader::Leader;
use crate::plan::Action;
use crate::records::{CommitError, Records, Write};

/// How many documents travel in one transaction; with the apps they depend on, half of what the store takes.
const GROUP: usize = 60;

/// Applies actions.
#[derive(Clone)]
pub struct Applier {
    /// Where to.
    pub records: Records,
    /// In whose name.
    pub leader: Leader,
}

/// What became of a plan's actions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The store's revision of the last write; 0: nothing was written.
    pub revision: u64,
    /// Actions written.
    pub done: usize,
    /// Actions that lost a race, or that the store refused.
    pub stale: usize,
    /// Changes that came to their end, to be told in the app's log.
    pub ended: Vec<(AppName, String)>,
}

impl Applier {
    /// Applies all that was decided from `snapshot`, but for apps to be forgotten.
    pub async fn apply(
        &self,
        actions: &[Action],
        snapshot: &Snapshot,
    ) -> Result<Applied, CommitError> {
        let mut applied = Applied::default();
        let (units, others): (Vec<&Action>, Vec<&Action>) = actions
            .iter()
            .filter(|action| !matches!(action, Action::ForgetApp(_)))
            .partition(|action| is_about_a_unit(action));
        for group in units.chunks(GROUP) {
            match self.commit(group, snapshot, &mut applied).await {
                // One that lost a race, or that the store refuses, keeps none of the others back.
                Err(error) if matches!(error, CommitError::Conflict) || is_refused(&error) => {
                    for action in group {
                        self.alone(action, snapshot, &mut applied).await?;
                    }
                }
                done => done?,
            }
        }
        for action in others {
            self.alone(action, snapshot, &mut applied).await?;
        }
        Ok(applied)
    }

    async fn alone(
        &self,
        action: &Action,
        snapshot: &Snapshot,
        applied: &mut Applied,
    ) -> Result<(), CommitError> {
        match self.commit(&[action], snapshot, applied).await {
            Err(CommitError::Conflict) => {
                applied.stale += 1;
                Ok(())
            }
            Err(error) if is_refused(&error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(?action, error, "the store refuses a decision");
                applied.stale += 1;
                Ok(())
            }
            done => done,
        }
    }

    async fn commit(
        &self,
        actions: &[&Action],
        snapshot: &Snapshot,
        applied: &mut Applied,
    ) -> Result<(), CommitError> {
        let mut write = self.leader.guard(Write::new());
        let (mut apps, mut homes) = (BTreeSet::new(), BTreeSet::new());
        for action in actions {
            if let Action::StartUnit(unit) = action
                && apps.insert(&unit.app)
                && let Some(app) = snapshot.apps.get(&unit.app)
            {
                write = write.require(&app.value, app.revision);
            }
            // Another machine of the name has not the data.
            if let Action::StartUnit(unit) = action
                && !unit.mounts.is_empty()
                && homes.insert(&unit.node)
                && let Some(spec) = snapshot.specs.get(&unit.node)
            {
                write = write.require(&spec.value, spec.revision);
            }
            write = add(write, action);
        }
        applied.revision = self.records.commit(write).await?.0;
        applied.done += actions.len();
        applied.ended.extend(actions.iter().filter_map(|action| ending(action)));
        Ok(())
    }

    /// Deletes all that a destroyed app owns, itself last.
    pub async fn forget(
        &self,
        app: &Versioned<App>,
        snapshot: &Snapshot,
    ) -> Result<u64, CommitError> {
        let name = &app.value.name;
        let owned = owned(name, snapshot);
        for group in owned.chunks(GROUP) {
            let mut write = self.leader.guard(Write::new()).require(&app.value, app.revision);
            for delete in group {
                write = delete(write);
            }
            self.records.commit(write).await?;
        }
        let write = self.leader.guard(Write::new()).delete(&app.value, app.revision);
        let write = write.remove(&history::key(name));
        let write = doomed(&app.value).iter().fold(write, Write::put);
        Ok(self.records.commit(write).await?.0)
    }
}

/// The volumes of a destroyed app, whose data goes with it.
fn doomed(app: &App) -> Vec<Doomed> {
    let of = |volume: &Volume| volume.doomed(&app.name);
    app.volumes.values().map(of).collect()
}

/// Whether the write itself is wrong: trying it again would not help.
fn is_refused(error: &CommitError) -> bool {
    matches!(error, CommitError::Store(StoreError::Invalid(_) | StoreError::TooLarge { .. }))
}

type Delete<'a> = Box<dyn Fn(Write) -> Write + Send + Sync + 'a>;

/// The deletion of each document an app owns.
fn owned<'a>(app: &AppName, snapshot: &'a Snapshot) -> Vec<Delete<'a>> {
    let mut all: Vec<Delete<'a>> = Vec::new();
    for domain in snapshot.domains.values().filter(|domain| domain.value.app == *app) {
        all.push(Box::new(|write| write.delete(&domain.value, domain.revision)));
    }
    for certificate in snapshot.certificates.values().filter(|owned| owned.value.app == *app) {
        all.push(Box::new(|write| write.delete(&certificate.value, certificate.revision)));
    }
    for release in snapshot.releases.values().filter(|release| release.value.app == *app) {
        all.push(Box::new(|write| write.delete(&release.value, release.revision)));
    }
    all
}

fn is_about_a_unit(action: &Action) -> bool {
    matches!(action, Action::StartUnit(_) | Action::MoveUnit(_) | Action::ForgetUnit(_))
}

fn add(write: Write, action: &Action) -> Write {
    match action {
        Action::KnowNode { spec, revision: None } => write.create(spec),
        Action::KnowNode { spec, revision: Some(revision) } => write.replace(spec, *revision),
        Action::StartUnit(unit) => write.create(unit),
        Action::MoveUnit(unit) => write.replace(&unit.value, unit.revision),
        Action::ForgetUnit(unit) => write.delete(&unit.value, unit.revision),
        Action::EndDeploy { app, release } => {
            write.replace(&app.value, app.revision).replace(&release.value, release.revision)
        }
        Action::Settle(app) => write.replace(&app.value, app.revision),
        Action::ForgetApp(app) => write.delete(&app.value, app.revision),
    }
}

/// What an app's log says of the end of a change.
fn ending(action: &Action) -> Option<(AppName, String)> {
    let (app, what) = match action {
        Action::EndDeploy { app, release } => (&app.value, release.value.number.to_string()),
        Action::Settle(app) => (&app.value, "the change".to_owned()),
        _ => return None,
    };
    let said = match &app.settled.outcome {
        Outcome::Live => format!("{what} is live"),
        Outcome::Failed { code, reason, .. } => format!("{what} failed ({code}): {reason}"),
    };
    Some((app.name.clone(), said))
}

#[cfg(test)]
mod tests;
