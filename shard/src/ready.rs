//! What of one context can run: the queries that wait for a place, by their depth, the updates that
//! have to be looked at before they queue, the update whose turn it is, and the turns that have begun, be it that they are between two slices or
//! that they wait for another context.
//!
//! Owned by the shard. Whose turn it is among contexts, and why queries have places by their
//! depth, is in `schedule.rs`.

use std::collections::VecDeque;

use crate::inspecting::Inspection;
use crate::turn::{Begin, TurnInProgress};

/// Something that a context waits to do.
pub(crate) enum Job {
    Begin(Begin),
    Resume(TurnInProgress),
    Inspect(Uninspected),
}

/// An update whose application looks at it before it is queued, and has not, or not to the end.
pub(crate) enum Uninspected {
    Waiting(Begin),
    Begun(Box<Inspection>),
}

/// What of one context can run as soon as it is its turn. Each has a number: its
/// place in the order in which they came here.
#[derive(Default)]
pub(crate) struct Ready {
    // Of outermost queries, then of those at each depth below that has been met.
    lanes: Vec<Lane>,
    // In the order in which they came; the first one may have been begun with.
    uninspected: VecDeque<(u64, Uninspected)>,
    // The update whose turn it is.
    update: Option<(u64, Begin)>,
    // Turns between two slices, each with an instance.
    parked: VecDeque<(u64, TurnInProgress)>,
    // Queries that wait for another context's, each with an instance.
    asking: Vec<(u64, TurnInProgress)>,
    came: u64,
}

/// Queries of one depth.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<(u64, Begin)>,
    // Of those that are parked or ask.
    begun: usize,
}

impl Ready {
    /// Those that wait for their turn.
    pub(crate) fn len(&self) -> usize {
        let waiting: usize = self.lanes.iter().map(|lane| lane.waiting.len()).sum();
        waiting + usize::from(self.update.is_some()) + self.parked.len() + self.uninspected.len()
    }

    /// Whether there is something to run.
    pub(crate) fn can_go(&self, queries_max: usize) -> bool {
        let may_begin = |lane: &Lane| !lane.waiting.is_empty() && lane.begun < queries_max;
        !self.parked.is_empty()
            || self.update.is_some()
            || !self.uninspected.is_empty()
            || self.lanes.iter().any(may_begin)
    }

    /// Whether one more query of this depth may begin before all that wait.
    pub(crate) fn may_begin(&self, depth: usize, queries_max: usize) -> bool {
        let lane = self.lanes.get(depth);
        lane.is_none_or(|lane| lane.waiting.is_empty() && lane.begun < queries_max)
    }

    fn lane(&mut self, depth: usize) -> &mut Lane {
        if self.lanes.len() <= depth {
            self.lanes.resize_with(depth + 1, Lane::default);
        }
        &mut self.lanes[depth]
    }

    fn number(&mut self) -> u64 {
        self.came += 1;
        self.came
    }

    pub(crate) fn put_query(&mut self, begin: Begin) {
        let number = self.number();
        let lane = self.lane(begin.depth());
        lane.waiting.push_back((number, begin));
    }

    pub(crate) fn put_update(&mut self, begin: Begin) {
        debug_assert!(self.update.is_none(), "updates go one at a time");
        let number = self.number();
        self.update = Some((number, begin));
    }

    pub(crate) fn put_uninspected(&mut self, begin: Begin) {
        let number = self.number();
        self.uninspected
            .push_back((number, Uninspected::Waiting(begin)));
    }

    /// One that is to be looked at further, before all that came behind it.
    pub(crate) fn put_inspection(&mut self, inspection: Box<Inspection>) {
        let number = self.number();
        self.uninspected
            .push_front((number, Uninspected::Begun(inspection)));
    }

    /// All that are between two slices.
    pub(crate) fn take_parked(&mut self) -> VecDeque<(u64, TurnInProgress)> {
        let parked = std::mem::take(&mut self.parked);
        parked.iter().for_each(|(_, turn)| self.has_left(turn));
        parked
    }

    /// All that wait for another context.
    pub(crate) fn take_all_asking(&mut self) -> Vec<(u64, TurnInProgress)> {
        let asking = std::mem::take(&mut self.asking);
        asking.iter().for_each(|(_, turn)| self.has_left(turn));
        asking
    }

    pub(crate) fn park(&mut self, turn: TurnInProgress) {
        let number = self.number();
        self.has_come(&turn);
        self.parked.push_back((number, turn));
    }

    pub(crate) fn put_asking(&mut self, turn: TurnInProgress) -> u64 {
        let number = self.number();
        self.has_come(&turn);
        self.asking.push((number, turn));
        number
    }

    pub(crate) fn take_asking(&mut self, number: u64) -> Option<TurnInProgress> {
        let at = self.asking.iter().position(|(n, _)| *n == number)?;
        let (_, turn) = self.asking.swap_remove(at);
        self.has_left(&turn);
        Some(turn)
    }

    fn has_come(&mut self, turn: &TurnInProgress) {
        if turn.is_query() {
            self.lane(turn.depth()).begun += 1;
        }
    }

    fn has_left(&mut self, turn: &TurnInProgress) {
        if turn.is_query() {
            self.lane(turn.depth()).begun -= 1;
        }
    }

    /// The one that came first, but no further query of a depth while as many of it
    /// as may be have begun.
    pub(crate) fn take(&mut self, queries_max: usize) -> Option<Job> {
        let number = |first: Option<u64>| first.unwrap_or(u64::MAX);
        let may_begin = self.lanes.iter_mut().filter(|l| l.begun < queries_max);
        let lane = may_begin.min_by_key(|lane| number(lane.waiting.front().map(|q| q.0)));
        let waiting = lane.map(|lane| &mut lane.waiting);
        let query = number(waiting.as_ref().and_then(|q| q.front()).map(|q| q.0));
        let update = number(self.update.as_ref().map(|u| u.0));
        let parked = number(self.parked.front().map(|p| p.0));
        let uninspected = number(self.uninspected.front().map(|u| u.0));
        if uninspected < query.min(update).min(parked) {
            let (_, uninspected) = self.uninspected.pop_front()?;
            return Some(Job::Inspect(uninspected));
        }
        if parked < query.min(update) {
            let (_, turn) = self.parked.pop_front()?;
            self.has_left(&turn);
            return Some(Job::Resume(turn));
        }
        let begin = match update < query {
            true => self.update.take(),
            false => waiting.and_then(VecDeque::pop_front),
        };
        begin.map(|(_, begin)| Job::Begin(begin))
    }
}
