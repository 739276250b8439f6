//! The slow scrub: every record of a ledger is read and checked in turn, a few at a
//! time, so that damage is found before somebody needs what it has hit. Each step takes
//! a snapshot of its own and compares only what lies side by side; what needs the whole
//! is in `verify.rs`. It changes nothing: what follows from what it finds is its caller's.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::authors::Authors;
use crate::change::ApplicationRecord;
use crate::delta::DeltaView;
use crate::error::StoreError;
use crate::ids::{ContextId, ContextSlot};
use crate::layout::{self, Table, Tables};
use crate::members::{Ack, read_pruned};
use crate::quarantine::{AsideRow, Quarantined};
use crate::record::{
    ContextRecord, DagNode, EditRow, EventView, GraveRow, Head, LitterRow, LogRow, TrieRow, open,
    read_author, read_entry, read_name,
};
use crate::retention::StepBounds;
use crate::snapshot::Snapshot;
use crate::tally::{Tally, read_mark};
use crate::trie::NodePath;

/// Tables in the order in which they are read: the small ones, which are of more weight,
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Contexts,
    Heads,
    Applications,
    Names,
    Authors,
    Graves,
    Litter,
    Tallies,
    Marks,
    Acks,
    Quarantine,
    Entries,
    Edits,
    Trie,
    Log,
    Dag,
    Events,
}

const PARTS: [Part; 17] = [
    Part::Contexts,
    Part::Heads,
    Part::Applications,
    Part::Names,
    Part::Authors,
    Part::Graves,
    Part::Litter,
    Part::Tallies,
    Part::Marks,
    Part::Acks,
    Part::Quarantine,
    Part::Entries,
    Part::Edits,
    Part::Trie,
    Part::Log,
    Part::Dag,
    Part::Events,
];

impl Part {
    fn table(self, tables: &Tables) -> Table {
        match self {
            Part::Contexts => tables.contexts,
            Part::Heads => tables.heads,
            Part::Applications => tables.applications,
            Part::Names => tables.names,
            Part::Authors => tables.authors,
            Part::Graves => tables.graves,
            Part::Litter => tables.litter,
            Part::Tallies => tables.tallies,
            Part::Marks => tables.marks,
            Part::Acks => tables.acks,
            Part::Quarantine => tables.quarantine,
            Part::Entries => tables.entries,
            Part::Edits => tables.edits,
            Part::Trie => tables.trie,
            Part::Log => tables.log,
            Part::Dag => tables.dag,
            Part::Events => tables.events,
        }
    }

    /// The slot that a record is of, if any, and as far as its key says.
    fn slot(self, key: &[u8], bytes: &[u8]) -> Option<ContextSlot> {
        match self {
            Part::Contexts => ContextRecord::read(key, bytes).ok().map(|row| row.slot),
            Part::Applications | Part::Names | Part::Authors => None,
            Part::Entries | Part::Edits | Part::Litter => {
                layout::split_entry(key).map(|(slot, ..)| slot)
            }
            Part::Log => {
                let row = open::<LogRow>(key, bytes).ok()?;
                Some(ContextSlot::new(row.slot.to_native()))
            }
            Part::Heads
            | Part::Graves
            | Part::Tallies
            | Part::Marks
            | Part::Acks
            | Part::Quarantine
            | Part::Trie
            | Part::Dag
            | Part::Events => layout::split_slot(key).map(|(slot, _)| slot),
        }
    }
}

/// Contexts without a head of which a round takes note. With more of them nothing is
/// believed to be of no context.
const HEADLESS_MAX: usize = 1024;

/// Where a scrub is. It is not on disk: after a restart it begins anew.
#[derive(Clone, Debug, Default)]
pub struct Scrub {
    part: usize,
    after: Option<Vec<u8>>,
    /// Slots of contexts whose heads are lost: what is theirs is no orphan.
    headless: BTreeSet<ContextSlot>,
    /// Whether there may be more of them, as a record or a page could not be read.
    has_doubts: bool,
}

/// What a step of the scrub has found.
#[derive(Debug, Default)]
pub struct Scrubbed {
    /// Records that were read.
    pub rows: u64,
    /// Bytes that these have.
    pub bytes: u64,
    /// What is damaged, and in which slot, if that is known.
    pub damaged: Vec<(Option<ContextSlot>, StoreError)>,
    /// Records of no context.
    pub orphans: Vec<Orphan>,
    /// Whether every record was read since the round began. The next step begins another.
    pub is_round_over: bool,
}

/// A record of a slot in which there is no context, and of which none is left to be swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    part: Part,
    key: Vec<u8>,
    slot: ContextSlot,
}

impl Orphan {
    pub(crate) fn table(&self, tables: &Tables) -> Table {
        self.part.table(tables)
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn slot(&self) -> ContextSlot {
        self.slot
    }
}

impl Scrub {
    /// Reads on from where the last step has ended, within `bounds`.
    pub fn step(
        &mut self,
        snapshot: &Snapshot,
        bounds: &StepBounds,
    ) -> Result<Scrubbed, StoreError> {
        let mut done = Scrubbed::default();
        let mut reader = Reader {
            snapshot,
            authors: None,
            headless: std::mem::take(&mut self.headless),
            has_doubts: self.has_doubts,
        };
        let outcome = self.read_on(&mut reader, bounds, &mut done);
        self.headless = reader.headless;
        self.has_doubts |= reader.has_doubts;
        if outcome?.is_continue() {
            *self = Scrub::default();
            done.is_round_over = true;
        }
        Ok(done)
    }

    /// Breaks when the step is full.
    fn read_on(
        &mut self,
        reader: &mut Reader<'_>,
        bounds: &StepBounds,
        done: &mut Scrubbed,
    ) -> Result<ControlFlow<()>, StoreError> {
        let snapshot = reader.snapshot;
        while let Some(&part) = PARTS.get(self.part) {
            let mut last = None;
            let is_full = |done: &Scrubbed| {
                done.rows >= bounds.rows_max.max(1) || done.bytes >= bounds.bytes_max
            };
            let read = snapshot.each_after(
                |tables| part.table(tables),
                self.after.as_deref(),
                |key, bytes| {
                    if is_full(done) {
                        return Ok(ControlFlow::Break(()));
                    }
                    last = Some(key.to_vec());
                    reader.read(part, key, bytes, done)?;
                    Ok(ControlFlow::Continue(()))
                },
            );
            if let Some(last) = last {
                self.after = Some(last);
            }
            match read {
                Ok(()) => {}
                // The table's own pages: there is no way to what lies behind them.
                Err(error @ StoreError::Corrupt { .. }) => {
                    self.has_doubts = true;
                    done.damaged.push((None, error));
                }
                Err(error) => return Err(error),
            }
            if is_full(done) {
                return Ok(ControlFlow::Break(()));
            }
            self.part += 1;
            self.after = None;
        }
        Ok(ControlFlow::Continue(()))
    }
}

struct Reader<'s> {
    snapshot: &'s Snapshot,
    authors: Option<Authors>,
    headless: BTreeSet<ContextSlot>,
    has_doubts: bool,
}

impl Reader<'_> {
    fn read(
        &mut self,
        part: Part,
        key: &[u8],
        bytes: &[u8],
        done: &mut Scrubbed,
    ) -> Result<(), StoreError> {
        done.rows += 1;
        done.bytes += (key.len() + bytes.len()) as u64;
        let slot = part.slot(key, bytes);
        match self.check(part, key, bytes) {
            Ok(further) => done.rows += further,
            Err(error @ StoreError::Corrupt { .. }) => {
                match (part, slot) {
                    (Part::Contexts, Some(slot)) if self.headless.len() < HEADLESS_MAX => {
                        self.headless.insert(slot);
                    }
                    (Part::Contexts, _) => self.has_doubts = true,
                    _ => {}
                }
                done.damaged.push((slot, error));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let is_of_context = !matches!(part, Part::Contexts | Part::Heads | Part::Graves);
        if let Some(slot) = slot.filter(|_| is_of_context && !self.has_doubts)
            && !self.headless.contains(&slot)
            && !self.snapshot.is_used(slot)?
        {
            done.orphans.push(Orphan {
                part,
                key: key.to_vec(),
                slot,
            });
        }
        Ok(())
    }

    /// Gives how many further records were read for it.
    fn check(&mut self, part: Part, key: &[u8], bytes: &[u8]) -> Result<u64, StoreError> {
        let snapshot = self.snapshot;
        match part {
            Part::Contexts => {
                let context = ContextRecord::read(key, bytes)?;
                let head = snapshot.head(context.slot)?;
                if head.context != context.id {
                    let why = "it belongs to another context than its record says";
                    let key = layout::slot_key(context.slot);
                    return Err(StoreError::corrupt("head record", &key, why));
                }
                snapshot.check_root(context.slot, &head)?;
                return Ok(2);
            }
            Part::Heads => {
                let head = Head::read(key, bytes)?;
                let slot = layout::read_u64(key).map(ContextSlot::new);
                let context = snapshot.context(&head.context)?;
                if context.map(|context| context.slot) != slot {
                    let why = "no context has its slot";
                    return Err(StoreError::corrupt("head record", key, why));
                }
                return Ok(1);
            }
            Part::Applications => drop(ApplicationRecord::read(key, bytes)?),
            Part::Names => drop(read_name(key, bytes)?),
            Part::Authors => drop(read_author(key, bytes)?),
            Part::Graves => drop(open::<GraveRow>(key, bytes)?),
            Part::Litter => drop(open::<LitterRow>(key, bytes)?),
            Part::Tallies => drop(Tally::read(key, bytes)?),
            Part::Marks => drop(read_mark(key, bytes)?),
            Part::Acks => match layout::read_u64(key).map(ContextSlot::new) {
                Some(slot) => drop(read_pruned(slot, bytes)?),
                None => drop(Ack::read(key, bytes)?),
            },
            Part::Quarantine => {
                if Quarantined::read(key, bytes)?.is_none() {
                    open::<AsideRow>(key, bytes)?;
                }
            }
            Part::Entries => drop(read_entry(key, bytes)?),
            Part::Edits => drop(open::<EditRow>(key, bytes)?),
            Part::Trie => return self.check_trie_node(key, bytes),
            Part::Log => {
                let row = open::<LogRow>(key, bytes)?;
                let malformed = |_| {
                    let why = "its canonical bytes are malformed";
                    StoreError::corrupt("log record", key, why)
                };
                DeltaView::parse(row.canonical.get()).map_err(malformed)?;
            }
            Part::Dag => drop(DagNode::read(key, bytes)?),
            Part::Events => drop(EventView::read(key, bytes)?),
        }
        Ok(0)
    }

    fn check_trie_node(&mut self, key: &[u8], bytes: &[u8]) -> Result<u64, StoreError> {
        open::<TrieRow>(key, bytes)?;
        let corrupt = |why| StoreError::corrupt("node of a trie", key, why);
        let (slot, path) = layout::split_slot(key).ok_or_else(|| corrupt("it has no slot"))?;
        let path = NodePath::from_key(path).ok_or_else(|| corrupt("its key is no path"))?;
        let Some(context) = self.context_of(slot)? else {
            return Ok(1);
        };
        if self.authors.is_none() {
            self.authors = Some(self.snapshot.authors()?);
        }
        let authors = self.authors.as_ref().expect("they were read above");
        self.snapshot.check_trie_node(slot, context, &path, authors)
    }

    /// None if it is deleted; a head that is damaged was reported already.
    fn context_of(&self, slot: ContextSlot) -> Result<Option<ContextId>, StoreError> {
        match self.snapshot.head(slot) {
            Ok(head) => Ok(Some(head.context)),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::change::{CallEffects, Change, NewContext, Op};
    use crate::data_dir::{DataDir, OpenOptions};
    use crate::hlc::Hlc;
    use crate::ids::{ApplicationId, NodeId, ShardCount};
    use crate::layout::slot_key;
    use crate::ledger::{Ledger, LedgerConfig};
    use crate::verify::verify;

    fn create(ledger: &Ledger, n: u8) -> ContextSlot {
        let id = ContextId::from_bytes([n; 32]);
        let ops = (0..40).map(|key| Op::set(vec![key].into(), Bytes::from_static(b"value")));
        let call = CallEffects {
            ops: ops.collect(),
            ..CallEffects::new(id, NodeId::from_bytes([4; 32]), Hlc::from_micros(n.into()))
        };
        let new = NewContext {
            id,
            name: None,
            application: ApplicationId::from_bytes([1; 32]),
            created: call.hlc,
            call,
        };
        let mut verdicts = ledger.commit(vec![Change::CreateContext(new)]).unwrap();
        verdicts.remove(0).unwrap().slot()
    }

    fn lose(
        ledger: &Ledger,
        lose: impl FnOnce(Tables, &mut heed::RwTxn<'_>) -> heed::Result<bool>,
    ) {
        let mut txn = ledger.shared.env.write_txn().unwrap();
        assert!(lose(ledger.shared.tables, &mut txn).unwrap());
        txn.commit().unwrap();
    }

    fn orphans(ledger: &Ledger) -> (Vec<Orphan>, usize) {
        let bounds = StepBounds {
            rows_max: 5,
            ..StepBounds::default()
        };
        let (mut scrub, mut orphans, mut damaged) = (Scrub::default(), Vec::new(), 0);
        loop {
            let step = scrub.step(&ledger.snapshot().unwrap(), &bounds).unwrap();
            orphans.extend(step.orphans);
            damaged += step.damaged.len();
            if step.is_round_over {
                return (orphans, damaged);
            }
        }
    }

    /// A context whose head is lost keeps everything else: it may be all that there is of it.
    #[test]
    fn what_belongs_to_no_context_goes_and_what_has_only_lost_its_head_stays() {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions {
            shards_if_new: ShardCount::new(1).unwrap(),
            node_id_if_new: NodeId::from_bytes([4; 32]),
        };
        let data = DataDir::open(dir.path(), &options).unwrap();
        let place = data.ledger_place(options.shards_if_new.shards().next().unwrap());
        let ledger = Ledger::open(&place, &LedgerConfig::default()).unwrap();
        let slots = [1, 2].map(|n| create(&ledger, n));
        assert_eq!(orphans(&ledger), (vec![], 0));

        lose(&ledger, |tables, txn| {
            tables.heads.delete(txn, &slot_key(slots[0]))
        });
        let (found, damaged) = orphans(&ledger);
        assert_eq!((found, damaged), (vec![], 1));

        lose(&ledger, |tables, txn| tables.contexts.delete(txn, &[1; 32]));
        let (found, _) = orphans(&ledger);
        // 40 entries, a root and 15 buckets, a delta and their sizes.
        assert_eq!(found.len(), 40 + 16 + 2);
        let mut writer = ledger.writer();
        assert_eq!(writer.drop_orphans(&found).unwrap(), found.len() as u64);
        assert_eq!(writer.drop_orphans(&found).unwrap(), 0);
        writer.checkpoint().unwrap();
        drop(writer);
        assert_eq!(orphans(&ledger), (vec![], 0));
        assert_eq!(verify(&ledger.snapshot().unwrap()).unwrap().entries, 40);
    }
}
