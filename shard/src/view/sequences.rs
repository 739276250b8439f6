//! Lists and texts as one turn sees them: `GuestSequences` on top of `crate::sequences`.
//!
//! An update takes a sequence out of the cache, edits it in place, and gives it back when
//! it ends: with its edits if the commit takes them, else without. A query only looks,
//! at one that is made of what was durable when it began.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use bytes::Bytes;
use corelet_store::{
    Allowance, Content, Deleting, EntryKind, Hlc, NodeId, SequenceError, Space, Write,
};
use corelet_wasm_host::{
    Elements, GuestSequences, RemovalStep, SequenceKind, SequenceStep, StateError,
};

use super::entries::{no_private, store_space};
use super::{Base, Own, View};
use crate::large::Large;
use crate::overlay::Shown;
use crate::sequences::{
    Edit, Live, Made, Name, Opening, OpeningsFull, Pending, Place, Role, STEP_WORK, SequenceCache,
    SharedError, SharedOpening, SharedStep, Source, Ticket, entry_kind,
};

/// What is read in one go: so much work, of a list so many bytes. A query that reads on may have
/// to open it anew, so it is more than what a shard allows else: half a millisecond.
const READ_WORK: u64 = 4 * STEP_WORK;
const READ_BYTES: u64 = 1 << 20;

/// Elements of a list that are read before their bytes are looked at again.
const READ_AT_ONCE: u64 = 16;

/// What a turn needs to reach lists and texts.
pub(crate) struct SequenceAccess {
    /// Where they are kept between turns, if this turn's are.
    pub(crate) cache: Option<Rc<SequenceCache>>,
    /// Who edits here.
    pub(crate) author: NodeId,
    /// What the context had lost when the turn began.
    pub(crate) losses: u64,
}

impl SequenceAccess {
    /// For who looks at no list or text, or makes each anew.
    pub(crate) fn without_cache(author: NodeId) -> SequenceAccess {
        SequenceAccess {
            cache: None,
            author,
            losses: 0,
        }
    }
}

type At = (Space, Bytes);

/// The lists and texts that a turn has to do with.
pub(super) struct Sequences {
    access: SequenceAccess,
    /// Those that it has for itself.
    held: BTreeMap<At, Held>,
    /// Those of which it has removed the entry.
    gone: Vec<Held>,
    /// What a query has found those to be made of that it looks at; none of those that
    /// are not there.
    wanted: BTreeMap<(At, EntryKind), Option<Made>>,
    /// Those that it looks at together with other queries, as no cache keeps them.
    shared: BTreeMap<(At, EntryKind), Rc<SharedOpening>>,
    /// The one that is being made.
    opening: Option<Open>,
    /// A removal of which a part is done.
    deleting: Option<Large<Deleting>>,
    /// Whether a part of what was asked for last is read, and the rest is asked for next.
    reads_on: bool,
}

/// A sequence in the making.
enum Open {
    /// For this turn alone, among those of all.
    Own(Box<Opening>, Option<Ticket>),
    /// For all queries that want it.
    Shared(Rc<SharedOpening>),
}

/// A sequence that is out of the cache. Given back as it was taken, unless its edits are
/// taken first.
struct Held {
    live: Option<Live>,
    name: Name,
    /// Where it goes back to.
    home: Option<Rc<SequenceCache>>,
}

impl Held {
    fn give_back(&mut self, allowance: &Allowance) {
        if let (Some(mut live), Some(home)) = (self.live.take(), &self.home) {
            // What is more than that, whoever takes it out next takes back.
            live.sequence.roll_back_some(allowance);
            live.measure();
            // One that this turn has begun is nothing without its edits.
            if !live.made.births.is_empty() {
                drop(home.keep(self.name.clone(), live));
            }
        }
    }
}

impl Drop for Sequences {
    fn drop(&mut self) {
        // For all together, however many a turn has edited that fails.
        let allowance = Allowance::steps(STEP_WORK);
        for held in self.gone.iter_mut().chain(self.held.values_mut()) {
            held.give_back(&allowance);
        }
    }
}

/// Sequences with edits that have been taken.
#[derive(Default)]
pub(crate) struct Edited(Vec<(Name, Live)>);

impl Edited {
    /// Keeps them for the next turn: their edits are on their way to the disk.
    pub(crate) fn keep(self, cache: &SequenceCache) {
        for (name, live) in self.0 {
            drop(cache.keep(name, live));
        }
    }
}

impl Sequences {
    pub(super) fn new(access: SequenceAccess) -> Sequences {
        Sequences {
            access,
            held: BTreeMap::new(),
            gone: Vec::new(),
            wanted: BTreeMap::new(),
            shared: BTreeMap::new(),
            opening: None,
            deleting: None,
            reads_on: false,
        }
    }

    /// The entry is removed: what was edited of it is not.
    pub(super) fn let_go(&mut self, space: Space, key: &[u8]) {
        if !self.held.is_empty() {
            let held = self.held.remove(&(space, Bytes::copy_from_slice(key)));
            self.gone.extend(held);
        }
    }

    /// What the turn has edited of a sequence.
    pub(super) fn take_edit(
        &mut self,
        space: Space,
        key: &Bytes,
        hlc: Hlc,
        edited: &mut Edited,
    ) -> Result<Option<Edit>, SequenceError> {
        let Some(mut held) = self.held.remove(&(space, key.clone())) else {
            return Ok(None);
        };
        let Some(mut live) = held.live.take() else {
            return Ok(None);
        };
        let edit = live.take_edit(self.access.author, hlc)?;
        edited.0.push((held.name.clone(), live));
        Ok(edit)
    }

    /// Memory of those that the turn has for itself.
    fn bytes(&self) -> u64 {
        let all = self.held.values().chain(&self.gone);
        let lives = all.flat_map(|held| &held.live);
        let own: u64 = lives.map(|live| live.bytes).sum();
        let shared = self.shared.values();
        own + shared
            .filter_map(|shared| shared.look(|live| live.bytes))
            .sum::<u64>()
    }

    fn hold(&mut self, at: At, name: Name, live: Live, home: Option<Rc<SequenceCache>>) {
        let live = Some(live);
        let before = self.held.insert(at, Held { live, name, home });
        self.gone.extend(before);
    }
}

fn store_kind(kind: SequenceKind) -> corelet_store::SequenceKind {
    match kind {
        SequenceKind::List => corelet_store::SequenceKind::List,
        SequenceKind::Text => corelet_store::SequenceKind::Text,
    }
}

fn kind_of(kind: SequenceKind) -> EntryKind {
    entry_kind(store_kind(kind))
}

/// Refuses to take an entry for a list or text that it is not.
fn check_read(found: Option<EntryKind>, read: EntryKind) -> Result<(), StateError> {
    match found {
        Some(found) if found != read => Err(StateError::Misused(format!(
            "an entry that is a {found} was used as a {read}"
        ))),
        _ => Ok(()),
    }
}

fn refused(error: SequenceError) -> StateError {
    StateError::Misused(error.to_string())
}

fn full(full: OpeningsFull) -> StateError {
    StateError::Busy {
        limit: "sequence_opening_bytes_max",
        used: full.used,
        max: full.max,
    }
}

impl View {
    fn place(&self, space: Space, key: &[u8], kind: EntryKind) -> Place {
        Place {
            slot: self.slot,
            space,
            key: key.to_vec(),
            kind,
        }
    }

    fn name(&self, space: Space, key: &[u8], kind: EntryKind, role: Role) -> Name {
        Name {
            slot: self.slot,
            space,
            key: Bytes::copy_from_slice(key),
            kind,
            role,
        }
    }

    /// Where the edits of a sequence are, below the changeset.
    fn source(
        &self,
        space: Space,
        key: &[u8],
        kind: EntryKind,
    ) -> Result<Option<Source>, StateError> {
        let (snapshot, tail, pending) = match &self.base {
            Base::Nothing => return Ok(None),
            Base::Fixed { snapshot, settled } => {
                let tail = settled.tail(space, key).cloned();
                (Rc::clone(snapshot), tail, Pending::default())
            }
            Base::Moving { snapshots, overlay } => {
                let overlay = overlay.borrow();
                let tail = overlay.settled().tail(space, key).cloned();
                (snapshots.latest(), tail, overlay.count_pending(space, key))
            }
        };
        let place = self.place(space, key, kind);
        let author = self.sequences.access.author;
        Source::find(author, place, snapshot, tail, pending).map_err(StateError::new)
    }

    fn pending_edits(&self, space: Space, key: &[u8]) -> Vec<Edit> {
        match &self.base {
            Base::Moving { overlay, .. } => overlay.borrow().pending_edits(space, key),
            Base::Fixed { .. } | Base::Nothing => Vec::new(),
        }
    }

    /// One step towards having a sequence, for an update.
    fn open_for_update(
        &mut self,
        space: Space,
        key: &[u8],
        kind: SequenceKind,
    ) -> Result<Option<u64>, StateError> {
        let name = self.name(space, key, kind_of(kind), Role::Tip);
        let at = (space, name.key.clone());
        let cache = self.sequences.access.cache.clone();
        let (opening, ticket) = match self.sequences.opening.take() {
            Some(Open::Own(opening, ticket)) => (*opening, ticket),
            Some(Open::Shared(_)) | None => {
                let Some(source) = self.source(space, key, name.kind)? else {
                    return Ok(None);
                };
                let losses = self.sequences.access.losses;
                let kept = cache.as_ref().and_then(|cache| cache.take(&name));
                let kept = kept.filter(|live| live.losses == losses && source.can_go_on(live));
                self.was_hit(kept.is_some());
                let pending = || self.pending_edits(space, key);
                let kind = store_kind(kind);
                let opening = match kept {
                    Some(live) => Opening::go_on(source, kind, live, pending),
                    None => Opening::begin(source, kind, losses, pending),
                };
                (opening, cache.as_ref().map(|cache| cache.openings.enter()))
            }
        };
        match opening.step().map_err(StateError::new)? {
            ControlFlow::Break(live) => {
                self.sequences.hold(at, name, live, cache);
                Ok(None)
            }
            ControlFlow::Continue(opening) => {
                let bytes = opening.bytes();
                if let Some(ticket) = &ticket {
                    ticket.takes(bytes).map_err(full)?;
                }
                let open = Open::Own(Box::new(opening), ticket);
                Ok(Some(self.goes_on(open, bytes)))
            }
        }
    }

    /// One step towards a sequence that a query can look at.
    fn open_for_query(
        &mut self,
        space: Space,
        key: &[u8],
        kind: SequenceKind,
    ) -> Result<Option<u64>, StateError> {
        let name = self.name(space, key, kind_of(kind), Role::Durable);
        let at = (space, name.key.clone());
        if self.look(space, key, kind, |_| ())?.is_some() {
            // Somebody else may have finished it.
            self.sequences.opening = None;
            return Ok(None);
        }
        let Some(cache) = self.sequences.access.cache.clone() else {
            return Err(StateError::new("a query has no cache of lists and texts"));
        };
        let shared = match self.sequences.opening.take() {
            Some(Open::Shared(shared)) => shared,
            Some(Open::Own(..)) | None => {
                let wanted = (at.clone(), name.kind);
                let Some(source) = self.source(space, key, name.kind)? else {
                    self.sequences.wanted.insert(wanted, None);
                    return Ok(None);
                };
                let made = source.made.clone();
                self.sequences.wanted.insert(wanted, Some(made.clone()));
                if self.look(space, key, kind, |_| ())?.is_some() {
                    self.was_hit(true);
                    return Ok(None);
                }
                cache.openings.share(&name, &made, || {
                    let kept = cache.take_if(&name, |live| source.can_go_on(live));
                    self.was_hit(kept.is_some());
                    let kind = store_kind(kind);
                    match kept {
                        Some(live) => Opening::go_on(source, kind, live, Vec::new),
                        None => Opening::begin(source, kind, 0, Vec::new),
                    }
                })
            }
        };
        let step = shared.step().map_err(|error| match error {
            SharedError::Store(error) => StateError::new(error),
            SharedError::Full(error) => full(error),
        })?;
        match step {
            SharedStep::More(bytes) => return Ok(Some(self.goes_on(Open::Shared(shared), bytes))),
            // Somebody else has finished it; it is looked for anew.
            SharedStep::Gone => return Ok(Some(self.sequences.bytes())),
            SharedStep::Whole => {}
        }
        // What a later query has made stays, and this is for those who want it. Who has lost it
        // in the midst of a read keeps it, and so loses it once at most.
        if !self.sequences.reads_on {
            shared.give(|live| {
                let is_newer = |kept: &Live| {
                    kept.made.births == live.made.births && kept.made.edits > live.made.edits
                };
                match cache.look(&name, is_newer) {
                    Some(true) => Some(live),
                    Some(false) | None => cache.keep(name.clone(), live),
                }
            });
        }
        if shared.look(|_| ()).is_some() {
            self.sequences.shared.insert((at, name.kind), shared);
        }
        Ok(None)
    }

    /// Keeps what is being made, and tells the memory of all that the turn has.
    fn goes_on(&mut self, opening: Open, bytes: u64) -> u64 {
        self.sequences.opening = Some(opening);
        self.sequences.bytes() + bytes
    }

    fn was_hit(&self, is_hit: bool) {
        if let Some(cache) = &self.sequences.access.cache {
            cache.was_hit(is_hit);
        }
    }

    /// Looks at a sequence that is there. None if there is none, or none yet.
    fn look<T>(
        &self,
        space: Space,
        key: &[u8],
        kind: SequenceKind,
        look: impl Fn(&Live) -> T,
    ) -> Result<Option<T>, StateError> {
        let kind = kind_of(kind);
        let at = (space, Bytes::copy_from_slice(key));
        if let Some(live) = self.sequences.held.get(&at).and_then(|h| h.live.as_ref()) {
            return Ok(Some(look(live)));
        }
        let access = &self.sequences.access;
        let (Base::Fixed { .. }, Some(cache)) = (&self.base, &access.cache) else {
            return Ok(None);
        };
        let at = (at, kind);
        let shared = self.sequences.shared.get(&at);
        if let Some(found) = shared.and_then(|shared| shared.look(&look)) {
            return Ok(Some(found));
        }
        let wanted = self.sequences.wanted.get(&at);
        let Some(Some(made)) = wanted else {
            return Ok(None);
        };
        for role in [Role::Tip, Role::Durable] {
            let found = cache.look(&self.name(space, key, kind, role), |live| {
                let is_it = role == Role::Durable
                    || (live.losses == access.losses && !live.sequence.has_edits());
                (is_it && live.made == *made).then(|| look(live))
            });
            if let Some(Some(found)) = found {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Edits a sequence, which this begins if there is none.
    fn edit<T>(
        &mut self,
        space: Space,
        key: &[u8],
        kind: SequenceKind,
        edit: impl FnOnce(&mut Live) -> Result<T, SequenceError>,
    ) -> Result<T, StateError> {
        no_private(space, kind_of(kind))?;
        let name = self.name(space, key, kind_of(kind), Role::Tip);
        let access = &self.sequences.access;
        let held = self
            .sequences
            .held
            .entry((space, name.key.clone()))
            .or_insert_with(|| Held {
                live: Some(Live::new(store_kind(kind), access.author, access.losses)),
                name,
                home: access.cache.clone(),
            });
        let Some(live) = &mut held.live else {
            return Err(StateError::new("a sequence was edited after its turn"));
        };
        let edited = edit(live).map_err(refused)?;
        live.measure();
        let births = live.made.births.clone();
        let own = self.changeset.of(space).get(key);
        if matches!(
            own,
            Some(Own {
                write: Write::Edit { .. },
                ..
            })
        ) {
            return Ok(edited);
        }
        let removes_first = own.is_some_and(|own| own.removes_first || own.write == Write::Remove);
        let own = Own {
            removes_first,
            write: Write::Edit {
                kind: kind_of(kind),
                births,
                update: Bytes::new(),
            },
            shown: Some(Shown::new(kind_of(kind), Bytes::new())),
        };
        self.put(space, key, own);
        Ok(edited)
    }
}

impl GuestSequences for View {
    fn sequence_open(
        &mut self,
        kind: SequenceKind,
        space: corelet_wasm_host::Space,
        key: &[u8],
    ) -> Result<SequenceStep, StateError> {
        let space = store_space(space);
        let at = (space, Bytes::copy_from_slice(key));
        let is_known = match self.sequences.held.get(&at) {
            Some(held) => {
                check_read(Some(held.name.kind), kind_of(kind))?;
                true
            }
            None => match self.changeset.of(space).get(key) {
                Some(own) => {
                    check_read(own.shown.as_ref().map(|shown| shown.kind), kind_of(kind))?;
                    true
                }
                None => {
                    self.sequences.opening.is_none() && {
                        let found =
                            self.base_get(space, key, |found| found.map(|found| found.kind))?;
                        check_read(found, kind_of(kind))?;
                        found.is_none()
                    }
                }
            },
        };
        let more = match (is_known, &self.base) {
            (true, _) | (_, Base::Nothing) => None,
            (false, Base::Moving { .. }) => self.open_for_update(space, key, kind)?,
            (false, Base::Fixed { .. }) => self.open_for_query(space, key, kind)?,
        };
        Ok(match more {
            Some(bytes) => SequenceStep::More { bytes },
            None => {
                let looked_at = match self.sequences.held.contains_key(&at) {
                    true => None,
                    false => self.look(space, key, kind, |live| live.bytes)?,
                };
                SequenceStep::Open {
                    bytes: self.sequences.bytes() + looked_at.unwrap_or(0),
                }
            }
        })
    }

    fn sequence_length(
        &mut self,
        kind: SequenceKind,
        space: corelet_wasm_host::Space,
        key: &[u8],
    ) -> Result<u64, StateError> {
        let length = self.look(store_space(space), key, kind, |live| live.sequence.len());
        Ok(length?.unwrap_or(0) as u64)
    }

    fn sequence_insert(
        &mut self,
        space: corelet_wasm_host::Space,
        key: &[u8],
        index: u64,
        elements: Elements,
    ) -> Result<(), StateError> {
        let kind = elements.kind();
        let content = match elements {
            Elements::Values(values) => {
                Content::Values(values.into_iter().map(Vec::into_boxed_slice).collect())
            }
            Elements::Text(text) => Content::Text(text),
        };
        self.edit(store_space(space), key, kind, |live| {
            live.sequence.insert(index as usize, content)
        })
    }

    fn sequence_remove(
        &mut self,
        kind: SequenceKind,
        space: corelet_wasm_host::Space,
        key: &[u8],
        index: u64,
        count: u64,
    ) -> Result<RemovalStep, StateError> {
        let deleting = self.sequences.deleting.take();
        let allowance = Allowance::steps(STEP_WORK);
        let left = self.edit(store_space(space), key, kind, |live| {
            let mut deleting = match deleting {
                Some(deleting) => deleting,
                None => Large::new(live.sequence.begin_delete(index as usize, count as usize)?),
            };
            let is_whole = live.sequence.go_on_deleting(&mut deleting, &allowance)?;
            Ok((!is_whole).then_some(deleting))
        })?;
        self.sequences.deleting = left;
        let work = allowance.used();
        Ok(match self.sequences.deleting {
            None => RemovalStep::Whole { work },
            Some(_) => RemovalStep::More { work },
        })
    }

    fn sequence_read(
        &mut self,
        kind: SequenceKind,
        space: corelet_wasm_host::Space,
        key: &[u8],
        index: u64,
        count: u64,
        bytes_max: u64,
    ) -> Result<Elements, StateError> {
        let read = |live: &Live| match kind {
            SequenceKind::List => read_list(live, index, count, bytes_max),
            // A scalar value has a byte at least.
            SequenceKind::Text => read_text(live, index, count.min(bytes_max.saturating_add(1))),
        };
        let elements = self.look(store_space(space), key, kind, read)?;
        let Some((elements, is_whole)) = elements.transpose().map_err(refused)? else {
            return Ok(match kind {
                SequenceKind::List => Elements::Values(Vec::new()),
                SequenceKind::Text => Elements::Text(String::new()),
            });
        };
        self.sequences.reads_on = !is_whole;
        Ok(elements)
    }
}

/// As many values as are read in one go, and whether that is all.
fn read_list(
    live: &Live,
    index: u64,
    count: u64,
    bytes_max: u64,
) -> Result<(Elements, bool), SequenceError> {
    let (mut values, mut bytes) = (Vec::new(), 0);
    let mut left = count;
    while left > 0 && bytes <= bytes_max.min(READ_BYTES) {
        let some = left.min(READ_AT_ONCE);
        let at = (index + count - left) as usize;
        let Content::Values(read) = live.sequence.slice(at, some as usize)? else {
            break;
        };
        for value in read {
            bytes += value.len() as u64;
            values.push(value.into_vec());
        }
        left -= some;
    }
    Ok((Elements::Values(values), left == 0 || bytes > bytes_max))
}

/// As much of a text as is read in one go, and whether that is all.
fn read_text(live: &Live, index: u64, count: u64) -> Result<(Elements, bool), SequenceError> {
    let allowance = Allowance::steps(READ_WORK);
    let sequence = &live.sequence;
    let read = sequence.slice_some(index as usize, count as usize, &allowance)?;
    let is_whole = !allowance.is_used_up() || read.len() as u64 == count;
    Ok(match read {
        Content::Text(text) => (Elements::Text(text), is_whole),
        Content::Values(_) => (Elements::Text(String::new()), true),
    })
}
