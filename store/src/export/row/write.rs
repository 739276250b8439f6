//! A row's bytes as they are written. What the rows are is in `row.rs`.

use super::{BackupCounts, HeadFields, IS_ERROR, PRUNED, Row, SHARED, WITH_DELTA};
use crate::answer::{AnswerKey, KeptAnswer};
use crate::reuse::Reuse;
use crate::version::Dot;

impl Row<'_> {
    pub(in crate::export) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Row::Author { number, node } => {
                out.push(1);
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(node.as_bytes());
            }
            Row::Context {
                id,
                application,
                created,
                name,
            } => {
                out.push(2);
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(application.as_bytes());
                out.extend_from_slice(&created.bits().to_le_bytes());
                out.push(u8::from(name.is_some()));
                short(out, name.unwrap_or("").as_bytes());
            }
            Row::Head(head) => head.write(out),
            Row::Value {
                space,
                key,
                dot,
                bytes,
            } => {
                out.extend_from_slice(&[4, space.number()]);
                short(out, key);
                write_dot(out, *dot);
                long(out, bytes);
            }
            Row::Sections { space, key, state } => {
                out.extend_from_slice(&[5, space.number()]);
                short(out, key);
                long(out, state);
            }
            Row::Edit {
                space,
                sequence,
                dot,
                births,
                seen,
                update,
            } => {
                let number = if births.are_linked() { 30 } else { 6 };
                out.extend_from_slice(&[number, space.number()]);
                out.extend_from_slice(*sequence);
                write_dot(out, *dot);
                let births = births.as_slice();
                out.extend_from_slice(&count16(births.len()));
                out.extend_from_slice(births.as_flattened());
                write_seen(out, seen);
                long(out, update);
            }
            Row::Litter {
                space,
                sequence,
                key,
            } => {
                out.extend_from_slice(&[7, space.number()]);
                out.extend_from_slice(*sequence);
                short(out, key);
            }
            Row::TrieNode { nibbles, node } => {
                out.push(8);
                short(out, nibbles);
                long(out, node);
            }
            Row::Past { id, dot, seen } => {
                out.push(9);
                out.extend_from_slice(id.as_bytes());
                write_dot(out, *dot);
                write_seen(out, seen);
            }
            Row::Delta { canonical, past } => {
                out.push(10);
                long(out, canonical);
                out.push(u8::from(past.is_some()));
                if let Some((dot, seen)) = past {
                    write_dot(out, *dot);
                    write_seen(out, seen);
                }
            }
            Row::Event {
                sequence,
                delta,
                hlc,
                kind,
                payload,
            } => {
                out.push(11);
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(delta.as_bytes());
                out.extend_from_slice(&hlc.bits().to_le_bytes());
                short(out, kind.as_bytes());
                long(out, payload);
            }
            Row::Seal {
                delta,
                hlc,
                version,
                seal,
            } => {
                out.push(13);
                out.extend_from_slice(delta.as_bytes());
                out.extend_from_slice(&hlc.bits().to_le_bytes());
                out.extend_from_slice(&version.to_le_bytes());
                long(out, seal);
            }
            Row::Fork { known, other } => {
                out.push(14);
                long(out, known);
                long(out, other);
            }
            Row::Answer { key, answer } => write_answer(out, key, answer),
            Row::Members { pruned } => {
                out.push(16);
                write_seen(out, pruned);
            }
            Row::Member {
                node,
                since,
                is_away,
                seen,
            } => {
                out.push(17);
                out.extend_from_slice(node.as_bytes());
                out.extend_from_slice(&since.bits().to_le_bytes());
                out.push(u8::from(*is_away));
                write_seen(out, seen);
            }
            Row::ContextEnd(counts, root) => {
                out.push(18);
                write_numbers(out, &counts.as_array());
                out.extend_from_slice(root.as_bytes());
            }
            Row::Node { id, shards } => {
                out.push(20);
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(&shards.to_le_bytes());
            }
            Row::Application(record) => {
                match record.reuse {
                    Reuse::Context => out.push(21),
                    reuse @ Reuse::Never => out.extend_from_slice(&[40, reuse as u8]),
                }
                out.extend_from_slice(record.id.as_bytes());
                out.extend_from_slice(&record.size_bytes.to_le_bytes());
                out.extend_from_slice(&record.installed.bits().to_le_bytes());
                for text in [&record.name, &record.version, &record.description] {
                    long(out, text.as_bytes());
                }
            }
            Row::FilePart { kind, id, bytes } => {
                out.extend_from_slice(&[22, *kind as u8]);
                out.extend_from_slice(id);
                long(out, bytes);
            }
            Row::Name { name, context } => {
                out.push(23);
                short(out, name.as_bytes());
                out.extend_from_slice(context.as_bytes());
            }
            Row::Key { name, bytes } => {
                out.push(24);
                short(out, name.as_bytes());
                long(out, bytes);
            }
            Row::LeftOut { id, why } => {
                out.push(26);
                out.extend_from_slice(id.as_bytes());
                short(out, why.as_bytes());
            }
            Row::BlobLeftOut { id, why } => {
                out.push(28);
                out.extend_from_slice(id.as_bytes());
                short(out, why.as_bytes());
            }
            // What lacks nothing can be read by programs that do not know the other number.
            Row::BackupEnd(counts) if counts.blobs_left_out == 0 => {
                out.push(27);
                write_numbers(out, &counts.as_array()[..BackupCounts::WITH_BLOBS]);
            }
            Row::BackupEnd(counts) => {
                out.push(29);
                write_numbers(out, &counts.as_array());
            }
        }
    }
}

impl HeadFields {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(3);
        out.extend_from_slice(self.root.as_bytes());
        let numbers = [
            self.version,
            self.entries,
            self.replicated,
            self.bytes,
            self.hlc.bits(),
            self.log_follows,
            self.events_first,
            self.events_last,
        ];
        write_numbers(out, &numbers);
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        out.push(flag(self.is_shared, SHARED) | flag(self.is_pruned, PRUNED));
        out.extend_from_slice(&count16(self.deltas.len()));
        for id in &self.deltas {
            out.extend_from_slice(id.as_bytes());
        }
        write_seen(out, &self.seen);
    }
}

fn write_answer(out: &mut Vec<u8>, key: &AnswerKey, answer: &KeptAnswer) {
    out.push(15);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(answer.request.as_bytes());
    out.extend_from_slice(answer.root.as_bytes());
    write_numbers(out, &[answer.hlc.bits(), answer.fuel_used]);
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let with_delta = flag(answer.delta_id.is_some(), WITH_DELTA);
    out.push(with_delta | flag(answer.said.is_error(), IS_ERROR));
    let delta = answer.delta_id.as_ref();
    out.extend_from_slice(delta.map_or(&[0; 32], |delta| delta.as_bytes()));
    long(out, answer.said.text());
}

fn write_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&count16(bytes.len()));
    out.extend_from_slice(bytes);
}

fn count16(count: usize) -> [u8; 2] {
    let count = u16::try_from(count).expect("what is short was bounded when it was stored");
    count.to_le_bytes()
}

fn long(out: &mut Vec<u8>, bytes: &[u8]) {
    let count = u32::try_from(bytes.len()).expect("a record is below 2 GiB");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn write_dot(out: &mut Vec<u8>, dot: Dot) {
    out.extend_from_slice(&dot.author.to_le_bytes());
    out.extend_from_slice(&dot.hlc.bits().to_le_bytes());
}

fn write_seen(out: &mut Vec<u8>, seen: &[Dot]) {
    let count = u32::try_from(seen.len()).expect("authors have numbers of 32 bits");
    out.extend_from_slice(&count.to_le_bytes());
    seen.iter().for_each(|dot| write_dot(out, *dot));
}
