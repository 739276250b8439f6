//! The edits of lists and texts, as stored: what reads their records, by themselves and in
//! packs (`packs.rs`), and knows which of them are still part of their sequence. What a removal has left
//! lies there until it is swept (`sweep.rs`). What the edits make is in `saved.rs`.

use std::iter::Peekable;
use std::ops::Bound;

use heed::RoTxn;

use crate::authors::Authors;
use crate::change::Birth;
use crate::delta::{BIRTH_BYTES, STAMP_BYTES};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::NodeId;
use crate::layout::{self, Table, Tables};
use crate::packs::{PackView, PackedEdit};
use crate::record::{RecordKind, read_edit, read_edit_seen};
use crate::sequence::named_in;
use crate::version::{Dot, VersionVector};

/// The births that a sequence has.
pub(crate) struct Alive {
    /// In ascending order, by number and by name.
    dots: Vec<Dot>,
    names: Vec<Birth>,
}

/// An edit as stored.
pub(crate) struct StoredEdit<'t> {
    pub(crate) dot: Dot,
    /// Bytes of key and record, or what it takes of a pack.
    pub(crate) stored_bytes: u64,
    births: &'t [[u8; BIRTH_BYTES]],
    is_linked: bool,
    update: &'t [u8],
    lies: Lies<'t>,
}

/// Where an edit lies.
enum Lies<'t> {
    /// By itself. If it does not say that there is a record of what it had seen there may be one all
    /// the same, from a format in which it could not say so.
    Alone { key: &'t [u8], has_seen: bool },
    /// In this pack.
    Packed {
        pack: PackView<'t>,
        seen: VersionVector,
    },
}

/// What an edit builds on, as the digest of its author's chain tells it: authors by name, each with a
/// stamp, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Basis<'a> {
    /// Its births; none if it is itself one.
    pub(crate) births: &'a [[u8; BIRTH_BYTES]],
    /// See [`SeenOfNamed`].
    pub(crate) seen: &'a [[u8; BIRTH_BYTES]],
}

/// Up to which stamp an edit had seen each other author whom its update names: nothing else that it
/// had seen has a say in what becomes of the update. Each is the stamp of an edit of that author in the same sequence,
/// as its delta says, so that all nodes have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeenOfNamed {
    /// In ascending order of names.
    pub(crate) by_name: Vec<[u8; BIRTH_BYTES]>,
    pub(crate) by_number: VersionVector,
}

impl SeenOfNamed {
    /// Of the edit `update` of an author, as its delta says. None if that is no form: one that names
    /// somebody and does not say so, or twice and not the same.
    pub(crate) fn told(
        author: u32,
        update: &[u8],
        seen: &[[u8; STAMP_BYTES]],
        authors: &Authors,
    ) -> Option<SeenOfNamed> {
        let named = named_in(update);
        if named.len() != seen.len() {
            return None;
        }
        let mut pairs = Vec::new();
        for (name, stamp) in named.iter().zip(seen) {
            let hlc = Hlc::from_bits(u64::from_le_bytes(*stamp));
            let name = NodeId::from_bytes(*name);
            match authors.find(name) {
                _ if hlc == Hlc::ZERO => {}
                Some(number) if number != author => pairs.push((number, name, hlc)),
                // An update that names its own author is void.
                Some(_) => {}
                None => return None,
            }
        }
        SeenOfNamed::of_pairs(pairs)
    }

    /// The same of one that is stored, with this.
    pub(crate) fn stored(
        seen: &VersionVector,
        name: impl Fn(u32) -> Option<NodeId>,
    ) -> Option<SeenOfNamed> {
        let pair = |&(number, hlc): &(u32, Hlc)| Some((number, name(number)?, hlc));
        SeenOfNamed::of_pairs(seen.pairs().iter().map(pair).collect::<Option<_>>()?)
    }

    fn of_pairs(mut pairs: Vec<(u32, NodeId, Hlc)>) -> Option<SeenOfNamed> {
        pairs.sort_unstable();
        pairs.dedup();
        let numbers = pairs.iter().map(|(number, _, hlc)| (*number, *hlc));
        let by_number = VersionVector::from_pairs(numbers)?;
        let row = |(_, author, hlc)| Birth { author, hlc }.row();
        let mut by_name: Vec<_> = pairs.into_iter().map(row).collect();
        by_name.sort_unstable();
        Some(SeenOfNamed { by_name, by_number })
    }
}

/// Why edits cannot be read.
pub(crate) enum EditError {
    Engine(heed::Error),
    Damaged(StoreError),
}

impl Alive {
    /// `name` knows authors by number.
    pub(crate) fn of(
        births: &[Dot],
        name: impl Fn(u32) -> Result<Option<NodeId>, StoreError>,
    ) -> Result<Alive, StoreError> {
        let unknown = || StoreError::corrupt("entry", &[], "the author of a birth is unknown");
        let mut names = Vec::with_capacity(births.len());
        for dot in births {
            names.push(Birth {
                author: name(dot.author)?.ok_or_else(unknown)?,
                hlc: dot.hlc,
            });
        }
        names.sort_unstable();
        let dots = births.to_vec();
        Ok(Alive { dots, names })
    }

    /// Whether an edit is part of the sequence, and not what a removal has left: every
    /// birth that it builds on is there, or it is one itself that is.
    pub(crate) fn needs(&self, edit: &StoredEdit<'_>) -> bool {
        let mut births = edit.births().peekable();
        match births.peek() {
            None => self.dots.binary_search(&edit.dot).is_ok(),
            Some(_) => births.all(|birth| self.names.binary_search(&birth).is_ok()),
        }
    }
}

impl<'t> StoredEdit<'t> {
    pub(crate) fn alone(key: &'t [u8], bytes: &'t [u8]) -> Result<StoredEdit<'t>, StoreError> {
        let record = read_edit(key, bytes)?;
        let dot = layout::edit_dot(key)
            .ok_or_else(|| StoreError::corrupt("edit", key, "its key is too short"))?;
        Ok(StoredEdit {
            dot,
            stored_bytes: (key.len() + bytes.len()) as u64,
            births: record.row.births.get(),
            is_linked: record.is_linked,
            update: record.row.update.get(),
            lies: Lies::Alone {
                key,
                has_seen: record.has_seen,
            },
        })
    }

    fn packed(pack: &PackView<'t>, edit: PackedEdit<'t>) -> StoredEdit<'t> {
        StoredEdit {
            dot: edit.dot,
            stored_bytes: edit.stored_bytes,
            births: edit.births,
            is_linked: edit.is_linked,
            update: edit.update,
            lies: Lies::Packed {
                pack: pack.whole(),
                seen: edit.seen,
            },
        }
    }

    /// What it builds on; none if it has begun the sequence.
    pub(crate) fn births(&self) -> impl ExactSizeIterator<Item = Birth> + use<'t> {
        self.births.iter().map(Birth::of)
    }

    /// They, as records have them.
    pub(crate) fn birth_rows(&self) -> &'t [[u8; BIRTH_BYTES]] {
        self.births
    }

    /// They, if the digest of its chain tells of what it builds on.
    pub(crate) fn linked(&self) -> Option<&'t [[u8; BIRTH_BYTES]]> {
        self.is_linked.then_some(self.births)
    }

    /// The edit, as its delta has it.
    pub(crate) fn update(&self) -> &'t [u8] {
        self.update
    }

    /// The key of its record, if it lies by itself.
    pub(crate) fn key(&self) -> Option<&'t [u8]> {
        match &self.lies {
            Lies::Alone { key, .. } => Some(key),
            Lies::Packed { .. } => None,
        }
    }

    /// The pack that it is in.
    pub(crate) fn pack(&self) -> Option<&PackView<'t>> {
        match &self.lies {
            Lies::Alone { .. } => None,
            Lies::Packed { pack, .. } => Some(pack),
        }
    }

    /// What it had seen of others, if it is in a pack.
    pub(crate) fn packed_seen(&self) -> Option<&VersionVector> {
        match &self.lies {
            Lies::Alone { .. } => None,
            Lies::Packed { seen, .. } => Some(seen),
        }
    }

    /// What it had seen of others.
    pub(crate) fn seen(
        &self,
        tables: &Tables,
        txn: &RoTxn<'_>,
    ) -> Result<VersionVector, EditError> {
        let (key, has_seen) = match &self.lies {
            Lies::Packed { seen, .. } => return Ok(seen.clone()),
            Lies::Alone { key, has_seen } => (key, *has_seen),
        };
        if self.is_linked && !has_seen {
            return Ok(VersionVector::default());
        }
        let found = tables.edits_seen.get(txn, key);
        match found.map_err(EditError::Engine)? {
            Some(bytes) => read_edit_seen(key, bytes).map_err(EditError::Damaged),
            None if has_seen => Err(EditError::Damaged(seen_is_missing(key))),
            None => Ok(VersionVector::default()),
        }
    }
}

/// The same of an edit that is not stored: whether a sequence with these births, in
/// ascending order, has an edit that builds on those.
pub(crate) fn is_part(alive: &[Dot], edit: Dot, births: &[Dot]) -> bool {
    let is_alive = |birth: &Dot| alive.binary_search(birth).is_ok();
    match births {
        [] => is_alive(&edit),
        births => births.iter().all(is_alive),
    }
}

/// The edits whose keys begin with `prefix`, behind the key `after` if that is not empty, in
/// the order of their stamps: so each comes behind all that its delta had seen.
pub(crate) fn read<'t>(
    tables: &Tables,
    txn: &'t RoTxn<'_>,
    prefix: &[u8],
    after: &[u8],
) -> Result<impl Iterator<Item = Result<StoredEdit<'t>, EditError>> + use<'t>, EditError> {
    let start = match after {
        [] => Bound::Included(prefix),
        after => Bound::Excluded(after),
    };
    // A pack lies under the key of its last edit, so none that begins before is passed over.
    let rows = |table: Table| {
        let rows = table.range(txn, &(start, Bound::Unbounded));
        let rows = rows.map_err(EditError::Engine)?;
        let prefix = prefix.to_vec();
        let is_here = move |row: &heed::Result<(&[u8], &[u8])>| match row {
            Ok((key, _)) => key.starts_with(&prefix),
            Err(_) => true,
        };
        Ok(rows.take_while(is_here))
    };
    Ok(Merged {
        alone: rows(tables.edits)?.peekable(),
        packs: rows(tables.packs)?,
        pack: None,
        after: layout::edit_dot(after).filter(|_| !after.is_empty()),
    })
}

/// The edit that `dot` names of those whose keys begin with `prefix`.
pub(crate) fn find<'t>(
    tables: &Tables,
    txn: &'t RoTxn<'_>,
    prefix: &[u8],
    dot: Dot,
) -> Result<Option<StoredEdit<'t>>, EditError> {
    let key = [prefix, &layout::edit_suffix(dot)].concat();
    let alone = tables.edits.get_greater_than_or_equal_to(txn, &key);
    if let Some((found, bytes)) = alone.map_err(EditError::Engine)?
        && found == key
    {
        let edit = StoredEdit::alone(found, bytes);
        return edit.map(Some).map_err(EditError::Damaged);
    }
    let pack = tables.packs.get_greater_than_or_equal_to(txn, &key);
    let Some((found, bytes)) = pack.map_err(EditError::Engine)? else {
        return Ok(None);
    };
    if !found.starts_with(prefix) {
        return Ok(None);
    }
    let pack = PackView::read(found, bytes).map_err(EditError::Damaged)?;
    Ok(of_pack(&pack).find(|edit| edit.dot == dot))
}

/// Whether an edit builds on no births but these, by name and in ascending order: then it is there as
/// long as one that builds on all of them.
pub(crate) fn is_beneath(
    edit: &StoredEdit<'_>,
    author: NodeId,
    births: &[[u8; BIRTH_BYTES]],
) -> bool {
    let is_one = |birth: &Birth| births.binary_search_by_key(birth, Birth::of).is_ok();
    match edit.births().len() {
        0 => is_one(&Birth {
            author,
            hlc: edit.dot.hlc,
        }),
        _ => edit.births().all(|birth| is_one(&birth)),
    }
}

/// All edits of a pack.
pub(crate) fn of_pack<'t>(pack: &PackView<'t>) -> impl Iterator<Item = StoredEdit<'t>> + use<'t> {
    let whole = pack.whole();
    pack.whole()
        .map(move |edit| StoredEdit::packed(&whole, edit))
}

/// Edits that lie by themselves, and between them those of packs.
struct Merged<'t, A: Iterator, P> {
    alone: Peekable<A>,
    packs: P,
    pack: Option<PackView<'t>>,
    /// Behind which edit it begins, in the pack that has that one.
    after: Option<Dot>,
}

fn place(dot: Dot) -> (Hlc, u32) {
    (dot.hlc, dot.author)
}

impl<'t, A, P> Merged<'t, A, P>
where
    A: Iterator<Item = heed::Result<(&'t [u8], &'t [u8])>>,
    P: Iterator<Item = heed::Result<(&'t [u8], &'t [u8])>>,
{
    /// Opens the next pack if there is none with an edit left.
    fn open_pack(&mut self) -> Result<(), EditError> {
        if self
            .pack
            .as_ref()
            .is_some_and(|pack| pack.next_dot().is_some())
        {
            return Ok(());
        }
        self.pack = None;
        let Some(row) = self.packs.next() else {
            return Ok(());
        };
        let (key, bytes) = row.map_err(EditError::Engine)?;
        let mut pack = PackView::read(key, bytes).map_err(EditError::Damaged)?;
        if let Some(after) = self.after.take() {
            while pack
                .next_dot()
                .is_some_and(|dot| place(dot) <= place(after))
            {
                pack.next();
            }
        }
        self.pack = Some(pack);
        Ok(())
    }

    fn step(&mut self) -> Result<Option<StoredEdit<'t>>, EditError> {
        self.open_pack()?;
        let packed = self.pack.as_ref().and_then(PackView::next_dot);
        let alone = match self.alone.peek() {
            Some(Ok((key, _))) => layout::edit_dot(key),
            _ => None,
        };
        // An error comes first.
        let is_packed = packed.is_some_and(|packed| match self.alone.peek() {
            Some(_) => alone.is_some_and(|alone| place(packed) < place(alone)),
            None => true,
        });
        if let (true, Some(pack)) = (is_packed, &mut self.pack) {
            let edit = pack.next().expect("every edit was looked at");
            return Ok(Some(StoredEdit::packed(pack, edit)));
        }
        let Some(row) = self.alone.next() else {
            return Ok(None);
        };
        let (key, bytes) = row.map_err(EditError::Engine)?;
        let edit = StoredEdit::alone(key, bytes);
        edit.map(Some).map_err(EditError::Damaged)
    }
}

impl<'t, A, P> Iterator for Merged<'t, A, P>
where
    A: Iterator<Item = heed::Result<(&'t [u8], &'t [u8])>>,
    P: Iterator<Item = heed::Result<(&'t [u8], &'t [u8])>>,
{
    type Item = Result<StoredEdit<'t>, EditError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// An edit says that it had seen others, and nothing says which: without that it would be
/// void, or mean another place.
pub(crate) fn seen_is_missing(key: &[u8]) -> StoreError {
    StoreError::corrupt(RecordKind::EditSeen.what(), key, "it is missing")
}
