//! Making a sequence of its edits, a slice at a time: a long one must not hold the core.
//!
//! It begins with what is in memory already, else with what was saved of it as a whole,
//! else with nothing; then come the edits of the snapshot, then those that the snapshot
//! has not. Each step has so much work, whatever an edit or a saved one comes to: how an
//! update is applied in parts, and a saved one opened, is the store's.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::rc::Rc;

use bytes::Bytes;
use corelet_store::{
    Allowance, Arriving, EditPlace, Loading, NodeId, ReadingSaved, SavedSequence, SequenceKind,
    Snapshot, StoreError, begin_replay, unless_damaged,
};

use super::source::{Place, Source};
use super::{Edit, Live, STEP_WORK, Seen};
use crate::large::Large;

/// Edits that are read in one step, however little each does, and bytes of edits.
const STEP_EDITS: usize = 500;
const STEP_BYTES: usize = 128 << 10;

/// A sequence in the making.
pub(crate) struct Opening {
    source: Source,
    live: Live,
    /// The edits that the snapshot has not.
    later: Vec<Edit>,
    kind: SequenceKind,
    stage: Stage,
    from: From,
    /// Behind which edits of the snapshot to go on, once it has been gone through some of them:
    /// those that a removal has left are not counted and take their time.
    walked: Option<EditPlace>,
    /// An edit that is applied in parts.
    arriving: Option<OnItsWay>,
}

/// What it has begun with. An edit of another that came in before the last one of that is
/// missing in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Kept,
    Saved,
    Nothing,
}

/// What comes next.
enum Stage {
    /// What a failed turn has left in it is taken back. Then the edits of the snapshot
    /// are applied, or from so many on those that it has not.
    RollingBack { then: Option<usize> },
    /// It is looked for what was saved.
    Looking,
    /// That is read.
    Reading(ReadingSaved),
    /// And opened; without its bytes.
    Loading(Box<Large<Loading>>, SavedSequence),
    /// The edits of the snapshot are applied.
    Shown,
    /// From so many on, those that it has not.
    Later(usize),
    /// All that it is made of is in.
    End,
}

struct OnItsWay {
    arriving: Large<Arriving>,
    author: NodeId,
    seen: Seen<'static>,
    update: Bytes,
    place: EditPlace,
}

impl Opening {
    pub(crate) fn begin(
        source: Source,
        kind: SequenceKind,
        losses: u64,
        pending: impl FnOnce() -> Vec<Edit>,
    ) -> Opening {
        let later = source.later(pending);
        let mut live = Live::new(kind, source.author, losses);
        live.made.births = source.made.births.clone();
        let stage = match source.snapshot() {
            Some(_) => Stage::Looking,
            None => Stage::Later(0),
        };
        Opening {
            source,
            live,
            later,
            kind,
            stage,
            from: From::Nothing,
            walked: None,
            arriving: None,
        }
    }

    /// Goes on with one that was kept, which [`Source::can_go_on`] from.
    pub(crate) fn go_on(
        source: Source,
        kind: SequenceKind,
        live: Live,
        pending: impl FnOnce() -> Vec<Edit>,
    ) -> Opening {
        let missing = source.made.edits - live.made.edits;
        let mut later = Vec::new();
        let mut then = None;
        if missing > 0 {
            later = source.later(pending);
        }
        if missing <= later.len() as u64 {
            then = Some(later.len() - missing as usize);
        }
        Opening {
            source,
            live,
            later,
            kind,
            stage: Stage::RollingBack { then },
            from: From::Kept,
            walked: None,
            arriving: None,
        }
    }

    /// What it takes in memory so far.
    pub(crate) fn bytes(&self) -> u64 {
        let stage = match &self.stage {
            Stage::Reading(reading) => reading.bytes(),
            Stage::Loading(loading, _) => loading.memory_bytes() as u64,
            _ => 0,
        };
        self.live.bytes + stage
    }

    /// Does some more of it. Breaks with the sequence when it is whole.
    pub(crate) fn step(mut self) -> Result<ControlFlow<Live, Opening>, StoreError> {
        let allowance = Allowance::steps(STEP_WORK);
        while !allowance.is_used_up() {
            if let Some(on_its_way) = self.arriving.take() {
                self.arrive(on_its_way, &allowance);
                continue;
            }
            // What stays in its stage has used up what it was allowed.
            match std::mem::replace(&mut self.stage, Stage::End) {
                Stage::RollingBack { then } => {
                    self.stage = match (self.live.sequence.roll_back_some(&allowance), then) {
                        (false, then) => Stage::RollingBack { then },
                        (true, Some(at)) => Stage::Later(at),
                        (true, None) => Stage::Shown,
                    };
                }
                Stage::Looking => self.look()?,
                Stage::Reading(reading) => {
                    if self.read(reading)? {
                        return Ok(ControlFlow::Continue(self));
                    }
                }
                Stage::Loading(loading, saved) => {
                    self.load(loading.into_inner(), saved, &allowance)
                }
                Stage::Shown => {
                    if self.apply_shown(&allowance)? {
                        self.stage = Stage::Shown;
                        return Ok(ControlFlow::Continue(self));
                    }
                    self.stage = Stage::Later(0);
                }
                Stage::Later(at) => self.apply_later(at, &allowance),
                Stage::End if self.live.made == self.source.made => {
                    self.live.measure();
                    return Ok(ControlFlow::Break(self.live));
                }
                Stage::End if self.from != From::Nothing => self.begin_anew(),
                Stage::End => {
                    let Place { key, .. } = &self.source.place;
                    return Err(StoreError::Corrupt {
                        what: "entry",
                        key: String::from_utf8_lossy(key).into_owned(),
                        why: "its edits are not as many as it says",
                    });
                }
            }
        }
        Ok(ControlFlow::Continue(self))
    }

    /// Without what it has begun with.
    fn begin_anew(&mut self) {
        let births = self.source.made.births.clone();
        self.live = Live::new(self.kind, self.source.author, self.live.losses);
        self.live.made.births = births;
        self.stage = match (self.source.snapshot(), self.from) {
            (None, _) => Stage::Later(0),
            (Some(_), From::Kept) => Stage::Looking,
            (Some(_), From::Saved | From::Nothing) => Stage::Shown,
        };
        self.from = From::Nothing;
        self.walked = None;
    }

    fn snapshot(&self) -> Option<Rc<Snapshot>> {
        self.source.snapshot().map(Rc::clone)
    }

    fn look(&mut self) -> Result<(), StoreError> {
        let Place {
            slot,
            space,
            key,
            kind,
        } = &self.source.place;
        self.stage = Stage::Shown;
        if let Some(snapshot) = self.snapshot()
            && let Some(reading) = snapshot.begin_saved(*slot, *space, key, *kind)?
        {
            self.stage = Stage::Reading(reading);
        }
        Ok(())
    }

    /// Reads a part of what was saved. Tells whether there are more, of which each is
    /// as much as a step may do.
    fn read(&mut self, mut reading: ReadingSaved) -> Result<bool, StoreError> {
        let Some(snapshot) = self.snapshot() else {
            return Ok(false);
        };
        let is_more = unless_damaged(reading.step(&snapshot))?;
        self.stage = match is_more {
            Some(true) => Stage::Reading(reading),
            None => Stage::Shown,
            Some(false) => {
                let mut saved = reading.end();
                let bytes = std::mem::take(&mut saved.bytes);
                match Loading::begin(self.source.author, bytes) {
                    Ok(loading) => Stage::Loading(Box::new(Large::new(loading)), saved),
                    Err(_) => Stage::Shown,
                }
            }
        };
        Ok(is_more == Some(true))
    }

    fn load(&mut self, loading: Loading, saved: SavedSequence, allowance: &Allowance) {
        self.stage = match loading.step(allowance) {
            Ok(ControlFlow::Continue(loading)) => {
                Stage::Loading(Box::new(Large::new(loading)), saved)
            }
            Ok(ControlFlow::Break(sequence)) => {
                self.from = From::Saved;
                self.live.sequence = Large::new(sequence);
                self.live.made.edits = saved.edits;
                self.live.place = saved.place;
                self.live.measure();
                Stage::Shown
            }
            Err(_) => Stage::Shown,
        };
    }

    /// Applies edits of the snapshot. Tells whether there may be more.
    fn apply_shown(&mut self, allowance: &Allowance) -> Result<bool, StoreError> {
        let Some(snapshot) = self.snapshot() else {
            return Ok(false);
        };
        let Place {
            slot,
            space,
            key,
            kind,
        } = &self.source.place;
        let (live, arriving) = (&mut self.live, &mut self.arriving);
        let (mut edits, mut bytes) = (0, 0);
        let behind = Some(self.walked.unwrap_or(live.place));
        self.walked =
            snapshot.walk_edits(*slot, *space, key, *kind, behind, allowance, &mut |edit| {
                edits += 1;
                bytes += edit.update.len();
                let begun = begin_replay(&live.sequence, &edit);
                let seen = Seen::UpTo(Cow::Borrowed(edit.seen));
                let left = begun.and_then(|begun| {
                    live.go_on_applying(
                        Large::new(begun),
                        edit.author,
                        &seen,
                        edit.update,
                        allowance,
                    )
                });
                let is_over = edits == STEP_EDITS || bytes > STEP_BYTES || left.is_some();
                match left {
                    None => live.count(edit.place),
                    Some(begun) => {
                        *arriving = Some(OnItsWay {
                            arriving: begun,
                            author: edit.author,
                            seen: Seen::UpTo(Cow::Owned(edit.seen.to_vec())),
                            update: Bytes::copy_from_slice(edit.update),
                            place: edit.place,
                        });
                    }
                }
                match is_over {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
        live.measure();
        Ok(self.walked.is_some())
    }

    /// Applies edits that the snapshot has not, from one on.
    fn apply_later(&mut self, at: usize, allowance: &Allowance) {
        let author = self.source.author;
        for (at, edit) in (at..).zip(&self.later[at..]) {
            if allowance.is_used_up() {
                self.stage = Stage::Later(at);
                return;
            }
            if let Some(arriving) = self.live.apply_own(author, edit, allowance) {
                self.arriving = Some(OnItsWay {
                    arriving,
                    author,
                    seen: Seen::Everything,
                    update: edit.update.clone(),
                    place: EditPlace::behind(edit.hlc),
                });
                self.stage = Stage::Later(at + 1);
                return;
            }
        }
        self.stage = Stage::End;
    }

    /// Goes on with an edit of which a part is done.
    fn arrive(&mut self, on_its_way: OnItsWay, allowance: &Allowance) {
        let OnItsWay {
            arriving,
            author,
            seen,
            update,
            place,
        } = on_its_way;
        let left = self
            .live
            .go_on_applying(arriving, author, &seen, &update, allowance);
        match left {
            None => self.live.count(place),
            Some(arriving) => {
                self.live.measure();
                self.arriving = Some(OnItsWay {
                    arriving,
                    author,
                    seen,
                    update,
                    place,
                });
            }
        }
    }
}
