//! Several authors who type into one text at once, as the recorded sessions of two and three people
//! do: each types at a cursor of its own, some calls without knowing what the others type
//! meanwhile, and then gets what they have typed. Every author is a node with a ledger, and so the
//! deltas of the others are real ones. What is measured is the first author's node: its own calls, and
//! the others' deltas, against a sequence alone that does and merges the same edits. Signatures
//! are checked before.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use corelet_store::{
    Birth, Change, Content, ContextSlot, DeltaView, Hlc, Ledger, LedgerConfig, NodeId, RemoteDelta,
    Sealed, Sealer, Sequence, SequenceKind, WriteView, make_seals, verify, vouch,
};

use crate::Plan;
use crate::ledger::{CALLS, Took, open};
use crate::nodes::{CONTEXT, Key, create, effects, stamp};
use crate::report::fact;
use crate::texts::{SENTENCE, Sides, check_end, press, stored, take_op};
use crate::trace::{Edit, Random, Trace, Typist};

const AUTHORS: [u8; 2] = [2, 3];

/// Edits of one call.
const BURSTS: [usize; 2] = [1, 64];

/// Calls of each author before it hears of the others, at most.
const CALLS_APART: usize = 32;

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    for authors in AUTHORS {
        for burst in BURSTS {
            let name = format!("by-{authors}-{burst}");
            let dir = plan.dir.join(name);
            eprintln!("state_cost: together: {authors} authors, {burst} edits a call");
            let session =
                Session::record(&dir.join("authors"), authors, plan.edits_together, burst)?;
            let what = format!(
                "{} edits by {authors} authors at once, {burst} a call",
                session.edits
            );
            let by_one = Trace::made_up(session.edits);
            let mut sides = Sides::default();
            for round in 0..plan.rounds {
                let in_memory = session.alone(false)?;
                let with_updates = session.alone(true)?;
                let stored_together = session.stored(&dir.join("node"), round == 0)?;
                sides.push(&in_memory, &with_updates, &stored_together);
                std::fs::remove_dir_all(dir.join("node"))?;
                if burst < SENTENCE {
                    let name = format!("by-one-{authors}-{round}");
                    let alone = stored(plan, &name, &by_one, burst)?;
                    sides.push_calls(&alone, &stored_together);
                    std::fs::remove_dir_all(plan.dir.join(name))?;
                }
            }
            fact(
                format!("{what}, times that the first hears of the others"),
                session.exchanges(),
            );
            sides.report(&what, session.edits, "calls by one author alone");
        }
    }
    Ok(())
}

/// A session as the first author's node goes through it.
struct Session {
    first: NodeId,
    steps: Vec<Step>,
    edits: usize,
    /// The text behind all of them.
    end: String,
}

enum Step {
    /// A call of its own.
    Call { edits: Vec<Edit>, hlc: Hlc },
    /// What the others have done meanwhile.
    Others {
        deltas: Vec<Foreign>,
        seals: Vec<Sealed>,
    },
}

/// A delta of another node.
struct Foreign {
    canonical: Bytes,
    author: NodeId,
    hlc: Hlc,
    /// All deltas up to this stamp it follows.
    seen: Hlc,
    update: Bytes,
}

/// A node of the recording.
struct Node {
    key: Key,
    ledger: Ledger,
    slot: ContextSlot,
    text: Sequence,
    typist: Typist,
}

/// What a node has made without hearing of the others.
struct Made {
    deltas: Vec<Foreign>,
    /// Where its cursor was, and by how much the text has grown.
    cursor: usize,
    grown: isize,
}

impl Node {
    fn new(dir: &Path, number: u8) -> Result<Node, Box<dyn Error>> {
        let key = Key::new(number);
        let ledger = open(&dir.join(number.to_string()), &LedgerConfig::default())?;
        let slot = create(&ledger, key.node_id())?;
        ledger.commit(vec![Change::ShareContext(CONTEXT)])?;
        Ok(Node {
            text: Sequence::new(SequenceKind::Text, key.node_id()),
            key,
            ledger,
            slot,
            typist: Typist::default(),
        })
    }

    /// Commits calls with these stamps, and gives the deltas that they have made.
    fn commit(&mut self, calls: Vec<Change>, seen: Hlc) -> Result<Vec<Foreign>, Box<dyn Error>> {
        let count = calls.len();
        for verdict in self.ledger.commit(calls)? {
            verdict?;
        }
        let mut canonical = Vec::with_capacity(count);
        let snapshot = self.ledger.snapshot()?;
        snapshot.deltas(self.slot, count, &mut |_, delta| {
            canonical.push(Bytes::copy_from_slice(delta.canonical()));
            ControlFlow::Continue(())
        })?;
        canonical.reverse();
        canonical
            .into_iter()
            .map(|canonical| Foreign::new(canonical, seen))
            .collect()
    }

    /// Takes in what the others have made.
    fn hear(&mut self, others: &[&Foreign], seals: Vec<Sealed>) -> Result<(), Box<dyn Error>> {
        let canonical = others.iter().map(|delta| delta.canonical.clone());
        let vouched = vouch(CONTEXT, canonical, seals)?;
        let slot = self.slot;
        let change = |delta| Change::Delta(RemoteDelta { slot, delta });
        let verdicts = self
            .ledger
            .commit(vouched.into_iter().map(change).collect())?;
        for verdict in verdicts {
            verdict?;
        }
        for delta in others {
            delta.merge_into(&mut self.text)?;
        }
        Ok(())
    }
}

impl Foreign {
    fn new(canonical: Bytes, seen: Hlc) -> Result<Foreign, Box<dyn Error>> {
        let delta = DeltaView::parse(&canonical)?;
        let op = delta.ops().next().ok_or("each call has edited the text")?;
        let WriteView::Edit { update, .. } = op.write else {
            return Err("each call has edited the text".into());
        };
        Ok(Foreign {
            author: delta.author(),
            hlc: delta.hlc(),
            seen,
            update: Bytes::copy_from_slice(update),
            canonical,
        })
    }

    fn merge_into(&self, text: &mut Sequence) -> Result<(), Box<dyn Error>> {
        Ok(text.apply(self.author, self.hlc, |_| self.seen, &self.update)?)
    }
}

impl Session {
    fn record(
        dir: &Path,
        authors: u8,
        edits: usize,
        burst: usize,
    ) -> Result<Session, Box<dyn Error>> {
        let mut random = Random::new();
        let nodes = (1..=authors).map(|number| Node::new(dir, number));
        let mut nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let mut session = Session {
            first: nodes[0].key.node_id(),
            steps: Vec::new(),
            edits: 0,
            end: String::new(),
        };
        let (mut now, mut birth) = (1, None);
        while session.edits < edits {
            let seen = stamp(now);
            let mut made = Vec::new();
            for (at, node) in nodes.iter_mut().enumerate() {
                // The first begins the text, and then all know that there is one.
                let calls = match (birth, at) {
                    (None, 0) => 1,
                    (None, _) => 0,
                    (Some(_), _) => 1 + random.below(CALLS_APART),
                };
                let (cursor, before) = (node.typist.cursor, node.text.len());
                let mut changes = Vec::new();
                for _ in 0..calls {
                    now += 1;
                    let mut len = node.text.len();
                    let edits: Vec<Edit> = (0..burst)
                        .map(|_| node.typist.press(&mut random, &mut len))
                        .collect();
                    press(&mut node.text, &edits)?;
                    session.edits += burst;
                    if let Some(op) = take_op(&mut node.text, stamp(now), birth)? {
                        let author = node.key.node_id();
                        let call = effects(author, node.slot, stamp(now), vec![op]);
                        changes.push(Change::Call(call));
                    }
                    if at == 0 {
                        let hlc = stamp(now);
                        session.steps.push(Step::Call { edits, hlc });
                    }
                }
                made.push(Made {
                    deltas: node.commit(changes, seen)?,
                    cursor,
                    grown: node.text.len() as isize - before as isize,
                });
            }
            exchange(&mut nodes, &made)?;
            birth.get_or_insert(Birth {
                author: session.first,
                hlc: stamp(now),
            });
            let seals = seals_beside(&nodes, &made, 0)?;
            let others = made.into_iter().skip(1).flat_map(|made| made.deltas);
            session.steps.push(Step::Others {
                deltas: others.collect(),
                seals,
            });
        }
        let Content::Text(end) = nodes[0].text.slice(0, nodes[0].text.len())? else {
            return Err("it is a text".into());
        };
        session.end = end;
        for node in &nodes {
            check_end(&node.text, &session.end)?;
        }
        Ok(session)
    }

    /// How often the first author's node gets deltas of others.
    fn exchanges(&self) -> usize {
        let is_exchange =
            |step: &&Step| matches!(step, Step::Others { deltas, .. } if !deltas.is_empty());
        self.steps.iter().filter(is_exchange).count()
    }

    /// The sequence alone, which gives an update for each call, or one before it hears of others: it
    /// cannot merge otherwise.
    fn alone(&self, each_call: bool) -> Result<Took, Box<dyn Error>> {
        let mut text = Sequence::new(SequenceKind::Text, self.first);
        let took = Took::of(|| {
            let mut last = Hlc::ZERO;
            for step in &self.steps {
                match step {
                    Step::Call { edits, hlc } => {
                        press(&mut text, edits)?;
                        last = *hlc;
                        if each_call {
                            std::hint::black_box(text.take_update(last)?);
                        }
                    }
                    Step::Others { deltas, .. } => {
                        if !each_call {
                            std::hint::black_box(text.take_update(last)?);
                        }
                        for delta in deltas {
                            delta.merge_into(&mut text)?;
                        }
                    }
                }
            }
            Ok(())
        })?;
        check_end(&text, &self.end)?;
        Ok(took)
    }

    /// The same through a ledger.
    fn stored(&self, dir: &Path, is_checked: bool) -> Result<Took, Box<dyn Error>> {
        let ledger = open(dir, &LedgerConfig::default())?;
        let slot = create(&ledger, self.first)?;
        ledger.commit(vec![Change::ShareContext(CONTEXT)])?;
        let mut text = Sequence::new(SequenceKind::Text, self.first);
        let mut birth = None;
        let took = Took::of(|| {
            let mut writer = ledger.writer();
            let mut batch = Vec::new();
            for step in &self.steps {
                match step {
                    Step::Call { edits, hlc } => {
                        press(&mut text, edits)?;
                        let op = take_op(&mut text, *hlc, birth)?;
                        let call = |op| effects(self.first, slot, *hlc, vec![op]);
                        batch.extend(op.map(call).map(Change::Call));
                        birth.get_or_insert(Birth {
                            author: self.first,
                            hlc: *hlc,
                        });
                    }
                    Step::Others { deltas, seals } => {
                        let canonical = deltas.iter().map(|delta| delta.canonical.clone());
                        let vouched = vouch(CONTEXT, canonical, seals.iter().cloned())?;
                        if vouched.len() != deltas.len() {
                            return Err("a delta was not vouched for".into());
                        }
                        let change = |delta| Change::Delta(RemoteDelta { slot, delta });
                        batch.extend(vouched.into_iter().map(change));
                        for delta in deltas {
                            delta.merge_into(&mut text)?;
                        }
                    }
                }
                if batch.len() >= CALLS {
                    for verdict in writer.commit(std::mem::take(&mut batch))?.verdicts {
                        verdict?;
                    }
                }
            }
            for verdict in writer.commit(batch)?.verdicts {
                verdict?;
            }
            Ok(writer.checkpoint()?)
        })?;
        check_end(&text, &self.end)?;
        if is_checked {
            verify(&ledger.snapshot()?)?;
        }
        Ok(took)
    }
}

/// Everybody gets what all others have made. Cursors stay about where they are in the text.
fn exchange(nodes: &mut [Node], made: &[Made]) -> Result<(), Box<dyn Error>> {
    for at in 0..nodes.len() {
        let seals = seals_beside(nodes, made, at)?;
        let others = made.iter().enumerate().filter(|(other, _)| *other != at);
        let deltas: Vec<&Foreign> = others
            .clone()
            .flat_map(|(_, made)| made.deltas.iter())
            .collect();
        let node = &mut nodes[at];
        node.hear(&deltas, seals)?;
        for (_, other) in others {
            if other.cursor <= made[at].cursor {
                node.typist.cursor = node.typist.cursor.saturating_add_signed(other.grown);
            }
        }
        node.typist.cursor = node.typist.cursor.min(node.text.len());
    }
    Ok(())
}

/// Checked seals on the newest delta of each node but one.
fn seals_beside(nodes: &[Node], made: &[Made], but: usize) -> Result<Vec<Sealed>, Box<dyn Error>> {
    let mut seals = Vec::new();
    for (at, (node, made)) in nodes.iter().zip(made).enumerate() {
        let newest = made.deltas.last().filter(|_| at != but);
        if let Some(newest) = newest {
            let id = DeltaView::parse(&newest.canonical)?.id();
            let seal = make_seals(&node.key, &[(CONTEXT, id)]).remove(0);
            seals.push(seal.check(CONTEXT, id)?);
        }
    }
    Ok(seals)
}
