//! The documents of the REST interface under `/v1`, in one place for the server
//! that writes them and the client that reads them. The routes are in
//! `http/routes.rs`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::figures::ShardStatus;

/// Calls that were stopped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cancelled {
    /// How many.
    pub cancelled: u64,
}

/// An installed application.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Application {
    /// blake3 of the component, in base58.
    pub id: String,
    /// The name that it gives itself.
    pub name: String,
    /// The version that it gives itself.
    pub version: String,
    /// Size of the component.
    pub size_bytes: u64,
    /// When, in milliseconds since 1970.
    pub installed_unix_ms: u64,
    /// Which instance each call gets: `context` for one that has served the same context before,
    /// `never` for a fresh one.
    #[serde(default = "reuse_of_old_servers")]
    pub reuse: String,
    /// Its methods and what they take, where the whole of it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Value>,
}

fn reuse_of_old_servers() -> String {
    "context".to_owned()
}

/// What is to become of an application.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeApplication {
    /// As in [`Application::reuse`].
    pub reuse: String,
}

/// An upload that comes in pieces.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Upload {
    /// 32 random bytes in base58.
    pub id: String,
    /// The application that it is to be, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// How it is packed: `gzip`, `zstd` or `identity`.
    pub encoding: String,
    /// Bytes of it that are on disk; the next piece begins there.
    pub offset: u64,
    /// Bytes that will come, as they are packed, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When something came last, in milliseconds since 1970.
    pub used_unix_ms: u64,
    /// Why its file cannot be read, if it cannot: then it can only be ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// The most bytes of one piece.
    pub piece_bytes_max: u64,
}

/// All uploads that come in pieces.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Uploads {
    /// By id.
    pub uploads: Vec<Upload>,
}

/// All installed applications.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Applications {
    /// Oldest first.
    pub applications: Vec<Application>,
}

/// A context to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateContext {
    /// The application's id or name.
    pub application: String,
    /// A unique name, by which the context can be called, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Arguments of the application's init method: an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Box<serde_json::value::RawValue>>,
}

/// A context.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Context {
    /// 32 random bytes in base58.
    pub id: String,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The application that it runs.
    pub application: String,
    /// When it was made, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// How often its state has changed.
    pub version: u64,
    /// The digest of its state.
    pub root: String,
    /// Entries in its state.
    pub entries: u64,
    /// Bytes of keys and values in its state, with what the server has noted of it.
    pub bytes: u64,
    /// Its part of its shard, beside others. Servers that tell of none have none.
    #[serde(default = "weight_of_old_servers")]
    pub weight: u16,
    /// What of it is damaged, if it is out of service for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_service: Option<String>,
    /// The shard that owns it.
    pub shard: u16,
}

/// What a context is to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeContext {
    /// The application's id or name.
    pub application: String,
    /// Whether `before-upgrade` of the application that the context runs now is left out: if that
    /// hook fails, nothing else leads away from it.
    #[serde(default)]
    pub skip_before_upgrade: bool,
}

/// A context that runs what it was to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Upgraded {
    /// The context as it is now.
    pub context: Context,
    /// The application that it ran before: the same, if there was nothing to do.
    pub before: String,
    /// The schema version that its state was in before.
    pub schema_version_before: u64,
    /// The one that it is in now.
    pub schema_version: u64,
}

fn weight_of_old_servers() -> u16 {
    100
}

/// In the place of a method's name: all handlers that the server has called, for timers, the ends of
/// sent calls or events.
pub const TIMERS_ROW: &str = "(timers)";
/// The same: calls of methods that the application does not have.
pub const UNKNOWN_ROW: &str = "(unknown)";

/// What was counted of a context's calls, since it was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Statistics {
    /// The context.
    pub id: String,
    /// By name; methods that were never called are left out.
    pub methods: Vec<MethodStatistics>,
}

/// The same of one method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MethodStatistics {
    /// Its name, [`TIMERS_ROW`] or [`UNKNOWN_ROW`].
    pub method: String,
    /// What was counted.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What calls have come to. Times are in microseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    /// Calls that were answered.
    pub calls: u64,
    /// Those among them that failed.
    pub failures: Failures,
    /// Fuel spent.
    pub fuel: u64,
    /// The most that one call has spent.
    pub fuel_max: u64,
    /// Bytes of arguments.
    pub bytes_in: u64,
    /// Bytes of outputs.
    pub bytes_out: u64,
    /// Time from arrival at the shard to the answer, summed up. Calls that were refused have none.
    pub time_us: u64,
    /// What of it was spent before a turn began.
    pub waited_us: u64,
    /// Half of the calls took no longer, within a quarter; none if there was no call.
    pub p50_us: Option<u64>,
    /// The same of 99 of 100 calls.
    pub p99_us: Option<u64>,
    /// How many calls took how long: the least time of a bucket, and its calls. The next
    /// bucket begins a half or a third above it.
    pub times: Vec<(u64, u64)>,
}

/// How calls have failed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Failures {
    /// The application said no.
    pub application: u64,
    /// The guest trapped or did what it must not.
    pub trap: u64,
    /// A limit was reached: fuel, memory, time, size.
    pub limit: u64,
    /// Nothing has run, or not to its end: a full queue, the caller's mistake, an operator's word.
    pub refused: u64,
    /// The machine's fault, or the server's.
    pub server: u64,
}

impl Failures {
    /// All of them.
    pub fn all(&self) -> u64 {
        let Failures {
            application,
            trap,
            limit,
            refused,
            server,
        } = *self;
        [application, trap, limit, refused, server]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// The contexts in memory that have the most to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Busiest {
    /// When this was, in microseconds since the server's start.
    pub at_us: u64,
    /// Fuel that all contexts of the node have spent since the start.
    pub fuel: u64,
    /// How long what is recent has taken.
    pub recent_us: u64,
    /// All contexts in memory together, in the last ten to twenty seconds.
    pub recent: Sums,
    /// The same since each came into memory.
    pub in_memory: Sums,
    /// The busiest first.
    pub contexts: Vec<BusyContext>,
}

/// A few figures of all methods.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sums {
    /// Calls that were answered.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Fuel spent.
    pub fuel: u64,
    /// Time that the calls took, in microseconds.
    pub time_us: u64,
}

/// A context that has something to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BusyContext {
    /// Its id.
    pub id: String,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The application that it runs.
    pub application: String,
    /// The shard that owns it.
    pub shard: u16,
    /// Its part of that, beside others.
    pub weight: u16,
    /// In the last ten to twenty seconds.
    pub recent: Sums,
    /// Since it came into memory.
    pub in_memory: Sums,
    /// Since it was made.
    pub total: Figures,
    /// Calls that wait for their turn.
    pub waiting: u64,
    /// Linear memory of its warm instances.
    pub memory_bytes: u64,
}

/// What is to be changed of a context.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeContext {
    /// Its part of its shard, beside others.
    pub weight: u64,
}

/// A page of contexts, by id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Contexts {
    /// The contexts of this page.
    pub contexts: Vec<Context>,
    /// What to send as `after` for the next page; none on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A page of a context's events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Events {
    /// In their order, without gaps.
    pub events: Vec<Event>,
    /// Events that were asked for and are not kept any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// What to send as `after` to go on, now or later.
    pub next: u64,
    /// The context's newest event; 0 if there was none yet. If `next` is less, there are more.
    pub last: u64,
}

/// A durable event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// Counts the context's events: from 1 where the context was made, from a great number where it came out
    /// of a copy.
    pub sequence: u64,
    /// The change that it came with.
    pub delta_id: String,
    /// When, in milliseconds since 1970.
    pub time_unix_ms: u64,
    /// What happened, in the application's words.
    pub kind: String,
    /// The details, as the application gave them.
    pub payload: Box<serde_json::value::RawValue>,
}

/// Events that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first of them.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// What is left of the lines that a context's guests have logged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogLines {
    /// Oldest first.
    pub lines: Vec<LogLine>,
    /// What to send as `after` for what comes later.
    pub next: u64,
    /// Whether lines behind `after` may have been dropped; without `after`, whether any may that was
    /// logged since the server has started.
    pub cut: bool,
}

/// A line that a guest has logged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogLine {
    /// Grows from line to line, not without gaps.
    pub number: u64,
    /// When its call began, in milliseconds since 1970.
    pub time_unix_ms: u64,
    /// `error`, `warn`, `info` or `debug`.
    pub level: String,
    /// The method that was called; `init` of a new context.
    pub method: String,
    /// Whether the call succeeded: `ok` or `failed`. Nothing that a failed one did has happened.
    pub outcome: String,
    /// The text.
    pub message: String,
}

/// What a blob is known by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BlobRef {
    /// blake3 of its content, in base58.
    pub id: String,
    /// Bytes of its content.
    pub size: u64,
}

/// A blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Blob {
    /// blake3 of its content, in base58.
    pub id: String,
    /// Bytes of its content; none if its file is damaged so that nobody can tell.
    pub size: Option<u64>,
    /// When it was last uploaded or attached, in milliseconds since 1970.
    pub used_unix_ms: u64,
}

/// A page of blobs, by id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Blobs {
    /// The blobs of this page.
    pub blobs: Vec<Blob>,
    /// What to send as `after` for the next page; none on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A page of the blobs that a context has attached, by id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttachedBlobs {
    /// The blobs of this page.
    pub blobs: Vec<BlobRef>,
    /// What to send as `after` for the next page; none on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A page of the timers that a context has armed, by name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timers {
    /// The timers of this page.
    pub timers: Vec<Timer>,
    /// What to send as `after` for the next page; none on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Something that a context is to be called for later.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timer {
    /// Its name, unique in its context.
    pub name: String,
    /// The handler that is called.
    pub handler: String,
    /// What it is called with.
    pub args: Box<serde_json::value::RawValue>,
    /// When it runs next, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// From one run to the next in milliseconds, of a periodic one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// Attempts at that run which have failed.
    pub attempts: u32,
}

/// A page of the calls that a context has sent to others and that have not ended, by receiver and
/// in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SentCalls {
    /// The calls of this page.
    pub calls: Vec<SentCall>,
    /// What to send as `after` for the next page; none on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A call that a context has sent to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SentCall {
    /// Its name, unique in its context.
    pub name: String,
    /// The other context.
    pub to: String,
    /// The method that is called.
    pub method: String,
    /// What it is called with.
    pub args: Box<serde_json::value::RawValue>,
    /// The handler that is called when it has ended, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    /// When it was sent, in milliseconds since 1970.
    pub sent_unix_ms: u64,
    /// How many calls in a row were sent each by the one before it, with this one.
    pub depth: u32,
    /// Attempts at its callback which have failed.
    pub attempts: u32,
}

/// What handlers of a context have subscribed to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subscriptions {
    /// All of them, in the order in which they were made.
    pub subscriptions: Vec<Subscription>,
}

/// Subscriptions that were ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndedSubscriptions {
    /// How many.
    pub ended: u64,
}

/// A handler that is told of events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subscription {
    /// The context whose events they are.
    pub context: String,
    /// The handler that is told.
    pub handler: String,
    /// The kind of events, if it is for one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The number of the event up to which it was told; none if nobody has looked yet where it
    /// begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Attempts at telling it the next event which have failed.
    pub attempts: u32,
}

/// All that is known of a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BlobInfo {
    /// The blob.
    #[serde(flatten)]
    pub blob: Blob,
    /// Whether somebody uploads it, or is about to attach it.
    pub held: bool,
    /// The contexts that have attached it: the first 100.
    pub contexts: Vec<String>,
}

/// How the server is doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Whether new work is welcome.
    pub ready: bool,
    /// The program's version.
    pub version: String,
    /// This node.
    pub node_id: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Installed applications.
    pub applications: u64,
    /// The shards in order.
    pub shards: Vec<ShardStatus>,
}

/// Which program this is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Version {
    /// Always `corelet`.
    pub name: String,
    /// The program's version.
    pub version: String,
}
