//! Handing changed nodes to the store, and giving up memory. What a node's bytes
//! are is in `bucket.rs` and `inner.rs`.

use super::Trie;
use super::change::Census;
use super::digest::Digest;
use super::node::Below;
use super::path::{NIBBLES, NodePath};

/// What is to be done with the node under a path: its new bytes, or `None` if
/// there is none any more.
pub(crate) type Sink<'a, E> = dyn FnMut(&NodePath, Option<&[u8]>) -> Result<(), E> + 'a;

#[cfg(test)]
std::thread_local! {
    /// How many places this thread has handed to sinks. Tests alone count them.
    pub(super) static HANDED_OVER: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
fn count() {
    HANDED_OVER.set(HANDED_OVER.get() + 1);
}

impl Trie {
    /// Hands everything that has changed since the last flush to `sink`: first
    /// the places that have no node any more, then nodes, each in the order of
    /// keys. After that nothing is changed. If the sink fails, the trie no longer
    /// knows what is stored, and has to be dropped.
    pub(crate) fn flush<E>(&mut self, sink: &mut Sink<'_, E>) -> Result<Digest, E> {
        let root = self.root();
        for path in std::mem::take(&mut self.census.gone) {
            #[cfg(test)]
            count();
            sink(&path, None)?;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        write(&mut self.top, NodePath::ROOT, &mut buffer, sink)?;
        self.buffer = buffer;
        self.census.changed = 0;
        Ok(root)
    }

    /// If nodes take more than `bytes_max` of memory, gives up a quarter of what
    /// is allowed, the deepest first. What is changed stays. Not between a load
    /// and its change.
    pub(crate) fn trim(&mut self, bytes_max: usize) {
        if self.census.bytes <= bytes_max {
            return;
        }
        let mut levels = [0; NIBBLES + 1];
        weigh(&self.top, 0, &mut levels);
        let mut room = bytes_max - bytes_max / 4;
        // How much of each level may stay.
        for level in &mut levels {
            *level = room.min(*level);
            room -= *level;
        }
        drop_beyond(&mut self.top, 0, &mut levels, &mut self.census);
    }
}

fn write<E>(
    at: &mut Below,
    path: NodePath,
    buffer: &mut Vec<u8>,
    sink: &mut Sink<'_, E>,
) -> Result<(), E> {
    if !at.is_changed() {
        // Nor is anything below it.
        return Ok(());
    }
    match at {
        Below::Nothing => {}
        Below::Bucket(bucket) => {
            #[cfg(test)]
            count();
            sink(&path, Some(bucket.as_bytes()))?;
            (bucket.is_changed, bucket.is_stored) = (false, true);
        }
        Below::Inner(inner) => {
            inner.children.write(buffer);
            #[cfg(test)]
            count();
            sink(&path, Some(buffer))?;
            (inner.is_changed, inner.is_stored) = (false, true);
            for (nibble, below) in inner.below.iter_mut().enumerate() {
                if below.is_changed() {
                    let child = path
                        .child(nibble)
                        .expect("there are children above the bottom only");
                    write(below, child, buffer, sink)?;
                }
            }
        }
    }
    Ok(())
}

/// Adds the bytes of each level to `levels`, and gives how many nodes these are.
fn weigh(at: &Below, depth: usize, levels: &mut [usize; NIBBLES + 1]) -> usize {
    if at.is_nothing() {
        return 0;
    }
    levels[depth] += at.bytes();
    let Below::Inner(inner) = at else {
        return 1;
    };
    let below = inner.below.iter();
    1 + below
        .map(|below| weigh(below, depth + 1, levels))
        .sum::<usize>()
}

/// Drops what no room is left for on its level, and everything below that.
fn drop_beyond(at: &mut Below, depth: usize, room: &mut [usize; NIBBLES + 1], census: &mut Census) {
    if at.is_nothing() {
        return;
    }
    let bytes = at.bytes();
    let has_room = room[depth] >= bytes;
    if has_room {
        room[depth] -= bytes;
    }
    if let Below::Inner(inner) = at {
        for below in &mut inner.below {
            drop_beyond(below, depth + 1, room, census);
        }
    }
    if !has_room && !at.is_changed() {
        drop_all(at, census);
    }
}

fn drop_all(at: &mut Below, census: &mut Census) {
    let mut levels = [0; NIBBLES + 1];
    census.loaded -= weigh(at, 0, &mut levels);
    census.bytes -= levels.iter().sum::<usize>();
    *at = Below::Nothing;
}

#[cfg(test)]
impl Trie {
    /// How many nodes are in memory, how many bytes they take and how many of them have
    /// changed, counted anew.
    pub(super) fn recount(&self) -> (usize, usize, usize) {
        fn changed(at: &Below) -> usize {
            let below = match at {
                Below::Inner(inner) => inner.below.iter().map(changed).sum(),
                _ => 0,
            };
            below + usize::from(at.is_changed())
        }
        let mut levels = [0; NIBBLES + 1];
        let nodes = weigh(&self.top, 0, &mut levels);
        (nodes, levels.iter().sum(), changed(&self.top))
    }
}
