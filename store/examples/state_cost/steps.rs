//! How long a step of the collector, of the scrub and of the sweep holds the thread that makes it,
//! as a shard's commit thread does: one behind each batch, while calls fill contexts of every kind, type into
//! texts, have their answers kept, and contexts are deleted. What a step leaves to the next checkpoint is not in it, nor are checkpoints. The
//! processor time of a step is what it holds up others for; by the clock it is longer
//! where it waits for the disk, and where other programs have the processor in between, which is told apart.

use std::cell::Cell;
use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::{
    Acknowledgement, AnswerKey, Birth, Births, Change, ContextSlot, EntryKind, Event, Hlc,
    KeyedAnswer, LedgerConfig, NodeId, Op, Reach, RequestDigest, Retention, Said, Scrub,
    StepBounds, Write,
};

use crate::Plan;
use crate::ledger::{Bench, CALLS, Place, Took};
use crate::report::{at_most_time, fact};

/// When a step is to end, as on a commit thread.
const STEP_MAX: Duration = Duration::from_micros(250);

/// What no step is to take.
const AIM: Duration = Duration::from_millis(1);

/// As a commit thread has them.
const SCRUB_STEP: StepBounds = StepBounds {
    rows_max: 64,
    bytes_max: 64 << 10,
};

/// Keys for each batch.
const KEYS_PER_BATCH: u64 = 2_500;

/// Batches from one deletion of a context to the next.
const DELETED_EVERY: u64 = 40;

/// Entries that a call puts into the context that is deleted next but some.
const FILL_OPS: u64 = 400;

/// Edits that a batch adds to a text that stays, and from one removal of such a text to the next.
const TYPED: u64 = 16;
const TYPED_REMOVED_EVERY: u64 = 1_000;

/// Batches from one time to the next at which all answers that are kept are too old.
const EXPIRED_EVERY: u64 = 20;

/// Values that other calls write, in bytes.
const SMALL: usize = 100;
const MIDDLE: usize = 20_000;
const LARGE: usize = 1 << 20;

/// The other node that has the shared contexts.
const MEMBER: NodeId = NodeId::from_bytes([8; 32]);

/// The steps of one kind.
#[derive(Default)]
struct Steps {
    cpu: Vec<Duration>,
    wall: Vec<Duration>,
    /// By the clock as well, of steps during which no other thread was given the processor and that had to wait for
    /// nothing.
    undisturbed: Vec<Duration>,
    /// Of those that had to wait, for the disk or a lock of the system's.
    waited: Vec<Duration>,
}

impl Steps {
    fn time<T>(
        &mut self,
        work: impl FnOnce() -> Result<T, Box<dyn Error>>,
    ) -> Result<T, Box<dyn Error>> {
        let mut done = None;
        let before = Away::so_far()?;
        let took = Took::of(|| {
            done = Some(work()?);
            Ok(())
        })?;
        self.cpu.push(took.cpu);
        self.wall.push(took.wall);
        let after = Away::so_far()?;
        if after == before {
            self.undisturbed.push(took.wall);
        } else if after.waits != before.waits {
            self.waited.push(took.wall);
        }
        Ok(done.ok_or("it was done")?)
    }

    fn tell(mut self, what: &str) {
        if let Some(longest) = self.waited.iter().max() {
            fact(
                format!("steps of {what} that had to wait for the disk, and the longest"),
                format!("{}, {} us", self.waited.len(), longest.as_micros()),
            );
        }
        let kinds = [
            ("processor time", &mut self.cpu),
            ("time", &mut self.wall),
            (
                "time, without others in between and without waiting",
                &mut self.undisturbed,
            ),
        ];
        for (which, times) in kinds.into_iter().filter(|(_, times)| !times.is_empty()) {
            times.sort_unstable();
            let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
            at_most_time(
                format!(
                    "a step of {what} of {}, {which}: median, 99 %, longest",
                    times.len()
                ),
                [at(500), at(990), at(1000)],
                AIM,
            );
        }
    }
}

/// How often this thread has not had the processor.
#[derive(PartialEq, Eq)]
struct Away {
    /// While it had more to do.
    others: i64,
    /// While it waited for something.
    waits: i64,
}

impl Away {
    #[expect(unsafe_code, reason = "no library that is used here tells")]
    fn so_far() -> Result<Away, Box<dyn Error>> {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to a value of its own, of which every bit may be zero.
        let (failed, usage) = unsafe {
            let failed = libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
            (failed, usage.assume_init())
        };
        match failed {
            0 => Ok(Away {
                others: usage.ru_nivcsw,
                waits: usage.ru_nvcsw,
            }),
            _ => Err(std::io::Error::last_os_error().into()),
        }
    }
}

/// A budget that ends as a commit thread's does.
fn timed<T>(bounds: StepBounds, step: impl FnOnce(corelet_store::Budget<'_>) -> T) -> T {
    let started = Instant::now();
    step(bounds.until(&|| started.elapsed() >= STEP_MAX))
}

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let config = LedgerConfig {
        map_bytes_max: 8 << 30,
        ..LedgerConfig::default()
    };
    let mut bench = Bench::with(&plan.dir, "steps", config)?;
    let many = (0..32).map(|_| bench.create());
    let many = many.collect::<Result<Vec<_>, _>>()?;
    let shared = [bench.create()?, bench.create()?];
    let now = bench.call(shared[0], vec![]).hlc;
    let members = |place: &Place| Change::SetMembers {
        context: place.id(),
        members: vec![MEMBER],
        now,
    };
    bench.change(shared.iter().map(members).collect())?;
    let mut filled: VecDeque<Place> = (0..3).map(|_| bench.create()).collect::<Result<_, _>>()?;
    let mut retention = Retention::default();
    for keep in [&mut retention.events, &mut retention.history] {
        (keep.count_max, keep.bytes_max) = (1_000, 8 << 20);
    }
    let ledger = bench.ledger().clone();
    let mut writer = ledger.writer();
    let mut scrub = Scrub::default();
    let [
        mut collects,
        mut scrubs,
        mut sweeps,
        mut expiries,
        mut checkpoints,
    ] = [(); 5].map(|()| Steps::default());
    // On which births the next edit of each of the texts builds that stay.
    let mut typed: [Option<Births>; 2] = [None, None];
    let swept = Cell::new(0);
    let (mut dropped, mut packed, mut expired) = (0, 0, 0);
    let batches = (plan.keys / KEYS_PER_BATCH).max(2 * DELETED_EVERY);
    for batch in 0..batches {
        let mut changes = Vec::with_capacity(CALLS + 2);
        for n in 0..CALLS as u64 - 6 {
            let place = many[(n % many.len() as u64) as usize];
            let mut call = bench.call(place, vec![set(batch * n % 5_000, SMALL)]);
            call.events = vec![Event {
                kind: "told".to_owned(),
                payload: Bytes::from_static(b"something"),
            }];
            if n % 4 == 0 {
                call.answer = Some(Box::new(answer(call.hlc)));
            }
            changes.push(Change::Call(call));
        }
        for place in shared {
            let call = bench.call(place, vec![set(batch % 100, MIDDLE)]);
            changes.push(Change::Call(call));
        }
        let text = match batch % 2 {
            0 => edit(Births::default()),
            _ => Write::Remove,
        };
        let call = bench.call(many[0], vec![Op::shared("text".into(), text)]);
        changes.push(Change::Call(call));
        for ((n, place), births) in (0..).zip([many[2], shared[0]]).zip(&mut typed) {
            let ends = (batch + n * TYPED_REMOVED_EVERY / 2).is_multiple_of(TYPED_REMOVED_EVERY);
            for nth in 0..TYPED {
                let write = match ends && nth == 0 {
                    true => Write::Remove,
                    false => edit(births.clone().unwrap_or_default()),
                };
                let is_first = births.is_none() && !matches!(write, Write::Remove);
                let call = bench.call(place, vec![Op::shared("typed".into(), write)]);
                if ends && nth == 0 {
                    *births = None;
                } else if is_first {
                    let (author, hlc) = (call.author, call.hlc);
                    *births = Some([Birth { author, hlc }].into_iter().collect());
                }
                changes.push(Change::Call(call));
            }
        }
        if batch % 16 == 0 {
            for place in [many[1], shared[1]] {
                let call = bench.call(place, vec![set(batch % 7, LARGE)]);
                changes.push(Change::Call(call));
            }
        }
        let first = batch % DELETED_EVERY * FILL_OPS;
        let newest = *filled.back().ok_or("there are some")?;
        let ops = (first..first + FILL_OPS).map(|n| set(n, SMALL)).collect();
        changes.push(Change::Call(bench.call(newest, ops)));
        commit(&mut writer, changes)?;
        if batch % DELETED_EVERY == DELETED_EVERY - 1 {
            let oldest = filled.pop_front().ok_or("there are some")?;
            commit(&mut writer, vec![Change::DeleteContext(oldest.id())])?;
            drop(writer);
            filled.push_back(bench.create()?);
            for place in shared {
                let now = bench.call(place, vec![]).hlc;
                let snapshot = bench.snapshot()?;
                let head = snapshot.head(place.slot())?;
                let ack = Change::Acknowledge(Acknowledgement {
                    context: place.id(),
                    member: MEMBER,
                    seen: snapshot.applied(&head)?,
                    now,
                });
                drop(snapshot);
                bench.change(vec![ack])?;
            }
            writer = ledger.writer();
        }
        let now = bench.call(many[0], vec![]).hlc;
        writer.open()?;
        let collected = collects.time(|| {
            let bounds = StepBounds::default();
            let collected = timed(bounds, |budget| {
                writer.collect(&retention, now, budget, Reach::All)
            });
            Ok(collected?)
        })?;
        dropped += collected.events + collected.deltas;
        packed += collected.edits_packed;
        let mut is_due = collected.is_checkpoint_due;
        if is_due {
            checkpoints.time(|| Ok(writer.checkpoint()?))?;
        }
        writer.open()?;
        is_due = sweeps.time(|| {
            let step = timed(StepBounds::default(), |budget| writer.sweep(budget))?;
            swept.set(swept.get() + step.records);
            Ok(step.is_checkpoint_due)
        })?;
        if is_due {
            checkpoints.time(|| Ok(writer.checkpoint()?))?;
        }
        let mut from = (batch % EXPIRED_EVERY == 0).then_some(ContextSlot::UNASSIGNED);
        while let Some(slot) = from {
            writer.open()?;
            is_due = expiries.time(|| {
                let step = timed(StepBounds::default(), |budget| {
                    writer.expire_answers(Hlc::MAX, slot, budget)
                })?;
                expired += step.answers;
                from = step.next;
                Ok(step.is_checkpoint_due)
            })?;
            if is_due {
                checkpoints.time(|| Ok(writer.checkpoint()?))?;
            }
        }
        scrubs.time(|| {
            Ok(timed(SCRUB_STEP, |budget| {
                scrub.step(&ledger.snapshot()?, budget)
            })?)
        })?;
    }
    checkpoints.time(|| Ok(writer.checkpoint()?))?;
    collects.tell("the collector");
    sweeps.tell("the sweep");
    expiries.tell("the collector among answers");
    scrubs.tell("the scrub");
    fact(
        "what these steps have dropped: events and deltas, records of deleted contexts, answers; and edits that they have packed",
        format!("{dropped}, {}, {expired}; {packed}", swept.get()),
    );
    let longest = checkpoints.wall.iter().max().ok_or("there is one")?;
    fact(
        "checkpoints made as a step has said that one is due, and the longest, which is in no step",
        format!(
            "{}, {:.1} ms",
            checkpoints.wall.len() - 1,
            longest.as_secs_f64() * 1e3
        ),
    );
    Ok(())
}

fn commit(
    writer: &mut corelet_store::LedgerWriter<'_>,
    changes: Vec<Change>,
) -> Result<(), Box<dyn Error>> {
    for verdict in writer.commit(changes)?.verdicts {
        verdict?;
    }
    Ok(())
}

fn edit(births: Births) -> Write {
    Write::Edit {
        kind: EntryKind::Text,
        births,
        update: Bytes::from(vec![1; SMALL]),
    }
}

/// One that was given at that time, under a key of its own.
fn answer(hlc: Hlc) -> KeyedAnswer {
    let text = Bytes::copy_from_slice(&hlc.bits().to_be_bytes());
    KeyedAnswer {
        key: AnswerKey::of(&text),
        request: RequestDigest::of(b"call", &text),
        fuel_used: 1,
        said: Said::Output(text),
    }
}

fn set(number: u64, bytes: usize) -> Op {
    Op::set(
        Bytes::from(format!("key-{number:010}")),
        Bytes::from(vec![number as u8; bytes]),
    )
}
