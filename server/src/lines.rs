//! A context's state and past as lines of JSON, for people and their tools: what is kept in
//! it, now or as it was after an earlier delta, and the deltas themselves. Written as it
//! is read, so that a large context takes no memory. Bytes that are JSON, as the SDK writes
//! them, stand there as they are; others in base64.

use std::io::Write;
use std::ops::ControlFlow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use corelet_shard::{ReadError, is_note};
use corelet_store::{
    Content, ContextRecord, ContextSlot, DeltaId, EditView, EntryKind, EntryValue, NodeId,
    PastBounds, PastError, Scan, Sequence, SequenceKind, Snapshot, Space, replay,
};
use serde_json::{Map, Value, json};

/// Elements of a list or text that are taken out at once.
const ELEMENTS_AT_ONCE: usize = 4_096;

/// Which entries are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// As they were after this delta; as they are without it.
    pub(crate) at: Option<DeltaId>,
    /// Only of this space.
    pub(crate) space: Option<Space>,
    /// Only those whose keys begin with this.
    pub(crate) prefix: Vec<u8>,
}

/// All spaces, and what they are called.
const SPACES: [(Space, &str); 6] = [
    (Space::Shared, "shared"),
    (Space::Owned, "owned"),
    (Space::Private, "private"),
    (Space::Attached, "attached"),
    (Space::Agenda, "agenda"),
    (Space::Stable, "stable"),
];

/// The space with this name.
pub(crate) fn space(name: &str) -> Option<Space> {
    let found = SPACES.iter().find(|(_, its)| *its == name);
    found.map(|(space, _)| *space)
}

fn space_name(space: Space) -> &'static str {
    let found = SPACES.iter().find(|(it, _)| *it == space);
    found.map_or("", |(_, name)| name)
}

/// Writes a line of what is shown, one for each entry, and one for the end. What is read of a past
/// before a line can be written ends when that is over.
pub(crate) fn entries(
    snapshot: &Snapshot,
    context: &ContextRecord,
    wanted: &Wanted,
    is_over: &dyn Fn() -> bool,
    out: &mut dyn Write,
) -> Result<(), ReadError> {
    let mut lines = Lines { out, count: 0 };
    match &wanted.at {
        None => entries_now(snapshot, context, wanted, &mut lines)?,
        Some(delta) => {
            let bounds = PastBounds {
                is_over,
                ..PastBounds::default()
            };
            entries_then(snapshot, context, wanted, (delta, bounds), &mut lines)?;
        }
    }
    lines.end()
}

fn entries_now(
    snapshot: &Snapshot,
    context: &ContextRecord,
    wanted: &Wanted,
    lines: &mut Lines<'_>,
) -> Result<(), ReadError> {
    let slot = context.slot;
    let head = snapshot.head(slot)?;
    lines.write(&json!({
        "context": context.id.to_string(),
        "root": head.root.to_string(),
        "version": head.version,
    }))?;
    let spaces = SPACES.iter().map(|(space, _)| *space);
    for space in spaces.filter(|space| wanted.space.is_none_or(|it| it == *space)) {
        let scan = Scan {
            space,
            prefix: &wanted.prefix,
            limit: usize::MAX,
            ..Scan::default()
        };
        let mut failed = None;
        snapshot.scan(slot, scan, &mut |entry| {
            // Or what is listed would change while nothing happens.
            if wanted.space.is_none() && is_note(space, entry.key()) {
                return Ok(ControlFlow::Continue(()));
            }
            let value = entry.value()?;
            let mut edits = |kind, visit: &mut dyn FnMut(EditView<'_>) -> ControlFlow<()>| {
                let shown = snapshot.edits(slot, space, entry.key(), kind, visit);
                shown.map_err(PastError::from)
            };
            match lines.entry(space, entry.key(), value, &mut edits) {
                Ok(()) => Ok(ControlFlow::Continue(())),
                Err(error) => {
                    failed = Some(error);
                    Ok(ControlFlow::Break(()))
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(())
}

fn entries_then(
    snapshot: &Snapshot,
    context: &ContextRecord,
    wanted: &Wanted,
    (delta, bounds): (&DeltaId, PastBounds<'_>),
    lines: &mut Lines<'_>,
) -> Result<(), ReadError> {
    let past = snapshot.at_within(context.slot, delta, bounds)?;
    lines.write(&json!({
        "context": context.id.to_string(),
        "root": past.root().to_string(),
        "at": delta.to_string(),
    }))?;
    let spaces = SPACES.iter().map(|(space, _)| *space);
    for space in spaces.filter(|space| wanted.space.is_none_or(|it| it == *space)) {
        let mut failed = None;
        past.scan(space, &wanted.prefix, &mut |key, value| {
            let mut edits = |kind, visit: &mut dyn FnMut(EditView<'_>) -> ControlFlow<()>| {
                past.edits(space, key, kind, visit)
            };
            match lines.entry(space, key, value, &mut edits) {
                Ok(()) => Ok(ControlFlow::Continue(())),
                Err(error) => {
                    failed = Some(error);
                    Ok(ControlFlow::Break(()))
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(())
}

/// Writes a line for each of up to `limit` deltas, the newest first, and one for the end.
pub(crate) fn deltas(
    snapshot: &Snapshot,
    slot: ContextSlot,
    limit: usize,
    out: &mut dyn Write,
) -> Result<(), ReadError> {
    let mut lines = Lines { out, count: 0 };
    let mut failed = None;
    snapshot.deltas(slot, limit, &mut |_, delta| {
        let parents = delta.parents().map(|parent| parent.to_string());
        let line = json!({
            "delta": delta.id().to_string(),
            "author": delta.author().to_string(),
            "time_unix_ms": delta.hlc().micros() / 1_000,
            "parents": parents.collect::<Vec<_>>(),
            "writes": delta.op_count(),
            "events": delta.event_count(),
            "root": delta.root().to_string(),
        });
        lines.count += 1;
        match lines.write(&line) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(()), Err)?;
    lines.end()
}

/// Shows the edits of a list or text.
type Edits<'e> = dyn FnMut(EntryKind, &mut dyn FnMut(EditView<'_>) -> ControlFlow<()>) -> Result<(), PastError>
    + 'e;

struct Lines<'o> {
    out: &'o mut dyn Write,
    count: u64,
}

impl Lines<'_> {
    fn entry(
        &mut self,
        space: Space,
        key: &[u8],
        value: EntryValue<'_>,
        edits: &mut Edits<'_>,
    ) -> Result<(), ReadError> {
        let kind = value.kind();
        let mut line = Map::new();
        line.insert("space".to_owned(), space_name(space).into());
        match std::str::from_utf8(key) {
            Ok(text) => line.insert("key".to_owned(), text.into()),
            Err(_) => line.insert("key_base64".to_owned(), STANDARD.encode(key).into()),
        };
        line.insert("kind".to_owned(), kind.to_string().into());
        match value {
            EntryValue::Register(bytes) | EntryValue::WriteOnce(bytes) => {
                insert_bytes(&mut line, bytes);
            }
            EntryValue::Counter(sum) => {
                line.insert("value".to_owned(), sum.nearest().into());
            }
            EntryValue::SetElement => {}
            EntryValue::List => match made_of(SequenceKind::List, kind, edits)? {
                Some(list) => insert_list(&mut line, &list),
                None => insert_not_retained(&mut line),
            },
            EntryValue::Text => match made_of(SequenceKind::Text, kind, edits)? {
                Some(text) => insert_text(&mut line, &text),
                None => insert_not_retained(&mut line),
            },
        }
        self.count += 1;
        self.write(&Value::Object(line))
    }

    fn end(mut self) -> Result<(), ReadError> {
        let count = self.count;
        self.write(&json!({ "end": true, "count": count }))
    }

    fn write(&mut self, line: &Value) -> Result<(), ReadError> {
        serde_json::to_writer(&mut *self.out, line).map_err(std::io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }
}

fn insert_bytes(line: &mut Map<String, Value>, bytes: &[u8]) {
    match json_of(bytes) {
        Some(value) => line.insert("value".to_owned(), value),
        None => line.insert("value_base64".to_owned(), STANDARD.encode(bytes).into()),
    };
}

/// Its edits are gone, or too far back, and everything else can be shown.
fn insert_not_retained(line: &mut Map<String, Value>) {
    line.insert("not_retained".to_owned(), true.into());
}

fn insert_text(line: &mut Map<String, Value>, text: &Sequence) {
    let mut value = String::with_capacity(text.len());
    each_part(text, |part| {
        if let Content::Text(part) = part {
            value.push_str(&part);
        }
    });
    line.insert("value".to_owned(), value.into());
}

/// As values if all of them are JSON, else as bytes, so that nobody takes one for the other.
fn insert_list(line: &mut Map<String, Value>, list: &Sequence) {
    let mut elements = Vec::with_capacity(list.len());
    each_part(list, |part| {
        if let Content::Values(part) = part {
            elements.extend(part);
        }
    });
    let values: Option<Vec<Value>> = elements.iter().map(|bytes| json_of(bytes)).collect();
    match values {
        Some(values) => line.insert("value".to_owned(), values.into()),
        None => {
            let encoded = elements.iter().map(|bytes| STANDARD.encode(bytes).into());
            line.insert("value_base64".to_owned(), Value::Array(encoded.collect()))
        }
    };
}

fn json_of(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

/// None of one whose edits are not retained, or too far back in the log.
fn made_of(
    kind: SequenceKind,
    of: EntryKind,
    edits: &mut Edits<'_>,
) -> Result<Option<Sequence>, ReadError> {
    // Nobody edits it.
    let mut sequence = Sequence::new(kind, NodeId::from_bytes([0; 32]));
    let shown = edits(of, &mut |edit| {
        replay(&mut sequence, &edit);
        ControlFlow::Continue(())
    });
    match shown {
        Ok(()) => Ok(Some(sequence)),
        Err(PastError::EditsNotRetained { .. } | PastError::EditsTooFar { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn each_part(sequence: &Sequence, mut visit: impl FnMut(Content)) {
    let mut index = 0;
    while index < sequence.len() {
        let len = ELEMENTS_AT_ONCE.min(sequence.len() - index);
        // It lies within the sequence.
        if let Ok(part) = sequence.slice(index, len) {
            visit(part);
        }
        index += len;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use corelet_store::{
        ApplicationId, Births, CallEffects, Change, ContextId, DataDir, Hlc, Ledger, LedgerConfig,
        NewContext, Op, OpenOptions, ShardCount, Write as Deed,
    };

    use super::*;

    const AUTHOR: NodeId = NodeId::from_bytes([4; 32]);

    /// A list and a text that are removed, behind five further deltas, and a register. Gives
    /// the delta before the removal.
    fn ledger(dir: &std::path::Path) -> (Ledger, ContextRecord, DeltaId) {
        let options = OpenOptions {
            shards_if_new: ShardCount::new(1).unwrap(),
            node_id_if_new: AUTHOR,
        };
        let data = DataDir::open(dir, &options).unwrap();
        let shard = options.shards_if_new.shards().next().unwrap();
        let ledger = Ledger::open(&data.ledger_place(shard), &LedgerConfig::default()).unwrap();
        let id = ContextId::from_bytes([1; 32]);
        let call = |micros: u64, ops: Vec<Op>| CallEffects {
            ops,
            ..CallEffects::new(id, AUTHOR, Hlc::from_micros(micros))
        };
        let edit = |key, kind| {
            let (births, update) = (Births::default(), Bytes::from_static(b"an edit"));
            let write = Deed::Edit {
                kind,
                births,
                update,
            };
            Op::shared(Bytes::from_static(key), write)
        };
        let begun = vec![
            edit(b"list", EntryKind::List),
            edit(b"text", EntryKind::Text),
        ];
        let first = call(1, begun);
        let new = NewContext {
            id,
            name: None,
            application: ApplicationId::from_bytes([1; 32]),
            created: first.hlc,
            call: first,
        };
        ledger.commit(vec![Change::CreateContext(new)]).unwrap();
        let commit = |micros, ops| {
            let change = Change::Call(call(micros, ops));
            let committed = ledger.commit(vec![change]).unwrap().remove(0).unwrap();
            committed.delta_id().unwrap()
        };
        let set = |n: u8| Op::set(Bytes::from_static(b"register"), Bytes::from(n.to_string()));
        let mut last = None;
        for n in 2..7_u8 {
            last = Some(commit(n.into(), vec![set(n)]));
        }
        let keys = [&b"list"[..], b"text"].map(Bytes::from_static);
        commit(7, keys.map(Op::remove).to_vec());
        while ledger.sweep(100).unwrap().is_more {}
        let context = ledger.snapshot().unwrap().context(&id).unwrap().unwrap();
        (ledger, context, last.unwrap())
    }

    #[test]
    fn a_past_is_not_read_any_further_when_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, context, delta) = ledger(dir.path());
        let snapshot = ledger.snapshot().unwrap();
        let wanted = Wanted {
            at: Some(delta),
            ..Wanted::default()
        };
        let mut out = Vec::new();
        let read = entries(&snapshot, &context, &wanted, &|| true, &mut out);
        assert!(
            matches!(read, Err(ReadError::Past(PastError::Stopped))),
            "{read:?}"
        );
        assert!(out.is_empty());
        entries(&snapshot, &context, &wanted, &|| false, &mut out).unwrap();
        assert!(!out.is_empty());
    }

    /// What is looked for is bounded, and two lists that are beyond it are no reason to show
    /// nothing else.
    #[test]
    fn a_list_whose_edits_are_too_far_back_keeps_nothing_else_from_being_read() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, context, delta) = ledger(dir.path());
        let snapshot = ledger.snapshot().unwrap();
        let bounds = PastBounds {
            deltas_max: 3,
            ..PastBounds::default()
        };
        let mut out = Vec::new();
        let mut lines = Lines {
            out: &mut out,
            count: 0,
        };
        let wanted = Wanted::default();
        entries_then(&snapshot, &context, &wanted, (&delta, bounds), &mut lines).unwrap();
        let shown: Vec<Value> = serde_json::Deserializer::from_slice(&out)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let (list, register, text) = (&shown[1], &shown[2], &shown[3]);
        assert_eq!(
            (&list["key"], &list["not_retained"]),
            (&json!("list"), &json!(true))
        );
        assert_eq!(
            (&register["key"], &register["value"]),
            (&json!("register"), &json!(6))
        );
        assert_eq!(
            (&text["key"], &text["not_retained"]),
            (&json!("text"), &json!(true))
        );
    }
}
