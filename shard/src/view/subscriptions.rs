//! The subscriptions of a context, as one turn sees them: entries of its agenda, which read and
//! write like all others. How they lie there is in `crate::subscriptions`.

use corelet_store::{ContextId, Hlc};
use corelet_wasm_host::{
    GuestState, GuestSubscription, GuestSubscriptions, NewSubscription, Space, StateError,
    Subscribing,
};

use super::View;
use crate::subscriptions::{
    Asked, Place, Point, SUBSCRIBED_ALL, SubscriptionKey, SubscriptionRow, Tried,
};

/// What a handler is told with one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hearing {
    pub(crate) key: SubscriptionKey,
    /// What the subscription asked for when that was put together.
    pub(crate) from: Asked,
    /// Where it is with that.
    pub(crate) to: Forward,
}

/// Where a subscription goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    /// From here.
    Behind(Point),
    /// Nowhere: it ends.
    End,
}

/// What becomes of a subscription whose handler has failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PutOffHearing {
    /// It has ended meanwhile, or was made anew.
    Gone,
    /// The events are told again, one by one.
    OneByOne { handler: String },
    /// The event is told again; so often it was tried.
    Again { handler: String, attempts: u32 },
    /// It was tried often enough, and is not told.
    GivenUp { handler: String, attempts: u32 },
}

impl View {
    /// A subscription, if there is one.
    pub(crate) fn subscription(
        &mut self,
        key: SubscriptionKey,
    ) -> Result<Option<SubscriptionRow>, StateError> {
        let value = GuestState::get(self, Space::Agenda, &key.in_agenda())?;
        let row = value.map(|value| SubscriptionRow::read(&value).ok_or_else(malformed));
        row.transpose()
    }

    /// All of them, in the order in which they were made.
    pub(crate) fn subscriptions(
        &mut self,
    ) -> Result<Vec<(SubscriptionKey, SubscriptionRow)>, StateError> {
        let mut found = Vec::new();
        for key in self.subscription_keys()? {
            let row = self.subscription(key)?;
            found.push((key, row.ok_or_else(malformed)?));
        }
        Ok(found)
    }

    /// Takes what a handler is told from what it is to be told, if that is still to be. Gives the
    /// handler.
    pub(crate) fn hear(&mut self, hearing: &Hearing) -> Result<Option<String>, StateError> {
        let Some(mut row) = self.subscription_at(hearing)? else {
            return Ok(None);
        };
        let handler = row.handler.clone();
        match hearing.to {
            Forward::Behind(point) => {
                row.go_on(point);
                self.write_subscription(hearing.key, &row)?;
            }
            Forward::End => self.remove_subscription(hearing.key)?,
        }
        Ok(Some(handler))
    }

    /// Notes that there was nothing for a handler up to an event; tells whether that was of use.
    pub(crate) fn pass_over(&mut self, hearing: &Hearing) -> Result<bool, StateError> {
        Ok(self.hear(hearing)?.is_some())
    }

    /// After a handler has failed that was told this, or several events if that is none: has it told them
    /// again, one by one, or not any more. Attempts at one are none at what comes behind it, be it
    /// that it is not kept any more.
    pub(crate) fn put_off_hearing(
        &mut self,
        hearing: &Hearing,
        tried: Option<Tried>,
        attempts_max: u32,
    ) -> Result<PutOffHearing, StateError> {
        let Some(mut row) = self.subscription_at(hearing)? else {
            return Ok(PutOffHearing::Gone);
        };
        let handler = row.handler.clone();
        row.is_new = false;
        let tried = match (hearing.to, tried) {
            (Forward::Behind(point), None) => {
                row.single_until = point.number;
                self.write_subscription(hearing.key, &row)?;
                return Ok(PutOffHearing::OneByOne { handler });
            }
            (Forward::End, None) => Tried::End,
            (_, Some(tried)) => tried,
        };
        let attempts = row.attempts_at(tried).saturating_add(1);
        if attempts >= attempts_max {
            self.hear(hearing)?;
            return Ok(PutOffHearing::GivenUp { handler, attempts });
        }
        row.note_attempts(tried, attempts);
        self.write_subscription(hearing.key, &row)?;
        Ok(PutOffHearing::Again { handler, attempts })
    }

    /// The subscription, if it asks for what it did when what a handler is told was put together.
    fn subscription_at(
        &mut self,
        hearing: &Hearing,
    ) -> Result<Option<SubscriptionRow>, StateError> {
        let row = self.subscription(hearing.key)?;
        Ok(row.filter(|row| row.asked() == hearing.from))
    }

    /// Its length is the same as before.
    fn write_subscription(
        &mut self,
        key: SubscriptionKey,
        row: &SubscriptionRow,
    ) -> Result<(), StateError> {
        GuestState::set(self, Space::Agenda, &key.in_agenda(), &row.write())
    }

    fn remove_subscription(&mut self, key: SubscriptionKey) -> Result<(), StateError> {
        GuestState::remove(self, Space::Agenda, &key.in_agenda())?;
        let mut all = self.subscription_keys()?;
        all.retain(|it| *it != key);
        self.write_subscription_keys(&all)
    }

    /// Ends those of which this is true, and gives them.
    pub(crate) fn end_subscriptions(
        &mut self,
        is_meant: impl Fn(&SubscriptionRow) -> bool,
    ) -> Result<Vec<(SubscriptionKey, SubscriptionRow)>, StateError> {
        let all = self.subscriptions()?.into_iter();
        let (ended, left): (Vec<_>, Vec<_>) = all.partition(|(_, row)| is_meant(row));
        if ended.is_empty() {
            return Ok(ended);
        }
        for (key, _) in &ended {
            GuestState::remove(self, Space::Agenda, &key.in_agenda())?;
        }
        let left: Vec<_> = left.into_iter().map(|(key, _)| key).collect();
        self.write_subscription_keys(&left)?;
        Ok(ended)
    }

    /// Which there are.
    pub(crate) fn subscription_keys(&mut self) -> Result<Vec<SubscriptionKey>, StateError> {
        match GuestState::get(self, Space::Agenda, SUBSCRIBED_ALL)? {
            Some(value) => SubscriptionKey::all_of(&value).ok_or_else(malformed),
            None => Ok(Vec::new()),
        }
    }

    fn write_subscription_keys(&mut self, all: &[SubscriptionKey]) -> Result<(), StateError> {
        match all {
            [] => GuestState::remove(self, Space::Agenda, SUBSCRIBED_ALL).map(drop),
            all => {
                let value = SubscriptionKey::write_all(all);
                GuestState::set(self, Space::Agenda, SUBSCRIBED_ALL, &value)
            }
        }
    }
}

impl SubscriptionRow {
    fn go_on(&mut self, behind: Point) {
        self.is_new = false;
        self.place = Place::Behind(behind);
        self.attempts = 0;
        if behind.number >= self.single_until {
            self.single_until = 0;
        }
    }
}

impl GuestSubscriptions for View {
    fn subscribe(
        &mut self,
        subscription: NewSubscription<'_>,
        subscriptions_max: u64,
    ) -> Result<Subscribing, StateError> {
        let source = ContextId::from_bytes(subscription.context);
        let key = SubscriptionKey::of(source, subscription.handler);
        if self.subscription(key)?.is_none() {
            let mut all = self.subscription_keys()?;
            if all.len() as u64 >= subscriptions_max {
                return Ok(Subscribing::TooMany);
            }
            all.push(key);
            self.write_subscription_keys(&all)?;
        }
        let row = SubscriptionRow {
            is_new: true,
            source,
            place: match subscription.after {
                Some(number) => Place::Behind(Point { number, stamp: 0 }),
                None => Place::Since(self.since(subscription.is_own)),
            },
            single_until: 0,
            attempts: 0,
            tried: Tried::Gap,
            handler: subscription.handler.to_owned(),
            kind: subscription.kind.map(str::to_owned),
        };
        self.write_subscription(key, &row)?;
        Ok(Subscribing::Subscribed)
    }

    fn unsubscribe(&mut self, context: &[u8; 32], handler: &str) -> Result<bool, StateError> {
        let key = SubscriptionKey::of(ContextId::from_bytes(*context), handler);
        let is_there = self.subscription(key)?.is_some();
        if is_there {
            self.remove_subscription(key)?;
        }
        Ok(is_there)
    }

    fn subscribed(&mut self) -> Result<Vec<GuestSubscription>, StateError> {
        let found = self.subscriptions()?.into_iter();
        Ok(found.map(|(_, row)| shown(row)).collect())
    }
}

impl View {
    /// Events with greater stamps come behind this turn. Those of other shards have a clock of
    /// their own, which may be behind ours where ours has seen stamps that are ahead of the wall.
    fn since(&self, is_own: bool) -> u64 {
        let stamp = self.origin.stamp();
        match is_own {
            true => stamp,
            false => stamp.min(Hlc::from_micros(self.now).bits()),
        }
    }
}

/// A subscription as guests and people see it.
pub(crate) fn shown(row: SubscriptionRow) -> GuestSubscription {
    GuestSubscription {
        context: *row.source.as_bytes(),
        handler: row.handler,
        kind: row.kind,
        after: match row.place {
            Place::Behind(point) => Some(point.number),
            Place::Since(_) => None,
        },
        attempts: row.attempts,
    }
}

/// Its record has a checksum, so we have written it.
fn malformed() -> StateError {
    StateError::new("a subscription is not as it was written")
}

#[cfg(test)]
mod tests {
    use corelet_store::{NodeId, Space as StoreSpace};

    use super::*;
    use crate::fixture::id;
    use crate::view::SequenceAccess;

    fn view() -> View {
        let access = SequenceAccess::without_cache(NodeId::from_bytes([2; 32]));
        let view = View::of_init(access).with_now(7);
        view.with_origin(Hlc::from_micros(9), 0)
    }

    fn new(n: u8, handler: &'static str, after: Option<u64>) -> NewSubscription<'static> {
        NewSubscription {
            context: *id(n).as_bytes(),
            is_own: false,
            handler,
            kind: None,
            after,
        }
    }

    fn key(n: u8, handler: &str) -> SubscriptionKey {
        SubscriptionKey::of(id(n), handler)
    }

    fn entries(view: &View) -> usize {
        let agenda = view.changeset.of(StoreSpace::Agenda);
        agenda.iter().filter(|(_, own)| own.shown.is_some()).count()
    }

    /// From an event with a stamp that is known, unless it is the fourth.
    fn at(number: u64) -> Point {
        let stamp = if number == 4 { 0 } else { 10 * number };
        Point { number, stamp }
    }

    fn behind(number: u64) -> Forward {
        Forward::Behind(at(number))
    }

    fn hearing(from: u64, to: Forward) -> Hearing {
        Hearing {
            key: key(1, "heard"),
            from: Asked::of(Place::Behind(at(from)), None),
            to,
        }
    }

    #[test]
    fn subscriptions_are_counted_replaced_and_gone_without_a_trace() {
        let mut view = view();
        let subscribe = |view: &mut View, n, handler| {
            let subscribed = view.subscribe(new(n, handler, Some(4)), 3);
            subscribed.unwrap()
        };
        for (n, handler) in [(1, "heard"), (1, "other"), (2, "heard"), (1, "heard")] {
            assert_eq!(subscribe(&mut view, n, handler), Subscribing::Subscribed);
        }
        assert_eq!(subscribe(&mut view, 3, "heard"), Subscribing::TooMany);
        assert_eq!(view.subscribed().unwrap().len(), 3);
        assert!(view.unsubscribe(id(1).as_bytes(), "other").unwrap());
        assert!(!view.unsubscribe(id(1).as_bytes(), "other").unwrap());
        let left = view.subscribed().unwrap().into_iter();
        let left: Vec<_> = left.map(|it| (it.context[0], it.handler)).collect();
        assert_eq!(
            left,
            [1, 2].map(|n| (id(n).as_bytes()[0], "heard".to_owned()))
        );
        assert_eq!(subscribe(&mut view, 3, "heard"), Subscribing::Subscribed);
        // From outside all of them may be at once.
        let ended = view.end_subscriptions(|row| row.source == id(2)).unwrap();
        assert_eq!(ended.len(), 1);
        assert!(view.end_subscriptions(|_| false).unwrap().is_empty());
        assert_eq!(view.subscribed().unwrap().len(), 2);
        assert_eq!(subscribe(&mut view, 2, "heard"), Subscribing::Subscribed);
        assert!(view.unsubscribe(id(1).as_bytes(), "heard").unwrap());
        assert_eq!(view.end_subscriptions(|_| true).unwrap().len(), 2);
        assert_eq!(entries(&view), 0, "nothing is left of them");
    }

    #[test]
    fn without_a_number_it_begins_with_what_comes_behind_the_turn() {
        let mut view = view();
        for (is_own, stamp) in [(true, Hlc::from_micros(9)), (false, Hlc::from_micros(7))] {
            let subscription = NewSubscription {
                is_own,
                ..new(1, "heard", None)
            };
            view.subscribe(subscription, 1).unwrap();
            let row = view.subscription(key(1, "heard")).unwrap().unwrap();
            assert_eq!(row.place, Place::Since(stamp.bits()));
            assert!(row.is_new);
            assert_eq!(shown(row).after, None);
        }
    }

    #[test]
    fn what_was_told_is_told_no_more_and_what_was_replaced_is_not_moved() {
        let mut view = view();
        view.subscribe(new(1, "heard", Some(4)), 1).unwrap();
        let stale = hearing(3, behind(9));
        assert_eq!(view.hear(&stale).unwrap(), None);
        let of_kind = Hearing {
            from: Asked::of(Place::Behind(at(4)), Some("said")),
            ..hearing(4, behind(9))
        };
        assert_eq!(view.hear(&of_kind).unwrap(), None);
        let first = hearing(4, behind(9));
        assert_eq!(view.hear(&first).unwrap().as_deref(), Some("heard"));
        assert_eq!(view.hear(&first).unwrap(), None);
        assert!(view.pass_over(&hearing(9, behind(12))).unwrap());
        let row = view.subscription(key(1, "heard")).unwrap().unwrap();
        assert_eq!((row.place, row.is_new), (Place::Behind(at(12)), false));
        let end = hearing(12, Forward::End);
        assert_eq!(view.hear(&end).unwrap().as_deref(), Some("heard"));
        assert_eq!(entries(&view), 0);
    }

    /// An event that its handler cannot take does not take its neighbours along.
    #[test]
    fn what_has_failed_together_is_told_one_by_one_and_given_up_in_the_end() {
        let mut view = view();
        view.subscribe(new(1, "heard", Some(4)), 1).unwrap();
        let handler = || "heard".to_owned();
        let row = |view: &mut View| view.subscription(key(1, "heard")).unwrap().unwrap();
        let all = hearing(4, behind(9));
        let put_off = view.put_off_hearing(&all, None, 3).unwrap();
        assert_eq!(put_off, PutOffHearing::OneByOne { handler: handler() });
        let careful = row(&mut view);
        assert!(careful.is_careful());
        assert_eq!((careful.place, careful.attempts), (Place::Behind(at(4)), 0));

        let first = hearing(4, behind(5));
        for attempts in 1..3 {
            let handler = handler();
            let put_off = view
                .put_off_hearing(&first, Some(Tried::Event(5)), 3)
                .unwrap();
            assert_eq!(put_off, PutOffHearing::Again { handler, attempts });
        }
        let put_off = view
            .put_off_hearing(&first, Some(Tried::Event(5)), 3)
            .unwrap();
        let given_up = PutOffHearing::GivenUp {
            handler: handler(),
            attempts: 3,
        };
        assert_eq!(put_off, given_up);
        let put_off = view
            .put_off_hearing(&first, Some(Tried::Event(5)), 3)
            .unwrap();
        assert_eq!(put_off, PutOffHearing::Gone);
        let next = row(&mut view);
        assert_eq!((next.place, next.attempts), (Place::Behind(at(5)), 0));
        assert!(next.is_careful());
        view.hear(&hearing(5, behind(9))).unwrap();
        assert!(!row(&mut view).is_careful(), "the others go on together");

        // What its handler has failed with may be gone before it is tried again. Then the next one is as good
        // as any.
        let mut put_off = |tried, until| {
            let hearing = hearing(9, behind(until));
            match view.put_off_hearing(&hearing, Some(tried), 3).unwrap() {
                PutOffHearing::Again { attempts, .. } => attempts,
                other => panic!("{other:?}"),
            }
        };
        for (tried, until, attempts) in [
            (Tried::Event(10), 10, 1),
            (Tried::Event(10), 11, 2),
            (Tried::Event(12), 12, 1),
            (Tried::Event(12), 12, 2),
            (Tried::Gap, 14, 1),
            (Tried::Gap, 15, 2),
        ] {
            assert_eq!(put_off(tried, until), attempts, "{tried:?}");
        }

        // Of what is gone it is told as often.
        let end = hearing(9, Forward::End);
        for _ in 1..3 {
            view.put_off_hearing(&end, Some(Tried::End), 3).unwrap();
        }
        view.put_off_hearing(&end, Some(Tried::End), 3).unwrap();
        assert_eq!(entries(&view), 0);
    }
}
