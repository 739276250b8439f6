//! What only the inside shows of deltas that are refused or replayed.

use super::*;
use crate::answer::AnswerBounds;
use crate::apply::ContextBounds;
use crate::apply::Pass;
use crate::change::{CallEffects, Change, NewContext};
use crate::data_dir::{DataDir, OpenOptions};
use crate::ids::{ApplicationId, NodeId, ShardCount};
use crate::journal::JournaledCall;
use crate::layout::Tables;
use crate::ledger::{Ledger, LedgerConfig, open_env};
use crate::pending::vouch;
use crate::seal::Sealer;
use crate::seal::tests::{Key, delta};
use crate::trie_cache::TrieCache;
use crate::writer::Counters;

const CONTEXT: ContextId = ContextId::from_bytes([7; 32]);

/// Shows a pass over a ledger with one shared context, and the context's slot.
fn with_pass(test: impl FnOnce(&mut Pass<'_>, ContextSlot)) {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).unwrap(),
        node_id_if_new: NodeId::from_bytes([4; 32]),
    };
    let data = DataDir::open(dir.path(), &options).unwrap();
    let place = data.ledger_place(options.shards_if_new.shards().next().unwrap());
    let config = LedgerConfig::default();
    let ledger = Ledger::open(&place, &config).unwrap();
    let call = CallEffects::new(CONTEXT, NodeId::from_bytes([4; 32]), Hlc::ZERO);
    let new = NewContext {
        id: CONTEXT,
        name: None,
        application: ApplicationId::from_bytes([1; 32]),
        created: Hlc::ZERO,
        call,
    };
    let batch = vec![Change::CreateContext(new), Change::ShareContext(CONTEXT)];
    ledger.commit(batch).unwrap();
    let slot = ledger
        .snapshot()
        .unwrap()
        .context(&CONTEXT)
        .unwrap()
        .unwrap()
        .slot;
    drop(ledger);
    let env = open_env(&place, &config).unwrap();
    let tables = Tables::open(&env).unwrap().unwrap();
    let next = Counters {
        slot: 9,
        position: 1,
        last_hlc: Hlc::ZERO,
    };
    let mut pass = Pass::begin(
        &env,
        tables,
        next,
        AnswerBounds::DEFAULT,
        ContextBounds::NONE,
        TrieCache::new(0),
    )
    .unwrap();
    test(&mut pass, slot);
}

fn change(slot: ContextSlot, key: &Key, hlc: u64, parents: &[DeltaId]) -> (DeltaId, Change) {
    let (id, canonical) = delta(CONTEXT, key, hlc, parents);
    let vouched = vouch(CONTEXT, [canonical], [key.seal(CONTEXT, id)]).unwrap();
    let delta = vouched.into_iter().next().unwrap();
    (id, Change::Delta(RemoteDelta { slot, delta }))
}

/// Strangers could fill the table of authors with keys that they make up.
#[test]
fn a_refused_delta_leaves_no_author() {
    with_pass(|pass, slot| {
        let key = Key::new;
        let nowhere = DeltaId::from_bytes([1; 32]);
        let (first, accepted) = change(slot, &key(1), 5, &[]);
        let refused = |number| change(slot, &key(number), 9, &[nowhere]).1;
        let stale = change(slot, &key(4), 5, &[first]).1;
        let last = change(slot, &key(5), 6, &[first]).1;
        let batch = [refused(2), accepted, refused(3), stale, refused(2), last];
        let answers = pass.apply_all(&batch, &mut |_| {}).unwrap();
        let is_ok: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(is_ok, [false, true, false, false, false, true]);
        let known: Vec<NodeId> = pass
            .authors
            .numbers()
            .filter_map(|n| pass.authors.get(n))
            .collect();
        assert_eq!(known, [key(1).node_id(), key(5).node_id()]);
        assert_eq!(pass.tables.authors.len(&pass.txn).unwrap(), 2);
        assert_eq!(pass.authors.find(key(2).node_id()), None);
    });
}

/// A member makes keys as it likes. What it has brought is written by whoever follows.
#[test]
fn so_many_authors_write_to_a_context_and_these_go_on() {
    with_pass(|pass, slot| {
        let keys: Vec<Key> = (1..=CONTEXT_AUTHORS_MAX as u16 + 2).map(Key::new).collect();
        let (last, known) = keys[1..].split_last().unwrap();
        let apply = |pass: &mut Pass<'_>, change: Change| {
            let answers = pass.apply_all(&[change], &mut |_| {}).unwrap();
            answers.into_iter().next().unwrap()
        };
        let mut newest = Vec::new();
        for (key, hlc) in known.iter().zip(5..) {
            let (id, change) = change(slot, key, hlc, &newest);
            newest = vec![id];
            assert!(apply(pass, change).is_ok(), "{hlc}");
        }
        for key in [&keys[0], last] {
            let (_, change) = change(slot, key, 9000, &newest);
            let refused = apply(pass, change).err().unwrap();
            let Refused::TooManyAuthors { author, max, .. } = refused else {
                panic!("{refused}");
            };
            assert_eq!((author, max), (key.node_id(), CONTEXT_AUTHORS_MAX));
            assert_eq!(pass.authors.find(key.node_id()), None);
        }
        // What the journal has was taken once.
        let (_, canonical) = delta(CONTEXT, last, 9000, &newest);
        let mut local = Vec::new();
        local::write_remote(&mut local, Root::EMPTY);
        let call = JournaledCall {
            slot,
            canonical: &canonical,
            local: &local,
        };
        assert!(pass.replay(&call).unwrap().is_none());
        let top = DeltaView::parse(&canonical).unwrap().id();
        let (_, change) = change(slot, &known[0], 9001, &[top]);
        assert!(apply(pass, change).is_ok());
        // This node writes on, whoever it is.
        let own = CallEffects::new(CONTEXT, keys[0].node_id(), Hlc::from_micros(9));
        let own = CallEffects {
            ops: vec![crate::change::Op::set("key".into(), "value".into())],
            ..own
        };
        assert!(apply(pass, Change::Call(own)).is_ok());
        let seen = &pass.heads[&slot].head.seen;
        assert_eq!(seen.pairs().len(), CONTEXT_AUTHORS_MAX + 2);
    });
}

#[test]
fn a_replayed_delta_has_to_lead_to_the_root_that_was_noted() {
    with_pass(|pass, slot| {
        let (_, canonical) = delta(CONTEXT, &Key::new(1), 5, &[]);
        let (next_id, next) = delta(
            CONTEXT,
            &Key::new(1),
            6,
            &[DeltaView::parse(&canonical).unwrap().id()],
        );
        assert_ne!(next_id, DeltaId::from_bytes([0; 32]));
        let mut local = Vec::new();
        let mut replay = |canonical: &[u8], local: &[u8]| {
            pass.replay(&JournaledCall {
                slot,
                canonical,
                local,
            })
        };
        // As formats up to 4 noted it, and as it is noted now.
        assert!(replay(&canonical, &[1]).unwrap().is_none());
        local::write_remote(&mut local, Root::from_bytes([1; 32]));
        let error = replay(&next, &local).unwrap().expect("damage");
        assert!(error.to_string().contains("another root"), "{error}");
    });
    with_pass(|pass, slot| {
        let (_, canonical) = delta(CONTEXT, &Key::new(1), 5, &[]);
        let mut local = Vec::new();
        local::write_remote(&mut local, Root::EMPTY);
        let call = JournaledCall {
            slot,
            canonical: &canonical,
            local: &local,
        };
        assert!(pass.replay(&call).unwrap().is_none());
    });
}
