//! The public API: JSON under `/v1`. One type per request or answer; times are RFC 3339 text.
//!
//! A change that units must follow (config, scale, restart, rollback ...) is answered with a
//! [`Change`] as soon as it is durable; `GET /v1/apps/{app}/rollout?generation=N` then streams
//! [`RolloutEvent`]s over SSE and ends with `live` or `failed`. It may be asked again at any time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Problem;

/// The header of an answer made from what one controller remembers while the cluster has no quorum: it may be old.
pub const STALE_HEADER: &str = "trireme-stale";

/// `GET /v1/info`: facts anybody may know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    /// Platform version.
    pub version: String,
    /// Apps answer at `<app>.<domain>`.
    pub domain: String,
    /// Base of git remotes: `ssh://git@localhost:2222`; the app's is `<base>/<app>.git`.
    pub git_remote_base: String,
    /// Port of the router's HTTP side.
    pub http_port: u16,
    /// Port of the router's HTTPS side.
    pub https_port: u16,
    /// Whether anybody may register now.
    pub registration_open: bool,
}

/// `POST /v1/auth/register`. Answer: [`Session`].
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Registration {
    /// Wanted name.
    pub username: String,
    /// At least 8 characters.
    pub password: String,
    /// May be empty.
    #[serde(default)]
    pub email: String,
}

/// `POST /v1/auth/login`. Answer: [`Session`].
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Login {
    /// Name.
    pub username: String,
    /// Password.
    pub password: String,
    /// What the token is for, shown in the token list.
    #[serde(default)]
    pub label: String,
}

/// A new token. The only time its secret is shown.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Whose.
    pub username: String,
    /// Sent as `Authorization: Bearer <token>`.
    pub token: String,
    /// Its id in the token list.
    pub id: String,
}

/// `GET /v1/auth/whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// Name.
    pub username: String,
    /// Address.
    pub email: String,
    /// Administrator.
    pub is_admin: bool,
    /// Scope of the token in use: `read`, `deploy`, `full`.
    pub scope: String,
}

/// `POST /v1/auth/passwd`. Revokes all other tokens of the user.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct PasswordChange {
    /// Current password; not needed when an administrator changes another's.
    #[serde(default)]
    pub current: String,
    /// New password.
    pub new: String,
    /// Whose; empty: one's own.
    #[serde(default)]
    pub username: String,
}

/// `POST /v1/auth/tokens`. Answer: [`Session`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// What it is for.
    pub label: String,
    /// `read`, `deploy` or `full`.
    pub scope: String,
    /// Days until it ends; none: when revoked.
    pub expires_days: Option<u32>,
}

/// One line of `GET /v1/auth/tokens`; `DELETE /v1/auth/tokens/{id}` revokes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// Id.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Scope.
    pub scope: String,
    /// When made.
    pub created: String,
    /// When it ends.
    pub expires: Option<String>,
    /// Whether it is the one in use.
    pub current: bool,
}

/// `GET /v1/users` (administrators).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserInfo {
    /// Name.
    pub username: String,
    /// Address.
    pub email: String,
    /// Administrator.
    pub is_admin: bool,
    /// When made.
    pub created: String,
}

/// `PUT /v1/settings/registration` (administrators). Answer: the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistrationSetting {
    /// Whether anybody may register.
    pub open: bool,
}

/// `POST /v1/keys`. Answer: [`KeyInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewKey {
    /// Name; empty: the key's comment.
    #[serde(default)]
    pub name: String,
    /// One line in OpenSSH form.
    pub public_key: String,
}

/// One line of `GET /v1/keys`; `DELETE /v1/keys/{name}` removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyInfo {
    /// Name.
    pub name: String,
    /// `SHA256:...`.
    pub fingerprint: String,
    /// `ssh-ed25519`, ...
    pub algorithm: String,
    /// When added.
    pub created: String,
}

/// `POST /v1/apps`. Answer: [`AppInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewApp {
    /// Wanted name; none: generated.
    pub name: Option<String>,
}

/// `GET /v1/apps` (a list) and `GET /v1/apps/{app}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppInfo {
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: String,
    /// Other users who may operate it.
    pub collaborators: Vec<String>,
    /// When created.
    pub created: String,
    /// Where it answers.
    pub url: String,
    /// Where it is pushed to.
    pub git_remote: String,
    /// The one branch that deploys; none: `master` or `main`.
    pub deploy_branch: Option<String>,
    /// Maintenance page on.
    pub maintenance: bool,
    /// Release in force, `v7`.
    pub release: Option<String>,
    /// Release being rolled out.
    pub deploying: Option<String>,
    /// Units wanted by type.
    pub formation: BTreeMap<String, u32>,
    /// Own host names.
    pub domains: Vec<String>,
}

/// `POST /v1/apps/{app}/transfer`. Answer: [`AppInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transfer {
    /// New owner.
    pub to: String,
}

/// `POST /v1/apps/{app}/perms`; `GET` lists names; `DELETE .../perms/{user}` removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewCollaborator {
    /// Who.
    pub username: String,
}

/// `PUT /v1/apps/{app}/maintenance`. Answer: [`AppInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Maintenance {
    /// On or off.
    pub on: bool,
}

/// `PUT /v1/apps/{app}/deploy-branch`. Answer: [`AppInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeployBranch {
    /// The branch; none: `master` or `main`.
    pub branch: Option<String>,
}

/// Answer (202) of everything units must follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// What to follow at `/v1/apps/{app}/rollout?generation=`.
    pub generation: u64,
    /// The release made by it, `v8`.
    pub release: Option<String>,
    /// False when nothing differs from what is: nothing to follow.
    pub changed: bool,
}

/// One event of a rollout, the data of an SSE message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum RolloutEvent {
    /// Something moved, or is waited for.
    Progress {
        /// "web.1 is ready", "waiting: no node has 512 MiB free".
        text: String,
    },
    /// The new state was seen serving. Last event.
    Live {
        /// Release in force.
        release: Option<String>,
    },
    /// It was given up. Last event.
    Failed {
        /// Why.
        problem: Problem,
    },
}

/// `GET /v1/apps/{app}/config`. Values are `null` unless `?reveal=true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Config {
    /// Values by name.
    pub values: BTreeMap<String, Option<String>>,
}

/// `PATCH /v1/apps/{app}/config`. Answer: [`Change`].
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ConfigPatch {
    /// To set.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// To remove.
    #[serde(default)]
    pub unset: Vec<String>,
}

/// `POST /v1/apps/{app}/scale`. Answer: [`Change`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScaleRequest {
    /// Units wanted by type; types not named stay as they are.
    pub counts: BTreeMap<String, u32>,
}

/// `POST /v1/apps/{app}/scale/plan`, asked with a [`ScaleRequest`]: what it would do. Nothing is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScalePlan {
    /// Units that would start.
    pub starts: Vec<PlannedUnit>,
    /// Units that would stop.
    pub stops: Vec<PlannedUnit>,
    /// Units of lower classes, of any app, that would stop to make room.
    pub preempts: Vec<PlannedUnit>,
    /// What would wait, and why.
    pub waits: Vec<String>,
    /// What a production app would not survive: the loss of this node.
    pub beyond_reserve: Option<String>,
}

/// One unit in a [`ScalePlan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedUnit {
    /// Whose.
    pub app: String,
    /// `web.2`.
    pub name: String,
    /// Where.
    pub node: String,
}

/// `GET /v1/apps/{app}/placement`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Placement {
    /// `production`, `standard` or `preview`.
    pub class: String,
    /// By type.
    pub types: BTreeMap<String, TypePlacement>,
}

/// Where the units of one type may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TypePlacement {
    /// Labels a node must have.
    pub tags: BTreeMap<String, String>,
    /// Whether there are never two of one number at a time.
    pub exclusive: bool,
}

/// `PATCH /v1/apps/{app}/placement`: types not named stay as they are. Answer: [`Change`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlacementPatch {
    /// By type.
    pub types: BTreeMap<String, TypePlacementPatch>,
}

/// What changes of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TypePlacementPatch {
    /// Labels to ask for; null: not any more.
    #[serde(default)]
    pub tags: BTreeMap<String, Option<String>>,
    /// Whether it is exclusive; absent: as it is.
    #[serde(default)]
    pub exclusive: Option<bool>,
}

/// `PUT /v1/apps/{app}/class`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppClass {
    /// `production`, `standard` or `preview`.
    pub class: String,
}

/// `GET /v1/cluster/capacity`: what the cluster would survive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Capacity {
    /// Each loss of one node and, in small clusters, of two.
    pub losses: Vec<LossInfo>,
}

/// Nodes lost together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LossInfo {
    /// The nodes.
    pub nodes: Vec<String>,
    /// Production apps of which some unit would wait.
    pub production: Vec<String>,
    /// Other apps of which some unit would wait.
    pub others: Vec<String>,
}

/// `POST /v1/apps/{app}/restart`, `/stop`, `/start`. Answer: [`Change`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessSelection {
    /// Types; empty: all.
    #[serde(default)]
    pub processes: Vec<String>,
}

/// One unit in `GET /v1/apps/{app}/ps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnitInfo {
    /// `web.2`.
    pub name: String,
    /// Type.
    pub process: String,
    /// `v7`.
    pub release: String,
    /// `starting`, `ready`, `backoff`, `draining`, `waiting` ...
    pub state: String,
    /// Since when.
    pub since: Option<String>,
    /// Node.
    pub node: Option<String>,
    /// How often started again.
    pub restarts: u32,
    /// Why it waits or how it last failed.
    pub reason: Option<String>,
}

/// `GET /v1/apps/{app}/ps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Processes {
    /// Units wanted by type, stopped types included.
    pub formation: BTreeMap<String, ProcessFormation>,
    /// Units there are.
    pub units: Vec<UnitInfo>,
}

/// One type in [`Processes`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessFormation {
    /// Units wanted.
    pub count: u32,
    /// Stopped by `ps:stop`.
    pub stopped: bool,
    /// Its command as the Procfile has it; none: the image's own.
    pub command: Option<String>,
    /// Why units are missing, if they are.
    pub waiting: Option<String>,
}

/// `GET /v1/apps/{app}/releases` (a list, newest first) and `/releases/{n}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseInfo {
    /// `v7`.
    pub release: String,
    /// `deploying`, `succeeded`, `failed`.
    pub state: String,
    /// Whether it is in force.
    pub current: bool,
    /// What changed.
    pub summary: String,
    /// When made.
    pub created: String,
    /// By whom.
    pub created_by: String,
    /// Image by digest.
    pub image: Option<String>,
    /// Commit.
    pub commit: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Names of its variables.
    pub config_keys: Vec<String>,
    /// Its process types and commands.
    pub processes: BTreeMap<String, Option<String>>,
}

/// `POST /v1/apps/{app}/rollback`. Answer: [`Change`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rollback {
    /// `v3`; none: the last one that succeeded before the one in force.
    pub to: Option<String>,
}

/// `GET /v1/apps/{app}/limits` and, with only what shall change, `PATCH` (answer: [`Change`]).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitsByProcess {
    /// By type.
    pub limits: BTreeMap<String, LimitsInfo>,
}

/// Limits of one type. In a patch: absent leaves, `"none"` removes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitsInfo {
    /// `512M`, `1G`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// `0.5`, `2`, `250m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
}

/// A health check in `GET /v1/apps/{app}/checks` (by type) and `PUT .../checks/{process}`;
/// `DELETE` returns to the default. Answers of both: [`Change`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckInfo {
    /// `http`, `tcp`, `exec`, `running`.
    pub kind: String,
    /// For `http`; default `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// For `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// For `http`: the Host header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// For `http`: `200`, `200-399` (default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// For `exec`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Seconds a new unit has to become ready; default 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<f64>,
    /// Seconds between checks; default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<f64>,
    /// Seconds an answer may take; default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// Successes until ready; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
    /// Failures until restarted; default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
}

/// `GET /v1/apps/{app}/checks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChecksByProcess {
    /// By type; defaults included.
    pub checks: BTreeMap<String, CheckInfo>,
}

/// `POST /v1/apps/{app}/volumes`. Answer: [`VolumeInfo`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewVolume {
    /// Name, unique in the app.
    pub name: String,
    /// The node it is made on; none: the one with the most free memory.
    #[serde(default)]
    pub node: Option<String>,
}

/// `PATCH /v1/apps/{app}/volumes/{volume}`: types not named stay as they are. Answer: [`Change`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeMounts {
    /// By type, where its units mount the volume; null: not any more.
    pub mounts: BTreeMap<String, Option<String>>,
}

/// One line of `GET /v1/apps/{app}/volumes`; `DELETE .../volumes/{volume}?confirm={volume}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeInfo {
    /// Name.
    pub name: String,
    /// The one node its data is on, and its units run on.
    pub node: String,
    /// `ready`, or why units cannot start there now.
    pub state: String,
    /// By type, where its units mount it.
    pub mounts: BTreeMap<String, String>,
    /// When it was made.
    pub created: String,
}

/// `POST /v1/apps/{app}/domains` (answer: [`DomainInfo`]); `DELETE .../domains/{host}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewDomain {
    /// Host name, wildcard allowed.
    pub host: String,
}

/// One line of `GET /v1/apps/{app}/domains`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainInfo {
    /// Host name.
    pub host: String,
    /// When bound.
    pub created: String,
    /// Name of the certificate that serves it; none: the platform's.
    pub certificate: Option<String>,
}

/// `POST /v1/apps/{app}/certs`. Answer: [`CertificateInfo`]. A known name is replaced.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct NewCertificate {
    /// Name.
    pub name: String,
    /// Chain, leaf first, PEM.
    pub chain_pem: String,
    /// Key, PEM; must match the leaf.
    pub key_pem: String,
}

/// One line of `GET /v1/apps/{app}/certs`; `DELETE .../certs/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateInfo {
    /// Name.
    pub name: String,
    /// Host names it is valid for.
    pub hosts: Vec<String>,
    /// When it ends.
    pub not_after: String,
}

/// One line of `GET /v1/apps/{app}/logs?lines=&follow=&process=&since=` (SSE; ends by itself
/// unless `follow=true`; `since` is RFC 3339).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When written.
    pub at: String,
    /// `web.2`, `build`, `platform`, `run.x1`.
    pub process: String,
    /// `stdout`, `stderr` or empty.
    pub stream: String,
    /// The line.
    pub text: String,
}

/// First text frame of the websocket `GET /v1/apps/{app}/run`. Then: binary frames from the client
/// are stdin; text frames are [`RunControl`]. From the server: binary frames with a first byte of
/// 1 (stdout) or 2 (stderr); a last text frame is [`RunEnd`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunRequest {
    /// The argument list, never split or joined by a shell.
    pub command: Vec<String>,
    /// Allocate a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Terminal rows.
    #[serde(default)]
    pub rows: u32,
    /// Terminal columns.
    #[serde(default)]
    pub columns: u32,
    /// Extra environment for this run.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Start it and return; its output goes to the app's log.
    #[serde(default)]
    pub detach: bool,
}

/// A text frame from the client during a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "control")]
pub enum RunControl {
    /// The terminal changed its size.
    Resize {
        /// Rows.
        rows: u32,
        /// Columns.
        columns: u32,
    },
    /// No more input.
    CloseStdin,
}

/// The last text frame of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum RunEnd {
    /// It ended by itself.
    Exit {
        /// Its code.
        code: i32,
    },
    /// Started detached; `paasctl logs --ps <name>` shows its output.
    Detached {
        /// `run.x1`.
        name: String,
    },
    /// It could not be run.
    Problem {
        /// Why.
        problem: Problem,
    },
}

/// `GET /v1/cluster` (administrators): what `clusterctl status` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// Version of this controller.
    pub version: String,
    /// Nodes heard.
    pub nodes: Vec<NodeInfo>,
    /// Routers heard.
    pub routers: Vec<RouterInfo>,
    /// Apps.
    pub apps: u32,
    /// Units.
    pub units: u32,
    /// What cannot be done now, and why.
    pub waiting: Vec<String>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeInfo {
    /// Name.
    pub name: String,
    /// `ready`, `silent`, or what is wrong.
    pub state: String,
    /// Memory units may reserve.
    pub memory_bytes: u64,
    /// Memory reserved.
    pub reserved_bytes: u64,
    /// Units placed here.
    pub units: u32,
    /// Free disk.
    pub disk_free_bytes: u64,
}

/// One router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouterInfo {
    /// Node.
    pub node: String,
    /// `ready`, `silent`, `behind`.
    pub state: String,
    /// Table version.
    pub version: u64,
}

/// `POST /v1/cluster/tokens` (administrators).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewJoinToken {
    /// For how long it can be used; 60 when absent.
    #[serde(default)]
    pub minutes: Option<u32>,
    /// The removed node whose labels the machine that comes with it shall have.
    #[serde(default)]
    pub replaces: Option<String>,
}

/// The right to join the cluster, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinSecret {
    /// Shown this once.
    pub secret: String,
    /// Until when it can be used.
    pub expires: String,
    /// Whether the machine that comes with it shall control too: the node it replaces did.
    pub control: bool,
}

/// `GET /v1/cluster/store` (administrators): the members of the store, as the controller that is asked remembers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreInfo {
    /// For how long that controller has been without a quorum; absent while there is one.
    pub without_quorum_ms: Option<u64>,
    /// All of them.
    pub members: Vec<StoreMember>,
}

/// One member of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreMember {
    /// Its node, or its address where no node is known of it.
    pub node: String,
    /// Where the others reach it, `host:port`.
    pub address: String,
    /// It is the one beside the controller that is asked.
    pub is_here: bool,
}

/// `POST /v1/cluster/recovery` (administrators): the store is one member's own now; the others are gone for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recovery {
    /// Chosen by the caller; asked again for the same one, nothing more is done.
    pub operation: String,
    /// Who does it, for the record.
    pub story: String,
    /// The nodes that are gone.
    pub dead: Vec<String>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recovered {
    /// Under which the cluster goes on.
    pub incarnation: String,
}

/// `POST /v1/cluster/join`: a machine asks to become a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinRequest {
    /// Of the token.
    pub secret: String,
    /// The name it wants.
    pub node: String,
    /// The address at which the other nodes reach it.
    pub address: String,
    /// Its parts, each `host:port`.
    pub addresses: NodeAddresses,
    /// Where the store's other members will reach its member, `https://host:port`; none on a node that only runs apps.
    pub store_peer: Option<String>,
    /// What its clock shows, in milliseconds since the epoch.
    pub now_ms: u64,
    /// A signing request (PEM) for each certificate it needs: `agent`, `router`, `api`, ...
    pub requests: std::collections::BTreeMap<String, String>,
}

/// Where the parts of a node are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeAddresses {
    /// Its agent.
    pub agent: String,
    /// Its logger.
    pub logger: String,
    /// Its registry's side for the other parts.
    pub registry: String,
    /// Its controller's gateway; none on a node that only runs apps.
    pub gateway: Option<String>,
}

/// A machine has become a node. Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    /// The domain below which apps answer.
    pub domain: String,
    /// Whom all parts trust, PEM.
    pub ca_pem: String,
    /// The certificates (PEM) by the names they were asked for.
    pub certificates: std::collections::BTreeMap<String, String>,
    /// The gateways of the cluster's controllers.
    pub gateways: Vec<String>,
    /// What only a node with a controller gets.
    pub control: Option<JoinedControl>,
}

/// What makes a node one that controls. Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinedControl {
    /// The key under which the controllers seal, hex.
    pub seal_key: String,
    /// Whom members of the store trust among themselves, PEM.
    pub store_peer_ca_pem: String,
    /// Whom members of the store and controllers trust, PEM.
    pub store_client_ca_pem: String,
    /// The members of the store, the new one included: `name=url,...`.
    pub store_members: String,
}

/// `GET /v1/nodes` (administrators): one node of the cluster, heard or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeDetail {
    /// Name.
    pub name: String,
    /// `ready`, `suspect`, `lost`, or what is wrong with it.
    pub state: String,
    /// `open`, `cordoned`, `draining`.
    pub duty: String,
    /// Whether a controller and a member of the store run on it.
    pub control: bool,
    /// Given by operators.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Where its parts are reached.
    pub addresses: NodeAddresses,
    /// When it came into the cluster.
    pub joined: String,
    /// How long ago it was heard; absent when never.
    pub heard_ms_ago: Option<u64>,
    /// Memory units may reserve.
    pub memory_bytes: u64,
    /// Memory reserved.
    pub reserved_bytes: u64,
    /// CPU in thousandths of a core.
    pub cpu_millis: u32,
    /// Free disk.
    pub disk_free_bytes: u64,
    /// The version of its programs; empty when it was not heard.
    pub version: String,
    /// How far its clock is ahead of the cluster's.
    pub clock_ahead_ms: i64,
    /// Units placed here.
    pub units: u32,
    /// Units that run here although the cluster, which was recovered or restored, does not know them; and until when.
    #[serde(default)]
    pub left_running: std::collections::BTreeMap<String, String>,
}

/// `PATCH /v1/nodes/{node}` (administrators).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeChange {
    /// Labels to set; `null` takes one away.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, Option<String>>,
    /// `open`, `cordoned` or `draining`.
    #[serde(default)]
    pub duty: Option<String>,
}
