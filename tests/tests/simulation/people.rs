//! People who create apps, push, scale, configure, restart and destroy, through any controller, the way the API does it.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent::runtime::fake::FakeRuntime;
use controller::change::config::{configure, difference};
use controller::change::release::{deploy, rollback};
use controller::change::scale::{PlacementPatch, restart, scale, set_placement, set_stopped};
use controller::change::settings::{Limit, LimitsPatch, set_check, set_limits};
use controller::change::volumes::mount;
use controller::change::{Asked, Decision, Next, Refusal};
use controller::records::{CommitError, Document, ReadError, Write};
use model::app::{App, Class};
use model::name::{AppName, EnvKey, MountPath, ProcessType, ReleaseNumber, VolumeName};
use model::node::NodeSpec;
use model::release::{Build, Check, Command, Release};
use model::time::Time;
use model::volume::Volume;

use crate::brain::{Ground, Life};
use crate::dice::Dice;
use crate::host::name;
use crate::operators::{LABEL, ZONES};

/// How often a lost race is tried anew; as the API does.
pub const WRITE_ATTEMPTS: usize = 8;

/// How an image turns out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// It starts and is well.
    Good,
    /// It starts and fails its check.
    Unhealthy,
    /// It ends as soon as it is started.
    Crashing,
    /// No registry has it.
    Missing,
    /// Its command cannot be started.
    Unstartable,
}

/// What somebody asks for.
#[derive(Debug, Clone)]
pub enum Act {
    /// A new app, with a check that does not take a minute.
    Create,
    /// A push of a build.
    Push { build: u64, quality: Quality, has_worker: bool, has_release: bool },
    /// Counts.
    Scale(BTreeMap<ProcessType, u32>),
    /// A variable.
    Set(u64),
    /// New units for all.
    Restart,
    /// All types off or on.
    Stop(bool),
    /// More or less memory.
    Limits(u64),
    /// Where a type may run, and whether never twice.
    Place { process: ProcessType, zone: Option<&'static str>, exclusive: bool },
    /// A folder on a node that a type mounts, made there if there is none yet; none: it goes, and nothing mounts it.
    Keep { process: ProcessType, node: Option<usize> },
    /// What goes first.
    Classify(Class),
    /// Back to the release before.
    Rollback,
    /// The app and all it owns.
    Destroy,
}

/// Why it was not done, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The rules refuse it.
    #[error("{0:?}")]
    Refused(Refusal),
    /// There is no such app, or there is one already.
    #[error("no such app, or one already")]
    Name,
    /// The store.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The store.
    #[error("{0}")]
    Commit(#[from] CommitError),
}

/// A type's name.
pub fn process(name: &str) -> ProcessType {
    name.parse().expect("a type's name")
}

impl Act {
    /// Something somebody may ask for.
    pub fn any(dice: &mut Dice, bad_images: bool) -> Act {
        match dice.below(100) {
            0..30 => {
                let quality = match dice.below(if bad_images { 12 } else { 1 }) {
                    8 => Quality::Unhealthy,
                    9 => Quality::Crashing,
                    10 => Quality::Missing,
                    11 => Quality::Unstartable,
                    _ => Quality::Good,
                };
                let (has_worker, has_release) = (dice.percent(40), dice.percent(25));
                Act::Push { build: dice.below(1 << 40), quality, has_worker, has_release }
            }
            30..60 => {
                let mut counts = BTreeMap::from([(process("web"), dice.below(5) as u32)]);
                if dice.percent(30) {
                    counts = BTreeMap::from([(process("worker"), dice.below(4) as u32)]);
                }
                Act::Scale(counts)
            }
            60..68 => Act::Set(dice.below(5)),
            68..74 => Act::Restart,
            74..78 => Act::Stop(dice.percent(40)),
            78..82 => Act::Limits(*dice.pick(&[32, 64, 128, 256])),
            82..87 => Act::Place {
                process: process(if dice.percent(60) { "worker" } else { "web" }),
                zone: dice.percent(25).then(|| *dice.pick(&ZONES)),
                exclusive: dice.percent(60),
            },
            87..89 => Act::Keep {
                process: process(if dice.percent(60) { "worker" } else { "web" }),
                node: dice.percent(70).then(|| dice.below(3) as usize),
            },
            89..91 => {
                Act::Classify(*dice.pick(&[Class::Preview, Class::Standard, Class::Production]))
            }
            91..96 => Act::Rollback,
            _ => Act::Destroy,
        }
    }

    /// Asks for it through a controller.
    pub async fn ask(&self, app: &AppName, life: &Arc<Life>) -> Result<(), Failure> {
        match self {
            Act::Create => create(app, life).await,
            Act::Push { build, quality, has_worker, has_release } => {
                let build = image(app, *build, *quality, *has_worker, *has_release);
                change(app, life, |asked, _| deploy(asked, build.clone())).await
            }
            Act::Scale(counts) => change(app, life, |asked, _| scale(asked, counts)).await,
            Act::Set(value) => {
                let set = BTreeMap::from([("GREETING".to_owned(), value.to_string())]);
                change(app, life, |asked, _| {
                    let now = open(asked.current, life);
                    let sealed = difference(&now, &set, &[])?.map(|key, value| {
                        life.seal.seal(&format!("{app}/{key}"), value.as_bytes())
                    });
                    configure(asked, sealed)
                })
                .await
            }
            Act::Restart => change(app, life, |asked, _| restart(asked, &[])).await,
            Act::Stop(stopped) => {
                change(app, life, |asked, _| set_stopped(asked, &[], *stopped)).await
            }
            Act::Limits(megabytes) => {
                let patch = LimitsPatch {
                    memory_bytes: Limit::Set(megabytes << 20),
                    cpu_millis: Limit::Leave,
                };
                let patches = BTreeMap::from([(process("web"), patch)]);
                change(app, life, |asked, _| set_limits(asked, &patches)).await
            }
            Act::Place { process, zone, exclusive } => {
                let tags = BTreeMap::from([(LABEL.to_owned(), zone.map(str::to_owned))]);
                let patch = PlacementPatch { tags, exclusive: Some(*exclusive) };
                let patches = BTreeMap::from([(process.clone(), patch)]);
                change(app, life, |asked, _| set_placement(asked, &patches)).await
            }
            Act::Keep { process, node: Some(node) } => keep(app, life, process, *node).await,
            Act::Keep { node: None, .. } => give_up_volume(app, life).await,
            Act::Classify(class) => edit(app, life, |app| app.class = *class).await,
            Act::Rollback => change(app, life, |asked, all| rollback(asked, all, None)).await,
            Act::Destroy => destroy(app, life).await,
        }
    }
}

async fn create(app: &AppName, life: &Arc<Life>) -> Result<(), Failure> {
    let made = App::new(app.clone(), owner(), Time(life.clock.now_ms()));
    match life.records.commit(Write::new().create(&made)).await {
        Ok(_) => life.wake.kick(),
        Err(CommitError::Conflict) => return Err(Failure::Name),
        Err(error) => return Err(error.into()),
    }
    // So that a bad release shows in seconds.
    let check = Check { grace_ms: 2_000, ..Check::default_for(&process("web")) };
    change(app, life, |asked, _| set_check(asked, &process("web"), Some(check.clone()))).await
}

async fn destroy(app: &AppName, life: &Arc<Life>) -> Result<(), Failure> {
    let now = Time(life.clock.now_ms());
    edit(app, life, |app| app.destroyed = Some(now)).await
}

/// Makes the one volume of the app, if it has none, and mounts it.
async fn keep(
    app: &AppName,
    life: &Arc<Life>,
    process: &ProcessType,
    node: usize,
) -> Result<(), Failure> {
    let key = format!("{}{}", NodeSpec::PREFIX, name(node));
    let spec = life.records.get_now::<NodeSpec>(&key).await?.ok_or(Failure::Name)?.value;
    if !spec.is_member() {
        return Err(Failure::Name);
    }
    let now = Time(life.clock.now_ms());
    let volume = Volume {
        id: format!("{app}-data-{}", now.0).parse().expect("a volume's id"),
        node: spec.name,
        created: now.max(spec.joined),
        mounts: BTreeMap::new(),
    };
    edit(app, life, |app| {
        app.volumes.entry(data()).or_insert_with(|| volume.clone());
    })
    .await?;
    let path: MountPath = "/data".parse().expect("a path");
    let mounts = BTreeMap::from([(process.clone(), Some(path))]);
    change(app, life, |asked, _| mount(asked, &data(), &mounts)).await
}

/// Takes the app's volume from all its types, and destroys it.
pub async fn give_up_volume(app: &AppName, life: &Arc<Life>) -> Result<(), Failure> {
    change(app, life, |asked, _| {
        let volumes = asked.app.volumes.values();
        let mounts = volumes.flat_map(|volume| volume.mounts.keys().cloned());
        let mounts: BTreeMap<_, _> = mounts.map(|process| (process, None)).collect();
        if mounts.is_empty() { Ok(None) } else { mount(asked, &data(), &mounts) }
    })
    .await?;
    edit(app, life, |app| {
        if let Ok((without, _)) = controller::change::volumes::destroy(app, &data()) {
            *app = without;
        }
    })
    .await
}

fn data() -> VolumeName {
    "data".parse().expect("a volume's name")
}

/// A change that is no new generation.
async fn edit(app: &AppName, life: &Arc<Life>, make: impl Fn(&mut App)) -> Result<(), Failure> {
    for _ in 0..WRITE_ATTEMPTS {
        let Some(read) = life.records.app(app).await? else { return Err(Failure::Name) };
        let (mut edited, revision) = (read.value, read.revision);
        if edited.destroyed.is_some() {
            return Err(Failure::Name);
        }
        make(&mut edited);
        match life.records.commit(Write::new().replace(&edited, revision)).await {
            Ok(_) => {
                life.wake.kick();
                return Ok(());
            }
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CommitError::Conflict.into())
}

async fn change(
    app: &AppName,
    life: &Arc<Life>,
    decide: impl Fn(Asked<'_>, &[Release]) -> Decision,
) -> Result<(), Failure> {
    for _ in 0..WRITE_ATTEMPTS {
        let Some(read) = life.records.app(app).await? else { return Err(Failure::Name) };
        if read.value.destroyed.is_some() {
            return Err(Failure::Name);
        }
        let all = life.records.list::<Release>(&controller::records::releases_prefix(app)).await?;
        let all: Vec<Release> = all.into_iter().map(|release| release.value).collect();
        let current = all.iter().find(|release| Some(release.number) == read.value.current);
        let now = Time(life.clock.now_ms());
        let by = owner();
        let asked = Asked { app: &read.value, current, by: &by, now };
        let Some(next) = decide(asked, &all).map_err(Failure::Refused)? else { return Ok(()) };
        match write(life, read.revision, &next).await {
            Ok(()) => {
                life.wake.kick();
                return Ok(());
            }
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CommitError::Conflict.into())
}

async fn write(life: &Arc<Life>, revision: u64, next: &Next) -> Result<(), CommitError> {
    let mut write = Write::new().replace(&next.app, revision);
    if let Some(release) = &next.release {
        write = write.create(release);
    }
    life.records.commit(write).await.map(|_| ())
}

fn owner() -> model::name::Username {
    "olga".parse().expect("a user's name")
}

fn open(current: Option<&Release>, life: &Arc<Life>) -> BTreeMap<EnvKey, String> {
    let config = current.into_iter().flat_map(|release| {
        release.config.iter().map(|(key, sealed)| (format!("{}/{key}", release.app), key, sealed))
    });
    let open = |place: &str, sealed| life.seal.open_text(place, sealed).expect("our own seal");
    config.map(|(place, key, sealed)| (key.clone(), open(&place, sealed))).collect()
}

/// A build; its image tells how it turns out.
pub fn image(
    app: &AppName,
    number: u64,
    quality: Quality,
    has_worker: bool,
    has_release: bool,
) -> Build {
    let line = |line: &str| Some(Command(vec![line.to_owned()]));
    let mut processes = BTreeMap::from([(process("web"), None)]);
    if has_worker {
        processes.insert(process("worker"), line("work"));
    }
    if has_release {
        processes.insert(process("release"), line("migrate"));
    }
    let image = format!("{app}@sha256:{number}-{quality:?}");
    Build { image, commit: Some(number.to_string()), processes, exposed_port: None }
}

/// Tells every node how an image turns out there.
pub fn stock(image: &str, runtimes: &[FakeRuntime]) {
    for runtime in runtimes {
        match image.rsplit_once('-').map(|(_, quality)| quality) {
            Some("Unhealthy") => runtime.set_unhealthy_image(image, true),
            Some("Crashing") => runtime.set_ending_image(image, 1),
            Some("Unstartable") => runtime.set_unstartable(image, true),
            _ => {}
        }
    }
}

/// Whether units of a release can be well.
pub fn is_good(releases: &BTreeMap<String, Release>, app: &AppName, number: ReleaseNumber) -> bool {
    let key = controller::records::release_key(app, number);
    let build = releases.get(&key).and_then(|release| release.build.as_ref());
    build.is_none_or(|build| build.image.ends_with("Good"))
}

/// Where somebody asks.
pub struct Around {
    /// Through which controller, or on which machine a push is taken.
    pub controller: usize,
    /// Every node's containers.
    pub runtimes: Vec<FakeRuntime>,
    /// The cluster.
    pub ground: Ground,
}

/// Does it, and tells how it went.
pub async fn tell(act: Act, app: AppName, life: Arc<Life>, around: Around) {
    let trace = around.ground.trace;
    trace.say(format!("asked: {app} {act:?}"));
    if let Act::Push { build, quality, has_worker, has_release } = &act {
        let image = image(&app, *build, *quality, *has_worker, *has_release).image;
        stock(&image, &around.runtimes);
        let is_there = *quality == Quality::Missing
            || around.ground.registries.push(around.controller, &image);
        if !is_there {
            return trace.say(format!("not done: {app}: no other node takes a copy of {image}"));
        }
    }
    let stop = life.stop.clone();
    tokio::select! {
        biased;
        () = stop.wait() => {}
        done = act.ask(&app, &life) => match done {
            Ok(()) => trace.say(format!("done: {app} {act:?}")),
            Err(failure) => trace.say(format!("not done: {app} {act:?}: {failure}")),
        },
    }
}
