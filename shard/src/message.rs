//! What shards say to each other, and to whom they are asked by: plain owned
//! data.

use std::sync::Arc;

use bytes::Bytes;
use corelet_store::{
    AnswerKey, ApplicationId, ApplicationRecord, BlobId, ContextId, DeltaId, Hlc, NodeId, Reuse,
    Root, ShardId, VouchedDelta,
};
use corelet_wasm_host::{Answered, AttachedBlob, GuestSubscription, GuestTimer, Module};

use crate::asking::AskedQuery;
use crate::delivery::Delivered;
use crate::error::CallError;
use crate::events::EventsPage;
use crate::guest_log::GuestLines;
use crate::sends::{Outcome, Pair, SentCall, SentCallInfo, SentNumber};
use crate::statistics::{Busiest, BusyQuestion, ContextStatistics};
use crate::subscriptions::{Told, Wanted, WhichSubscriptions};
use crate::weight::Weight;

/// A call of one method of one context.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method's name.
    pub method: Bytes,
    /// A JSON object with one member per parameter, as it came in.
    pub args: Bytes,
    /// Who calls: the subject of the token.
    pub caller: Arc<str>,
    /// Under which key the answer is kept, if the caller has given one.
    pub key: Option<AnswerKey>,
}

/// A call's answer. An update's was durable before it was made.
#[derive(Clone, Debug)]
pub struct Reply {
    /// JSON, as the guest gave it.
    pub output: Bytes,
    /// The delta that the call became; none if it changed and told nothing.
    pub delta_id: Option<DeltaId>,
    /// The context's root: after the update, or as the query saw it.
    pub root: Root,
    /// Fuel that the turn has used.
    pub fuel_used: u64,
}

/// A context to be made.
#[derive(Clone, Debug)]
pub struct NewContext {
    /// The application that it runs.
    pub application: ApplicationId,
    /// A unique name, if it is to have one.
    pub name: Option<String>,
    /// Arguments of `init`: a JSON object.
    pub args: Bytes,
    /// Who makes it.
    pub caller: Arc<str>,
}

/// What a context is to run.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// The application.
    pub application: ApplicationId,
    /// Whether the one that it runs now is not told, which might fail and so hold it for ever.
    pub skips_before_upgrade: bool,
    /// Who says so.
    pub caller: Arc<str>,
}

/// A context that runs what it was to run.
#[derive(Clone, Debug)]
pub struct Upgraded {
    /// The context.
    pub context: ContextInfo,
    /// The application that it ran before: the same, if there was nothing to do.
    pub before: ApplicationId,
    /// The form that its state was in before, and the one that it is in now.
    pub schema_versions: (u64, u64),
}

/// What is known about a context.
#[derive(Clone, Debug)]
pub struct ContextInfo {
    /// Its id.
    pub id: ContextId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The application that it runs; [`UNKNOWN`](Self::UNKNOWN) if its record is damaged.
    pub application: ApplicationId,
    /// When it was made; zero if its record is damaged.
    pub created: Hlc,
    /// How often its state has changed.
    pub version: u64,
    /// The digest of its state.
    pub root: Root,
    /// Entries in its state.
    pub entries: u64,
    /// Bytes of keys and values in its state.
    pub bytes: u64,
    /// Its part of its shard, beside others; the default if what is kept of it is damaged.
    pub weight: Weight,
    /// What of it is damaged, if it is out of service for that.
    pub out_of_service: Option<Arc<str>>,
    /// The shard that owns it.
    pub shard: ShardId,
}

impl ContextInfo {
    /// In the place of an application of which nothing can be read.
    pub const UNKNOWN: ApplicationId = ApplicationId::from_bytes([0; 32]);
}

/// A change of the node's directory of applications and names.
#[derive(Clone, Debug)]
pub(crate) enum DirectoryChange {
    PutApplication(Arc<ApplicationRecord>),
    RemoveApplication(ApplicationId),
    PutName { name: Arc<str>, context: ContextId },
    RemoveName { name: Arc<str>, context: ContextId },
}

/// What one shard asks of another.
pub(crate) enum Request {
    Call {
        context: ContextId,
        call: Call,
    },
    /// Answer a question of another context's query.
    Query {
        context: ContextId,
        query: AskedQuery,
    },
    /// Carry out a call that another context has sent.
    Take {
        context: ContextId,
        call: SentCall,
    },
    /// Whether it is durable that no call of a pair up to this one will be handed over any more.
    HasEnded {
        pair: Pair,
        number: SentNumber,
    },
    /// What there is to be told of the events of a context. The shard `by` listens to them from now
    /// on.
    Hear {
        by: ShardId,
        wanted: Wanted,
    },
    /// There are new events of contexts to which the shard listens.
    HearOf {
        sources: Vec<ContextId>,
    },
    Create {
        id: ContextId,
        new: NewContext,
    },
    /// Have it run another application.
    Upgrade {
        id: ContextId,
        upgrade: NewCode,
    },
    Delete {
        id: ContextId,
    },
    /// Put it back into service.
    Release {
        id: ContextId,
    },
    /// Stop its calls that have begun.
    CancelCalls {
        id: ContextId,
    },
    /// Give it another part of the shard. Answered like [`Request::Show`].
    SetWeight {
        id: ContextId,
        weight: Weight,
    },
    /// Let other nodes have it.
    SetMembers {
        id: ContextId,
        members: Vec<NodeId>,
    },
    /// Apply deltas of other nodes.
    Deliver {
        id: ContextId,
        deltas: Vec<VouchedDelta>,
    },
    Show {
        id: ContextId,
    },
    List {
        after: Option<ContextId>,
        limit: usize,
    },
    /// Events of a context behind a number.
    Events {
        id: ContextId,
        after: u64,
        limit: usize,
    },
    /// Lines that a context's guests have logged, behind a number.
    GuestLogs {
        id: ContextId,
        after: u64,
    },
    /// Blobs that a context has attached, behind one.
    Attached {
        id: ContextId,
        after: Option<BlobId>,
        limit: usize,
    },
    /// Timers that a context has armed, behind the one of a name.
    Timers {
        id: ContextId,
        after: Option<String>,
        limit: usize,
    },
    /// Calls that a context has sent and that have not ended, behind one.
    Sent {
        id: ContextId,
        after: Option<(ContextId, SentNumber)>,
        limit: usize,
    },
    /// What handlers of a context have subscribed to.
    Subscriptions {
        id: ContextId,
    },
    /// End some of these.
    EndSubscriptions {
        id: ContextId,
        which: WhichSubscriptions,
    },
    /// What was counted of a context's calls.
    Statistics {
        id: ContextId,
    },
    /// The contexts of the shard that have the most to do.
    Busiest(BusyQuestion),
    /// One of the shard's contexts that runs this application.
    FindUser {
        application: ApplicationId,
    },
    /// Make no new contexts of this application: it may be about to be removed.
    Close(ApplicationId),
    /// Take one [`Request::Close`] back.
    Reopen(ApplicationId),
    /// To the directory's keeper: make it durable, then make everybody know it.
    Record(DirectoryChange),
    /// To the keeper: the same of an application, with this setting if one was asked for.
    /// Answered like [`Request::Record`].
    Install {
        record: Arc<ApplicationRecord>,
        reuse: Option<Reuse>,
    },
    /// To the keeper: the same of a setting of an application. Answered like
    /// [`Request::Record`].
    SetReuse {
        application: ApplicationId,
        reuse: Reuse,
    },
    /// From the keeper: know it.
    Learn(DirectoryChange),
}

/// The answer to a [`Request`], variant by variant.
pub(crate) enum Response {
    Call(Result<Reply, CallError>),
    Query(Answered),
    Take(Result<Outcome, CallError>),
    HasEnded(Result<bool, CallError>),
    Hear(Result<Told, CallError>),
    /// Of the contexts those to which nobody listens.
    HearOf {
        unheard: Vec<ContextId>,
    },
    Create(Result<ContextInfo, CallError>),
    Upgrade(Result<Upgraded, CallError>),
    Delete(Result<(), CallError>),
    Release(Result<(), CallError>),
    CancelCalls(Result<u64, CallError>),
    SetMembers(Result<(), CallError>),
    Deliver(Result<Vec<Delivered>, CallError>),
    Show(Result<ContextInfo, CallError>),
    List(Result<Vec<ContextInfo>, CallError>),
    Events(Result<EventsPage, CallError>),
    GuestLogs(Result<GuestLines, CallError>),
    Attached(Result<Vec<AttachedBlob>, CallError>),
    Timers(Result<(Vec<GuestTimer>, bool), CallError>),
    Sent(Result<(Vec<SentCallInfo>, bool), CallError>),
    Subscriptions(Result<Vec<GuestSubscription>, CallError>),
    EndSubscriptions(Result<u64, CallError>),
    Statistics(Result<ContextStatistics, CallError>),
    Busiest(Result<Busiest, CallError>),
    FindUser(Result<Option<ContextId>, CallError>),
    /// To `Close` and to `Reopen`.
    Closed,
    Record(Result<(), CallError>),
    Learn,
}

/// What lies in a shard's mailbox.
pub(crate) enum Message {
    Request {
        from: ShardId,
        ticket: usize,
        request: Request,
    },
    Response {
        from: ShardId,
        ticket: usize,
        response: Response,
    },
    /// From a compile thread.
    Loaded {
        ticket: usize,
        result: Result<Arc<Module>, CallError>,
    },
    /// From the node: stop taking calls from outside.
    Drain,
    /// From the node: every shard has drained; leave.
    Leave,
}
