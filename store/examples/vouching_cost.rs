//! What it costs to find how far seals come, at its worst: as many authors as are looked after
//! have sealed deltas above as many parents as may wait. Run as
//! `cargo run --release -p corelet-store --example vouching_cost`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::{
    ContextId, DeltaId, Held, NodeId, PendingBounds, PendingDeltas, Sealed, Sealer, make_seals,
};
use ed25519_dalek::{Signer, SigningKey};

const CONTEXT: ContextId = ContextId::from_bytes([7; 32]);
const AUTHORS: u16 = 256;
/// Deltas in the row below the sealed ones, each behind so many of those before it.
const ROW: usize = 2200;
const PARENTS: usize = 32;

struct Key(SigningKey);

impl Key {
    fn new(n: u16) -> Key {
        let mut secret = [9; 32];
        secret[..2].copy_from_slice(&n.to_le_bytes());
        Key(SigningKey::from_bytes(&secret))
    }

    fn seal(&self, id: DeltaId) -> Sealed {
        let place = (CONTEXT, id);
        let seal = make_seals(self, &[place]).remove(0);
        seal.check(CONTEXT, id).expect("it was just made")
    }
}

impl Sealer for Key {
    fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
        let signed = [b"corelet/v1/delta\0", message].concat();
        self.0.sign(&signed).to_bytes()
    }
}

/// Without writes and events, of the form in `store/src/delta.rs`.
fn delta(author: NodeId, hlc: usize, parents: &[(DeltaId, Bytes)]) -> (DeltaId, Bytes) {
    let mut ids: Vec<DeltaId> = parents.iter().map(|(id, _)| *id).collect();
    ids.sort();
    let mut out = b"CLD2".to_vec();
    out.extend_from_slice(CONTEXT.as_bytes());
    out.extend_from_slice(author.as_bytes());
    out.extend_from_slice(&(hlc as u64 + 1).to_le_bytes());
    out.extend_from_slice(&(ids.len() as u16).to_le_bytes());
    ids.iter()
        .for_each(|id| out.extend_from_slice(id.as_bytes()));
    out.extend_from_slice(&[0; 4 + 4 + 32]);
    let id = DeltaId::from_bytes(*blake3::hash(&out).as_bytes());
    (id, Bytes::from(out))
}

fn receive(pending: &mut PendingDeltas, delta: &(DeltaId, Bytes)) {
    let held = pending.receive(delta.1.clone(), 0);
    let held = held.expect("it is well-formed");
    assert_eq!(held, Held::Waits { dropped: vec![] });
}

fn main() {
    let silent = Key::new(AUTHORS).node_id();
    let mut row: Vec<(DeltaId, Bytes)> = Vec::new();
    for n in 0..ROW {
        let parents = &row[n.saturating_sub(PARENTS)..];
        row.push(delta(silent, n, parents));
    }
    let newest = &row[ROW - 1..];
    let sealed: Vec<((DeltaId, Bytes), Sealed)> = (0..AUTHORS)
        .map(|n| {
            let key = Key::new(n);
            let top = delta(key.node_id(), ROW, newest);
            let seal = key.seal(top.0);
            (top, seal)
        })
        .collect();
    let edges = ROW * PARENTS;
    println!("{AUTHORS} authors' seals above {ROW} deltas with {edges} parents");
    let new = || PendingDeltas::new(CONTEXT, PendingBounds::default());

    let mut pending = new();
    let started = Instant::now();
    row.iter().for_each(|delta| receive(&mut pending, delta));
    for (top, seal) in &sealed {
        receive(&mut pending, top);
        pending.seal(seal.clone(), 0);
    }
    assert!(pending.unsealed() == [silent]);
    println!("everything, then a look: {:.1?}", started.elapsed());

    let mut pending = new();
    row[..ROW - 1]
        .iter()
        .for_each(|delta| receive(&mut pending, delta));
    for (top, seal) in &sealed {
        receive(&mut pending, top);
        pending.seal(seal.clone(), 0);
    }
    assert!(pending.unsealed() == [silent]);
    let started = Instant::now();
    receive(&mut pending, &row[ROW - 1]);
    assert!(pending.unsealed() == [silent]);
    println!(
        "the delta between them comes last: {:.1?}",
        started.elapsed()
    );

    let mut pending = new();
    row.iter().for_each(|delta| receive(&mut pending, delta));
    let mut longest = Duration::ZERO;
    let started = Instant::now();
    for (top, seal) in &sealed {
        let began = Instant::now();
        receive(&mut pending, top);
        pending.seal(seal.clone(), 0);
        assert!(pending.unsealed() == [silent]);
        longest = longest.max(began.elapsed());
    }
    println!(
        "a look after each seal: {:.1?}, {longest:.1?} at most",
        started.elapsed()
    );
}
