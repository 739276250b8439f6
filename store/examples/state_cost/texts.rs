//! Typing a text: what the ledger adds to the sequence that works out the edits. The typing
//! is made up here, like people type: runs of letters at the cursor, backspaces, and now and
//! then a jump to another place. Each burst of keys is one call, and a call has a price of its own
//! whatever it carries, so the ratio is told for bursts of several lengths.

use std::error::Error;

use bytes::Bytes;
use corelet_store::{
    Birth, Births, Content, EntryKind, Hlc, Op, Sequence, SequenceKind, Space, Write,
};

use crate::Plan;
use crate::ledger::{AUTHOR, Bench, Place, Took, micros};
use crate::report::{at_most, fact, median};

/// Keys of one call: a word, a sentence, a paragraph. Libraries are measured with whole
/// traces, so the aim is for the last.
const BURSTS: [(usize, Option<f64>); 3] = [(8, None), (64, None), (512, Some(2.0))];

enum Key {
    Letter { at: usize, letter: char },
    Backspace { at: usize },
}

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let keys = typing(plan.elements / 4);
    for (burst, aim) in BURSTS {
        let (mut cpu, mut wall, mut each) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..plan.rounds {
            let alone = alone(&keys, burst)?;
            let stored = stored(plan, &format!("text-{burst}-{round}"), &keys, burst)?;
            let [in_cpu, in_wall] = stored.over(&alone);
            cpu.push(in_cpu);
            wall.push(in_wall);
            each.push(micros(alone.cpu, keys.len()));
        }
        let what = format!("typing {} keys, {burst} a call", keys.len());
        let name = format!("{what}, stored over the sequence alone, time");
        match aim {
            Some(aim) => at_most(name, median(wall), aim),
            None => fact(name, format!("{:.2}", median(wall))),
        }
        fact(
            format!("{what}, stored over the sequence alone, processor time"),
            format!("{:.2}", median(cpu)),
        );
        fact(
            format!("{what}, the sequence alone, processor time"),
            format!("{:.2} us a key", median(each)),
        );
    }
    Ok(())
}

/// The sequence with its updates, which nobody stores.
fn alone(keys: &[Key], burst: usize) -> Result<Took, Box<dyn Error>> {
    let mut text = Sequence::new(SequenceKind::Text, AUTHOR);
    Took::of(|| {
        for (keys, stamp) in keys.chunks(burst).zip(1..) {
            press(&mut text, keys)?;
            std::hint::black_box(text.take_update(Hlc::from_bits(stamp))?);
        }
        Ok(())
    })
}

/// The same, committed in batches.
fn stored(plan: &Plan, name: &str, keys: &[Key], burst: usize) -> Result<Took, Box<dyn Error>> {
    let mut bench = Bench::new(&plan.dir, name)?;
    let place = bench.create()?;
    Took::of(|| type_into(&mut bench, place, keys, burst))
}

fn type_into(
    bench: &mut Bench,
    place: Place,
    keys: &[Key],
    burst: usize,
) -> Result<(), Box<dyn Error>> {
    let mut text = Sequence::new(SequenceKind::Text, AUTHOR);
    let mut birth = None;
    let mut calls = Vec::new();
    for keys in keys.chunks(burst) {
        press(&mut text, keys)?;
        let mut call = bench.call(place, vec![]);
        let Some(update) = text.take_update(call.hlc)? else {
            continue;
        };
        call.ops.push(Op {
            space: Space::Shared,
            key: Bytes::from_static(b"text"),
            removes_first: false,
            write: Write::Edit {
                kind: EntryKind::Text,
                births: birth.into_iter().collect::<Births>(),
                update: update.into(),
            },
        });
        birth.get_or_insert(Birth {
            author: AUTHOR,
            hlc: call.hlc,
        });
        calls.push(call);
    }
    bench.commit(calls).map(drop)
}

fn press(text: &mut Sequence, keys: &[Key]) -> Result<(), Box<dyn Error>> {
    for key in keys {
        match *key {
            Key::Letter { at, letter } => text.insert(at, Content::Text(letter.into()))?,
            Key::Backspace { at } => text.delete(at, 1)?,
        }
    }
    Ok(())
}

fn typing(count: usize) -> Vec<Key> {
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as usize % below
    };
    let (mut cursor, mut len) = (0, 0);
    let mut keys = Vec::with_capacity(count);
    while keys.len() < count {
        match random(100) {
            0 => cursor = random(len + 1),
            1..=12 if cursor > 0 => {
                cursor -= 1;
                len -= 1;
                keys.push(Key::Backspace { at: cursor });
            }
            _ => {
                let letter = char::from(b'a' + random(26) as u8);
                keys.push(Key::Letter { at: cursor, letter });
                cursor += 1;
                len += 1;
            }
        }
    }
    keys
}
