//! Time and size: the paper, long lists, and two branches that meet.

use crate::memory;
use crate::random::Random;
use crate::replica::{Edit, Kind, Replica};
use crate::traces;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A merge that takes longer is given up, and stands as infinite; appends are
/// then fewer.
const MERGE_TIME_MAX: Duration = Duration::from_secs(5);

/// What was measured, by name; a run appends one value to each.
pub type Figures = BTreeMap<&'static str, Vec<f64>>;

fn put(figures: &mut Figures, name: &'static str, value: f64) {
    figures.entry(name).or_default().push(value);
}

/// Seconds that `work` takes, and what it returns.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed().as_secs_f64(), result)
}

/// Local edits with an export each, import one by one, memory, save, load.
pub fn paper<R: Replica>(edits: &[Edit], figures: &mut Figures) {
    let edits = &edits[..edits.len().min(R::EDITS_MAX)];
    let count = edits.len() as f64;
    for (batch, local, bytes, import) in [
        (
            1,
            "a01 local edit, 1 a transaction, us",
            "a02 update bytes an edit, 1 a tx",
            "a03 import, 1 a tx, us an edit",
        ),
        (
            100,
            "a04 local edit, 100 a transaction, us",
            "a05 update bytes an edit, 100 a tx",
            "a06 import, 100 a tx, us an edit",
        ),
    ] {
        let before = memory::live();
        let mut writer = R::new(Kind::Text, 1);
        let (time, updates) = timed(|| {
            edits
                .chunks(batch)
                .map(|chunk| writer.edit(chunk))
                .collect::<Vec<_>>()
        });
        put(figures, local, time * 1e6 / count);
        put(
            figures,
            bytes,
            updates.iter().map(Vec::len).sum::<usize>() as f64 / count,
        );
        let held: usize = updates.iter().map(Vec::capacity).sum::<usize>()
            + updates.capacity() * size_of::<Vec<u8>>();
        if batch == 1 {
            put(
                figures,
                "b01 live document, MB",
                (memory::live() - before - held) as f64 / 1e6,
            );
        }

        let before = memory::live();
        let mut reader = R::new(Kind::Text, 2);
        let (time, ()) = timed(|| {
            for update in &updates {
                reader.apply(update).expect("valid, and in order");
            }
        });
        put(figures, import, time * 1e6 / count);
        assert!(
            reader.content() == writer.content(),
            "{}: replicas differ",
            R::NAME
        );
        if batch == 1 {
            put(
                figures,
                "b02 imported document, MB",
                (memory::live() - before) as f64 / 1e6,
            );
            let (time, saved) = timed(|| writer.save());
            put(figures, "b03 save, ms", time * 1e3);
            put(figures, "b04 saved, kB", saved.len() as f64 / 1e3);
            let before = memory::live();
            let (time, loaded) = timed(|| {
                let loaded = R::load(Kind::Text, 3, &saved).expect("what was saved");
                assert!(loaded.len() > 0);
                loaded
            });
            put(figures, "b05 load, ms", time * 1e3);
            put(
                figures,
                "b06 loaded document, MB",
                (memory::live() - before) as f64 / 1e6,
            );
            let mut loaded = loaded;
            let (time, _) = timed(|| loaded.edit(&edits[..1]));
            put(figures, "b07 first edit after load, ms", time * 1e3);
        }
    }
}

/// Single appends to an empty list and to one of a million values; its load.
pub fn long_list<R: Replica>(figures: &mut Figures) {
    let mut random = Random(7);
    let append = |list: &mut R, random: &mut Random| {
        let insert = traces::insert(random, Kind::List, 1);
        let (time, update) = timed(|| {
            list.edit(&[Edit {
                at: list.len(),
                delete: 0,
                insert,
            }])
        });
        (time, update)
    };
    let median = |list: &mut R, other: &mut R, random: &mut Random| {
        let (mut here, mut there) = (Vec::new(), Vec::new());
        let start = Instant::now();
        for _ in 0..1_000 {
            if start.elapsed() > MERGE_TIME_MAX {
                break;
            }
            let (time, update) = append(list, random);
            here.push(time);
            there.push(timed(|| other.apply(&update).expect("valid, and in order")).0);
        }
        (middle(&mut here) * 1e6, middle(&mut there) * 1e6)
    };
    let (mut list, mut other) = (R::new(Kind::List, 1), R::new(Kind::List, 2));
    let (here, there) = median(&mut list, &mut other, &mut random);
    put(figures, "c01 append to an empty list, us", here);
    put(figures, "c02 import of it, us", there);

    let before = memory::live();
    let mut list = R::new(Kind::List, 1);
    for _ in 0..10 {
        let insert = traces::insert(&mut random, Kind::List, 100_000);
        list.edit(&[Edit {
            at: list.len(),
            delete: 0,
            insert,
        }]);
    }
    put(
        figures,
        "c05 list of 1M x 8 bytes, MB",
        (memory::live() - before) as f64 / 1e6,
    );
    let saved = list.save();
    put(
        figures,
        "c06 list of 1M saved, MB",
        saved.len() as f64 / 1e6,
    );
    let (time, mut other) = timed(|| R::load(Kind::List, 2, &saved).expect("what was saved"));
    put(figures, "c07 load of 1M, ms", time * 1e3);
    let (here, there) = median(&mut list, &mut other, &mut random);
    put(figures, "c03 append to a list of 1M, us", here);
    put(figures, "c04 import of it, us", there);
    let mut here = Vec::new();
    for _ in 0..200 {
        let at = random.below(list.len());
        let insert = traces::insert(&mut random, Kind::List, 1);
        here.push(
            timed(|| {
                list.edit(&[Edit {
                    at,
                    delete: 0,
                    insert,
                }])
            })
            .0,
        );
    }
    put(
        figures,
        "c08 insert anywhere in 1M, us",
        middle(&mut here) * 1e6,
    );
}

/// Two branches of `edits` edits each from a common text of 10,000 characters,
/// one update an edit, delivered one by one and as one.
pub fn branches<R: Replica>(edits: usize, figures: &mut Figures) {
    let (singly, at_once) = match edits {
        1_000 => (
            "d01 merge of 1,000 edits singly, ms",
            "d02 merge of 1,000 edits at once, ms",
        ),
        _ => (
            "d03 merge of 10,000 edits singly, ms",
            "d04 merge of 10,000 edits at once, ms",
        ),
    };
    let mut random = Random(11);
    let insert = traces::insert(&mut random, Kind::Text, 10_000);
    let (mut a, mut b) = (R::new(Kind::Text, 1), R::new(Kind::Text, 2));
    let base = a.edit(&[Edit {
        at: 0,
        delete: 0,
        insert,
    }]);
    b.apply(&base).expect("valid");
    let (mut c, mut d) = (R::new(Kind::Text, 3), R::new(Kind::Text, 4));
    c.apply(&base).expect("valid");
    d.apply(&base).expect("valid");
    let mut write = |replica: &mut R, other: &mut R, single: bool| -> Vec<Vec<u8>> {
        let all: Vec<Edit> = {
            let mut len = replica.len();
            let mut all = Vec::new();
            for _ in 0..edits {
                let edit = traces::edit(&mut random, Kind::Text, len);
                let crate::replica::Insert::Text(text) = &edit.insert else {
                    unreachable!()
                };
                len = len - edit.delete + text.len();
                all.push(edit);
            }
            all
        };
        let one = other.edit(&all);
        if single {
            all.chunks(1).map(|edit| replica.edit(edit)).collect()
        } else {
            vec![one]
        }
    };
    let from_b = write(&mut b, &mut d, true);
    let _ = write(&mut a, &mut c, true);
    let start = Instant::now();
    let mut given_up = false;
    for update in &from_b {
        a.apply(update).expect("valid");
        if start.elapsed() > MERGE_TIME_MAX {
            given_up = true;
            break;
        }
    }
    let time = if given_up {
        f64::INFINITY
    } else {
        start.elapsed().as_secs_f64()
    };
    put(figures, singly, time * 1e3);

    let (mut e, mut f) = (R::new(Kind::Text, 5), R::new(Kind::Text, 6));
    e.apply(&base).expect("valid");
    f.apply(&base).expect("valid");
    let (mut g, mut h) = (R::new(Kind::Text, 7), R::new(Kind::Text, 8));
    g.apply(&base).expect("valid");
    h.apply(&base).expect("valid");
    let from_f = write(&mut f, &mut h, false);
    // `write` edits the second replica in one transaction: its update is what arrives.
    let _ = write(&mut e, &mut g, true);
    let (time, ()) = timed(|| from_f.iter().for_each(|u| e.apply(u).expect("valid")));
    put(figures, at_once, time * 1e3);
}

/// The value in the middle.
pub fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
