//! Calls and deltas as the journal has them, applied once more after a crash. They come out as they
//! did before, or something is damaged. What waits because its context is out of service is in
//! `quarantine.rs`.

use bytes::Bytes;

use super::{Pass, Stop, before_writing};
use crate::answer::KeyedAnswer;
use crate::change::{CallEffects, Event, Op};
use crate::delta::{DeltaEventView, DeltaView};
use crate::error::{Refused, StoreError};
use crate::ids::ContextSlot;
use crate::journal::JournaledCall;
use crate::layout::slot_key;
use crate::local::{self, Local};
use crate::seal::Sealed;

impl Pass<'_> {
    /// Applies a call or delta as the journal has it: it was applied once before, and
    /// must come out the same. If damage keeps it from that, the damage is given, and the
    /// transaction is good for nothing: begin again with the context in
    /// [quarantine](Self::put_into_quarantine).
    pub(crate) fn replay(
        &mut self,
        call: &JournaledCall<'_>,
    ) -> Result<Option<StoreError>, StoreError> {
        if self.is_quarantined(call.slot) {
            return self.put_aside(call).map(|()| None);
        }
        // It was acknowledged, whatever a context may hold by now.
        match self.unbounded(|pass| pass.try_to_replay(call)) {
            Ok(()) => Ok(None),
            // Met while writing it is damage of this context as well.
            Err(
                Stop::Refuse(Refused::Damaged { source })
                | Stop::Fail(source @ StoreError::Corrupt { .. }),
            ) => Ok(Some(source)),
            Err(Stop::Refuse(_)) => Ok(Some(StoreError::corrupt(
                "journaled delta",
                &slot_key(call.slot),
                "the state does not take it any more",
            ))),
            Err(Stop::Fail(error)) => Err(error),
        }
    }

    fn try_to_replay(&mut self, call: &JournaledCall<'_>) -> Result<(), Stop> {
        let JournaledCall {
            slot,
            canonical,
            local,
        } = *call;
        let corrupt =
            |why| before_writing(StoreError::corrupt("journaled delta", &slot_key(slot), why));
        let malformed = |_| corrupt("its bytes are malformed");
        let delta = match canonical {
            [] => None,
            bytes => Some(DeltaView::parse(bytes).map_err(malformed)?),
        };
        let local = local::read(local).map_err(malformed)?;
        self.head(slot)?
            .ok_or_else(|| corrupt("its context does not exist"))?;
        let applied = match (&delta, local) {
            (Some(delta), Local::Remote { root }) => {
                let applied = self.remote_in(slot, delta.id(), delta);
                if let (Ok(receipt), Some(root)) = (&applied, root)
                    && receipt.standing.root != root
                {
                    return Err(corrupt("it gives another root than when it was committed"));
                }
                applied
            }
            (Some(delta), Local::Call) => {
                self.call_in(slot, &call_of(delta, slot, Vec::new(), None))
            }
            (Some(delta), Local::CallWith { ops, answer, .. }) => {
                self.call_in(slot, &call_of(delta, slot, ops, answer))
            }
            (
                None,
                Local::CallWith {
                    author,
                    hlc,
                    ops,
                    answer,
                },
            ) => {
                let context = self.heads[&slot].head.context;
                self.call_in(
                    slot,
                    &CallEffects {
                        context,
                        slot,
                        author,
                        hlc,
                        read: None,
                        ops,
                        events: Vec::new(),
                        answer,
                    },
                )
            }
            (None, Local::Seal { delta, seal }) => {
                let context = self.heads[&slot].head.context;
                self.keep_seal_in(slot, &Sealed::of_ledger(context, delta, seal))
            }
            (Some(_), Local::Seal { .. }) => return Err(corrupt("a seal came with a delta")),
            (None, Local::Call | Local::Remote { .. }) => return Err(corrupt("it is empty")),
        };
        match applied {
            Ok(_) if self.buffers.canonical == canonical => Ok(()),
            Ok(_) => Err(corrupt("it gives another state than when it was committed")),
            Err(stop) => Err(stop),
        }
    }
}

/// The call that has made a delta, with what the delta does not tell.
fn call_of(
    delta: &DeltaView<'_>,
    slot: ContextSlot,
    private: Vec<Op>,
    answer: Option<Box<KeyedAnswer>>,
) -> CallEffects {
    CallEffects {
        context: delta.context(),
        slot,
        author: delta.author(),
        hlc: delta.hlc(),
        read: None,
        ops: delta.ops().map(|op| Op::of(&op)).chain(private).collect(),
        events: delta.events().map(owned_event).collect(),
        answer,
    }
}

fn owned_event(event: DeltaEventView<'_>) -> Event {
    Event {
        kind: event.kind.to_owned(),
        payload: Bytes::copy_from_slice(event.payload),
    }
}
