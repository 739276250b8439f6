//! An append to a long list against one to a short list, each a call of its own: the live
//! sequence works out the edit, and the ledger takes it in.

use std::error::Error;

use bytes::Bytes;
use corelet_store::{
    Birth, Births, CallEffects, Content, EntryKind, Op, Sequence, SequenceKind, Space, Write,
};

use crate::Plan;
use crate::ledger::{AUTHOR, Bench, Place, Took, micros};
use crate::report::{at_most, fact, median};

const CALLS: usize = 4_096;
const ELEMENTS_OF_SHORT: usize = 10;
/// Elements of one edit while a list is filled.
const FILL_ELEMENTS: usize = 1_000;

/// A list of a context, with its live sequence.
struct List {
    place: Place,
    sequence: Sequence,
    birth: Option<Birth>,
}

impl List {
    fn new(bench: &mut Bench, elements: usize) -> Result<List, Box<dyn Error>> {
        let mut list = List {
            place: bench.create()?,
            sequence: Sequence::new(SequenceKind::List, AUTHOR),
            birth: None,
        };
        while list.sequence.len() < elements {
            let more = FILL_ELEMENTS.min(elements - list.sequence.len());
            let call = list.append(bench, more)?;
            bench.commit(vec![call])?;
        }
        Ok(list)
    }

    fn append(
        &mut self,
        bench: &mut Bench,
        elements: usize,
    ) -> Result<CallEffects, Box<dyn Error>> {
        let values = vec![Box::from(&b"an element"[..]); elements];
        self.sequence
            .insert(self.sequence.len(), Content::Values(values))?;
        let mut call = bench.call(self.place, vec![]);
        let update = self
            .sequence
            .take_update(call.hlc)?
            .ok_or("it was edited")?;
        call.ops.push(Op {
            space: Space::Shared,
            key: Bytes::from_static(b"list"),
            removes_first: false,
            write: Write::Edit {
                kind: EntryKind::List,
                births: self.birth.into_iter().collect::<Births>(),
                update: update.into(),
            },
        });
        self.birth.get_or_insert(Birth {
            author: AUTHOR,
            hlc: call.hlc,
        });
        Ok(call)
    }

    /// How long so many appends take.
    fn round(&mut self, bench: &mut Bench) -> Result<Took, Box<dyn Error>> {
        Took::of(|| {
            let calls: Result<Vec<_>, _> = (0..CALLS).map(|_| self.append(bench, 1)).collect();
            bench.commit(calls?).map(drop)
        })
    }
}

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let mut bench = Bench::new(&plan.dir, "lists")?;
    let mut long = List::new(&mut bench, plan.elements)?;
    let (mut cpu, mut wall, mut each) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=plan.rounds {
        let mut short = List::new(&mut bench, ELEMENTS_OF_SHORT)?;
        let (in_long, in_short) = (long.round(&mut bench)?, short.round(&mut bench)?);
        if round > 0 {
            let [in_cpu, in_wall] = in_long.over(&in_short);
            cpu.push(in_cpu);
            wall.push(in_wall);
            each.push(micros(in_long.wall, CALLS));
        }
    }
    let what = format!("one append to a list of {}", plan.elements);
    at_most(
        format!("{what} over one to a list of {ELEMENTS_OF_SHORT}, time"),
        median(wall),
        1.5,
    );
    fact(
        format!("{what} over one to a list of {ELEMENTS_OF_SHORT}, processor time"),
        format!("{:.2}", median(cpu)),
    );
    fact(
        format!("{what}, durable, 64 at once"),
        format!("{:.1} us", median(each)),
    );
    Ok(())
}
