//! Writes a data directory with a bit of everything in it, which is kept in
//! `tests/fixtures/` as what a program of its format has left: `fixture DIR`, then pack
//! DIR, named after the format, as `tests/ledger/fixtures.rs` says, which knows what
//! is in it.

use std::error::Error;

use bytes::Bytes;
use corelet_store::{
    Acknowledgement, AnswerKey, ApplicationId, ApplicationRecord, Attachment, Birth, Births,
    BlobId, BlobLimit, Blobs, CallEffects, Change, ContextId, ContextSlot, DataDir, EntryKind,
    Event, Hlc, KeyedAnswer, Ledger, LedgerConfig, NewContext, NodeId, Op, OpenOptions,
    RemoteDelta, RequestDigest, Retention, Said, Sealer, ShardCount, ShardId, Space, StepBounds,
    Write, make_seals, vouch,
};
use ed25519_dalek::{Signer, SigningKey};

const AUTHOR: NodeId = NodeId::from_bytes([7; 32]);

/// The other node, which has a key.
struct Other(SigningKey);

impl Sealer for Other {
    fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
        self.0
            .sign(&[b"corelet/v1/delta\0", message].concat())
            .to_bytes()
    }
}

fn id(n: u8) -> ContextId {
    ContextId::from_bytes([n; 32])
}

struct Writer {
    ledger: Ledger,
    stamp: u64,
}

impl Writer {
    fn open(dir: &str) -> Result<Writer, Box<dyn Error>> {
        let options = OpenOptions {
            shards_if_new: ShardCount::new(1).ok_or("one shard")?,
            node_id_if_new: AUTHOR,
        };
        let data = DataDir::open(dir, &options)?;
        let config = LedgerConfig {
            map_bytes_max: 16 << 20,
            readers_max: 4,
            journal_bytes_max: 64 << 10,
            checkpoint_contexts_max: 1000,
            trie_bytes_max: 48 << 10,
            answers: corelet_store::AnswerBounds::DEFAULT,
            contexts: corelet_store::ContextBounds::NONE,
            start_check_bytes_max: 1 << 30,
        };
        let shard = ShardId::new(0, options.shards_if_new).ok_or("the first shard")?;
        Ok(Writer {
            ledger: Ledger::open(&data.ledger_place(shard), &config)?,
            stamp: 1000,
        })
    }

    fn next(&mut self) -> Hlc {
        self.stamp += 1;
        Hlc::from_bits(self.stamp << 12)
    }

    fn effects(&mut self, n: u8, mut ops: Vec<Op>, events: Vec<Event>) -> CallEffects {
        ops.sort_by(|a, b| (a.space, &a.key).cmp(&(b.space, &b.key)));
        CallEffects {
            ops,
            events,
            ..CallEffects::new(id(n), AUTHOR, self.next())
        }
    }

    fn create(&mut self, n: u8, ops: Vec<Op>) -> Result<(), Box<dyn Error>> {
        let name = (n != 2).then(|| format!("context-{n}"));
        let put = name.clone().map(|name| Change::PutName {
            name,
            context: id(n),
        });
        let new = NewContext {
            id: id(n),
            name,
            application: ApplicationId::from_bytes([9; 32]),
            created: self.next(),
            call: self.effects(n, ops, vec![]),
        };
        let create = Change::CreateContext(new);
        self.commit(put.into_iter().chain([create]).collect())
    }

    fn commit(&mut self, batch: Vec<Change>) -> Result<(), Box<dyn Error>> {
        for verdict in self.ledger.commit(batch)? {
            verdict?;
        }
        Ok(())
    }

    fn call(&mut self, n: u8, ops: Vec<Op>) -> Result<Hlc, Box<dyn Error>> {
        let call = self.effects(n, ops, vec![]);
        let hlc = call.hlc;
        self.commit(vec![Change::Call(call)])?;
        Ok(hlc)
    }
}

fn set(key: &str, value: &[u8]) -> Op {
    Op::set(
        Bytes::copy_from_slice(key.as_bytes()),
        Bytes::copy_from_slice(value),
    )
}

fn write(key: &str, write: Write) -> Op {
    Op::shared(Bytes::copy_from_slice(key.as_bytes()), write)
}

fn event(kind: &str, payload: String) -> Event {
    Event {
        kind: kind.to_owned(),
        payload: Bytes::from(payload),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: fixture DIR")?;
    let mut writer = Writer::open(&dir)?;
    let installed = writer.next();
    writer.commit(vec![Change::PutApplication(ApplicationRecord {
        id: ApplicationId::from_bytes([9; 32]),
        name: "kv".into(),
        version: "1".into(),
        size_bytes: 5,
        installed,
        description: "{}".into(),
        reuse: corelet_store::Reuse::default(),
    })])?;
    for n in 1..=4 {
        let ops = match n {
            2 => vec![],
            n => vec![set("made", &[n])],
        };
        writer.create(n, ops)?;
    }
    for n in 0..100_u32 {
        let ops = vec![
            set(&format!("key-{n:03}"), format!("value {n}").as_bytes()),
            set("last", &n.to_be_bytes()),
        ];
        let events = match n % 10 {
            0 => vec![event("tenth", n.to_string())],
            _ => vec![],
        };
        let call = writer.effects(1, ops, events);
        writer.commit(vec![Change::Call(call)])?;
    }
    let many = (0..500_u32).map(|n| set(&format!("m{n:04}"), &n.to_le_bytes()));
    writer.call(3, many.collect())?;
    writer.commit(vec![Change::DeleteContext(id(4))])?;
    kinds(&mut writer)?;
    two_nodes(&mut writer, &dir)?;
    attachments(&mut writer, &dir)?;
    answers(&mut writer)?;
    packed(&mut writer)?;
    journal(&mut writer)
}

/// Context 5 has an entry of each kind, in each space.
fn kinds(writer: &mut Writer) -> Result<(), Box<dyn Error>> {
    writer.create(5, vec![])?;
    let edit = |kind, births: &[Birth], update: &'static str| Write::Edit {
        kind,
        births: births.iter().copied().collect::<Births>(),
        update: Bytes::from_static(update.as_bytes()),
    };
    let owned = [&AUTHOR.as_bytes()[..], b"mine"].concat();
    let in_space = |space, key: Vec<u8>| Op {
        space,
        ..Op::set(key.into(), Bytes::from_static(b"value"))
    };
    let hlc = writer.call(
        5,
        vec![
            write("counter", Write::Add(40)),
            write("element", Write::Insert),
            write("once", Write::WriteOnce(Bytes::from_static(b"first"))),
            write("list", edit(EntryKind::List, &[], "first edit")),
            write("text", edit(EntryKind::Text, &[], "first edit")),
            write("gone", edit(EntryKind::Text, &[], "first edit")),
            in_space(Space::Owned, owned),
            in_space(Space::Private, b"secret".to_vec()),
            in_space(Space::Agenda, b"due".to_vec()),
            in_space(Space::Agenda, b"later".to_vec()),
            in_space(Space::Stable, vec![0, 0, 0, 9]),
            in_space(Space::Stable, vec![0, 0, 0, 10]),
            end_of_stable(63),
        ],
    )?;
    let births = [Birth {
        author: AUTHOR,
        hlc,
    }];
    writer.call(
        5,
        vec![
            write("counter", Write::Add(2)),
            write("list", edit(EntryKind::List, &births, "second edit")),
            write("gone", Write::Remove),
        ],
    )?;
    Ok(())
}

/// Context 6 was written by two nodes at once.
fn two_nodes(writer: &mut Writer, dir: &str) -> Result<(), Box<dyn Error>> {
    writer.create(6, vec![])?;
    writer.commit(vec![Change::ShareContext(id(6))])?;
    let elsewhere = format!("{dir}.other");
    let mut other = Writer::open(&elsewhere)?;
    other.create(6, vec![])?;
    let mut call = other.effects(
        6,
        vec![set("both", b"theirs"), set("one", b"theirs")],
        vec![],
    );
    let key = Other(SigningKey::from_bytes(&[8; 32]));
    (call.author, call.hlc) = (key.node_id(), Hlc::from_bits(5000 << 12));
    other.commit(vec![Change::Call(call)])?;
    writer.call(6, vec![set("both", b"ours"), write("added", Write::Add(1))])?;
    let snapshot = other.ledger.snapshot()?;
    let slot = snapshot.context(&id(6))?.ok_or("it was made above")?.slot;
    let mut theirs = None;
    snapshot.deltas(slot, 1, &mut |_, delta| {
        theirs = Some((delta.id(), Bytes::copy_from_slice(delta.canonical())));
        std::ops::ControlFlow::Break(())
    })?;
    let (delta, canonical) = theirs.ok_or("it was made above")?;
    let seal = make_seals(&key, &[(id(6), delta)]).remove(0);
    let sealed = seal.check(id(6), delta)?;
    let vouched = vouch(id(6), [canonical], [sealed.clone()])?.remove(0);
    let delta = Change::Delta(RemoteDelta {
        slot: ContextSlot::UNASSIGNED,
        delta: vouched,
    });
    writer.commit(vec![delta, Change::KeepSeal(sealed)])?;
    drop(other);
    std::fs::remove_dir_all(elsewhere)?;
    Ok(())
}

/// What the `n`th blob holds: a group and a bit of the next.
fn blob(n: u8) -> Vec<u8> {
    vec![n; 20_000]
}

/// Attaches the `n`th blob, or no longer.
fn attachment(n: u8, write: Write) -> Op {
    let attachment = Attachment {
        blob: BlobId::of(&blob(n)),
        bytes: blob(n).len() as u64,
    };
    Op {
        space: Space::Attached,
        key: Bytes::copy_from_slice(&attachment.key()),
        removes_first: false,
        write,
    }
}

/// Context 7 has attached two blobs, and a third no longer. All are there, but for one that
/// another node may have.
fn attachments(writer: &mut Writer, dir: &str) -> Result<(), Box<dyn Error>> {
    let blobs = Blobs::open(std::path::Path::new(dir).join("blobs"))?;
    for n in [1, 2, 4] {
        let mut blob_writer = blobs.writer(None, BlobLimit::FORMAT)?;
        blob_writer.write(&blob(n))?;
        drop(blob_writer.finish()?);
    }
    writer.create(7, vec![])?;
    let attach = |n| attachment(n, Write::Insert);
    writer.call(7, vec![attach(1), attach(2), attach(3)])?;
    writer.call(7, vec![attachment(2, Write::Remove)])?;
    Ok(())
}

/// Context 7 keeps an answer, and context 6 has members, one of which has acknowledged what
/// there is.
fn answers(writer: &mut Writer) -> Result<(), Box<dyn Error>> {
    let mut call = writer.effects(7, vec![set("answered", b"value")], vec![]);
    call.answer = Some(Box::new(KeyedAnswer {
        key: AnswerKey::of(b"key"),
        request: RequestDigest::of(b"method", b"arguments"),
        fuel_used: 1000,
        said: Said::Output(Bytes::from_static(b"\"done\"")),
    }));
    writer.commit(vec![Change::Call(call)])?;
    let members = [20, 21].map(|n| NodeId::from_bytes([n; 32]));
    let snapshot = writer.ledger.snapshot()?;
    let slot = snapshot.context(&id(6))?.ok_or("it was made above")?.slot;
    let seen = snapshot.applied(&snapshot.head(slot)?)?;
    drop(snapshot);
    let (since, now) = (writer.next(), writer.next());
    writer.commit(vec![Change::SetMembers {
        context: id(6),
        members: members.to_vec(),
        now: since,
    }])?;
    writer.commit(vec![Change::Acknowledge(Acknowledgement {
        context: id(6),
        member: members[0],
        seen,
        now,
    })])
}

/// Context 8 has a text of 300 edits, of which the oldest are in packs.
fn packed(writer: &mut Writer) -> Result<(), Box<dyn Error>> {
    writer.create(8, vec![])?;
    let mut births = Births::default();
    for n in 0..300_u32 {
        let edit = Write::Edit {
            kind: EntryKind::Text,
            births: births.clone(),
            update: Bytes::from(format!("edit {n}")),
        };
        let hlc = writer.call(8, vec![write("packed", edit)])?;
        if n == 0 {
            births = [Birth {
                author: AUTHOR,
                hlc,
            }]
            .into_iter()
            .collect();
        }
    }
    let (retention, bounds) = (Retention::default(), StepBounds::default());
    let mut packed = 0;
    loop {
        let step = writer.ledger.collect(&retention, Hlc::ZERO, &bounds)?;
        packed += step.edits_packed;
        if step.is_round_over {
            break;
        }
    }
    assert_eq!(packed, 128, "two packs");
    writer.ledger.writer().checkpoint()?;
    Ok(())
}

/// That a stable memory reaches to the end of this block.
fn end_of_stable(block: u8) -> Op {
    Op {
        space: Space::Stable,
        ..Op::set(vec![0, 0, 0, block, 0].into(), Bytes::new())
    }
}

/// Calls that only the journal has.
fn journal(writer: &mut Writer) -> Result<(), Box<dyn Error>> {
    let mut batches = Vec::new();
    for n in 0..5_u8 {
        let ops = vec![
            Op::remove(Bytes::from(format!("key-{n:03}"))),
            set(&format!("journaled-{n}"), &[n]),
            set("large", &[n; 9000]),
        ];
        let events = vec![event("journaled", n.to_string())];
        let one = writer.effects(1, ops, events);
        let private = Op {
            space: Space::Private,
            ..set("secret", b"journaled")
        };
        let two = writer.effects(3, vec![set("m0000", b"again")], vec![]);
        let agenda = |op| Op {
            space: Space::Agenda,
            ..op
        };
        let later = agenda(set("later", b"journaled"));
        let done = agenda(Op::remove(Bytes::from_static(b"due")));
        let stable = Op {
            space: Space::Stable,
            ..Op::set(Bytes::from_static(&[0, 0, 0, 9]), "journaled".into())
        };
        let ops = vec![private, later, done, stable, end_of_stable(127)];
        let three = writer.effects(5, ops, vec![]);
        batches.push([one, two, three].map(Change::Call).to_vec());
    }
    let four = writer.effects(7, vec![attachment(4, Write::Insert)], vec![]);
    let five = writer.effects(7, vec![attachment(1, Write::Remove)], vec![]);
    batches.push([four, five].map(Change::Call).to_vec());
    let mut ledger = writer.ledger.writer();
    for batch in batches {
        let outcome = ledger.commit(batch)?;
        for verdict in outcome.verdicts {
            verdict?;
        }
        assert!(!outcome.is_shown, "it fits into the journal");
    }
    Ok(())
}
