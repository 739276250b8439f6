//! Typing a text by one author: what the ledger adds to the sequence that works out the edits. Each
//! burst of edits is one call, and a call has a price of its own whatever it carries, so the ratio is
//! told for bursts of several lengths: single keys, as the trace has recorded them, words, sentences,
//! paragraphs. Of sentences on, the aim is held against the sequence; below that against the sequence
//! and as many calls that write a register, for there a call's own price is most of it. Texts of several authors are in
//! `together.rs`.

use std::error::Error;

use bytes::Bytes;
use corelet_store::{
    Birth, Births, Content, EntryKind, Hlc, Op, Sequence, SequenceKind, Space, UPDATE_EDITS_MAX,
    Write,
};

use crate::Plan;
use crate::ledger::{AUTHOR, Bench, Took, micros};
use crate::report::{at_most, fact, median};
use crate::trace::{Edit, Trace};

/// Edits of one call.
const BURSTS: [usize; 4] = [1, 8, 64, 512];

/// What a text may take, over whatever it is held against.
const AIM: f64 = 2.0;

/// From so many edits a call on, a text is held against the sequence alone: a sentence. A durable call
/// costs some twenty edits, so that fewer cannot come near it.
pub(crate) const SENTENCE: usize = 64;

/// Edits of an update in which each can delete and insert.
const UPDATE_EDITS: usize = UPDATE_EDITS_MAX / 2;

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let trace = match &plan.trace {
        Some(file) => Trace::recorded(file, plan.edits)?,
        None => Trace::made_up(plan.edits),
    };
    for burst in BURSTS {
        let what = format!(
            "{} ({} edits), {burst} a call",
            trace.name,
            trace.edits.len()
        );
        eprintln!("state_cost: texts: {what}");
        let mut sides = Sides::default();
        for round in 0..plan.rounds {
            // The library has no transactions without a bound: it gives updates, and be they as
            // large as they can.
            let in_memory = alone(&trace, UPDATE_EDITS)?;
            let with_updates = alone(&trace, burst)?;
            let name = format!("text-{burst}-{round}");
            let stored = stored(plan, &name, &trace, burst)?;
            sides.push(&in_memory, &with_updates, &stored);
            std::fs::remove_dir_all(plan.dir.join(&name))?;
            if burst < SENTENCE {
                let written = written(plan, &name, trace.edits.len(), burst)?;
                sides.push_calls(&written.and(&in_memory), &stored);
                std::fs::remove_dir_all(plan.dir.join(name))?;
            }
        }
        sides.report(
            &what,
            trace.edits.len(),
            "calls that write a register and the sequence alone in memory",
        );
    }
    Ok(())
}

/// The same edits by the sequence alone and through the ledger.
#[derive(Default)]
pub(crate) struct Sides {
    /// Over the sequence in memory, and over the sequence with an update a call: by processor
    /// time and by the clock.
    over_memory: [Vec<f64>; 2],
    over_updates: [Vec<f64>; 2],
    /// Over as many calls of another kind, if that was measured.
    over_calls: [Vec<f64>; 2],
    /// Of each side.
    took: [Vec<Took>; 3],
}

impl Sides {
    pub(crate) fn push(&mut self, in_memory: &Took, with_updates: &Took, stored: &Took) {
        let others = [
            (&mut self.over_memory, in_memory),
            (&mut self.over_updates, with_updates),
        ];
        for (ratios, other) in others {
            for (ratios, ratio) in ratios.iter_mut().zip(stored.over(other)) {
                ratios.push(ratio);
            }
        }
        for (all, took) in self.took.iter_mut().zip([in_memory, with_updates, stored]) {
            all.push(*took);
        }
    }

    /// What as many calls of another kind take.
    pub(crate) fn push_calls(&mut self, calls: &Took, stored: &Took) {
        for (ratios, ratio) in self.over_calls.iter_mut().zip(stored.over(calls)) {
            ratios.push(ratio);
        }
    }

    /// Calls of less than a sentence are held against `calls`, of which as many were measured.
    pub(crate) fn report(self, what: &str, edits: usize, calls: &str) {
        let each = |side: usize, time: fn(&Took) -> std::time::Duration| {
            median(
                self.took[side]
                    .iter()
                    .map(|took| micros(time(took), edits))
                    .collect(),
            )
        };
        let [memory, updates, stored] = [0, 1, 2].map(|side| each(side, |took| took.cpu));
        let by_the_clock = [0, 1, 2].map(|side| each(side, |took| took.wall));
        let over = "stored over the sequence alone";
        let [cpu_over_memory, over_memory] = self.over_memory.map(median);
        let [cpu_over_updates, over_updates] = self.over_updates.map(median);
        let over_library = [
            (format!("{what}, {over} in memory, time"), over_memory),
            (
                format!("{what}, {over} with an update a call, time"),
                over_updates,
            ),
        ];
        let is_sentence = self.over_calls[0].is_empty();
        for (name, ratio) in over_library {
            match is_sentence {
                true => at_most(name, ratio, AIM),
                false => fact(name, format!("{ratio:.2}")),
            }
        }
        if !is_sentence {
            let [cpu, time] = self.over_calls.map(median);
            let name = format!("{what}, stored over as many {calls}");
            at_most(format!("{name}, time"), time, AIM);
            fact(format!("{name}, processor time"), format!("{cpu:.2}"));
        }
        fact(
            format!("{what}, {over}, processor time"),
            format!("{cpu_over_memory:.2} in memory, {cpu_over_updates:.2} with an update a call"),
        );
        fact(
            format!("{what}, each edit"),
            format!(
                "{:.2} us in memory, {:.2} us with updates, {:.2} us stored; processor time {memory:.2}, {updates:.2}, {stored:.2} us",
                by_the_clock[0], by_the_clock[1], by_the_clock[2],
            ),
        );
    }
}

/// The sequence with its updates, which nobody stores.
fn alone(trace: &Trace, burst: usize) -> Result<Took, Box<dyn Error>> {
    let mut text = Sequence::new(SequenceKind::Text, AUTHOR);
    let took = Took::of(|| {
        for (edits, stamp) in trace.edits.chunks(burst).zip(1..) {
            press(&mut text, edits)?;
            std::hint::black_box(text.take_update(Hlc::from_bits(stamp))?);
        }
        Ok(())
    })?;
    if let Some(end) = &trace.end {
        check_end(&text, end)?;
    }
    Ok(took)
}

/// As many calls that write a register with a byte for each edit, committed in the same batches.
fn written(plan: &Plan, name: &str, edits: usize, burst: usize) -> Result<Took, Box<dyn Error>> {
    let mut bench = Bench::new(&plan.dir, name)?;
    let place = bench.create()?;
    let value = Bytes::from(vec![b'x'; burst]);
    let mut left = edits.div_ceil(burst);
    Took::of(|| {
        bench.commit_each(place, |_| {
            let is_left = left > 0;
            left = left.saturating_sub(1);
            Ok(is_left.then(|| Op::shared(Bytes::from_static(b"text"), Write::Set(value.clone()))))
        })
    })
}

/// The same, committed in batches.
pub(crate) fn stored(
    plan: &Plan,
    name: &str,
    trace: &Trace,
    burst: usize,
) -> Result<Took, Box<dyn Error>> {
    let mut bench = Bench::new(&plan.dir, name)?;
    let place = bench.create()?;
    let mut text = Sequence::new(SequenceKind::Text, AUTHOR);
    let mut birth = None;
    Took::of(|| {
        let mut bursts = trace.edits.chunks(burst);
        bench.commit_each(place, |hlc| {
            for edits in bursts.by_ref() {
                press(&mut text, edits)?;
                if let Some(op) = take_op(&mut text, hlc, birth)? {
                    birth.get_or_insert(Birth {
                        author: AUTHOR,
                        hlc,
                    });
                    return Ok(Some(op));
                }
            }
            Ok(None)
        })
    })
}

/// Edits in a row.
pub(crate) fn press(text: &mut Sequence, edits: &[Edit]) -> Result<(), Box<dyn Error>> {
    for edit in edits {
        edit.apply(text)?;
    }
    Ok(())
}

/// The write of a call that has edited the text, if it has.
pub(crate) fn take_op(
    text: &mut Sequence,
    hlc: Hlc,
    birth: Option<Birth>,
) -> Result<Option<Op>, Box<dyn Error>> {
    let update = text.take_update(hlc)?;
    Ok(update.map(|update| Op {
        space: Space::Shared,
        key: Bytes::from_static(b"text"),
        removes_first: false,
        write: Write::Edit {
            kind: EntryKind::Text,
            births: birth.into_iter().collect::<Births>(),
            update: update.into(),
        },
    }))
}

/// Fails unless the text is this one.
pub(crate) fn check_end(text: &Sequence, end: &str) -> Result<(), Box<dyn Error>> {
    match text.slice(0, text.len())? {
        Content::Text(text) if text == end => Ok(()),
        _ => Err("the edits have led to another text".into()),
    }
}
