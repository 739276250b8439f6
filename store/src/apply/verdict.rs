//! What a change is answered: made of its receipt, which is what applying it has left of it, once that
//! is on disk.

use super::Answer;
use crate::answer::{KeptAnswer, KeyedAnswer};
use crate::change::{Change, Committed, CommittedEvent, NewContext, Upgrade, Verdict};
use crate::hlc::Hlc;
use crate::ids::{DeltaId, Root};

/// Builds the answer to a change out of its receipt, now that it is on disk.
pub(crate) fn verdict(change: Change, answer: Answer) -> Verdict {
    let receipt = answer?;
    let (events, answer) = match change {
        Change::CreateContext(NewContext { call, .. })
        | Change::Upgrade(Upgrade { call, .. })
        | Change::Call(call) => (call.events, call.answer),
        // Nobody waits for what another node tells: it is read where it is kept.
        Change::Delta(_) => (Vec::new(), None),
        _ => return Ok(Committed::of_no_call(receipt.slot)),
    };
    let events = (receipt.first_sequence..)
        .zip(events)
        .map(|(sequence, event)| CommittedEvent { sequence, event })
        .collect();
    Ok(Committed {
        slot: receipt.slot,
        delta_id: receipt.delta_id,
        standing: receipt.standing,
        hlc: receipt.hlc,
        root_there: receipt.root_there,
        events,
        kept: answer.map(|answer| {
            let key = answer.key;
            Box::new((
                key,
                kept(
                    *answer,
                    receipt.hlc,
                    receipt.delta_id,
                    receipt.standing.root,
                ),
            ))
        }),
    })
}

/// An answer with what its call came to.
pub(super) fn kept(
    answer: KeyedAnswer,
    hlc: Hlc,
    delta_id: Option<DeltaId>,
    root: Root,
) -> KeptAnswer {
    KeptAnswer {
        request: answer.request,
        hlc,
        fuel_used: answer.fuel_used,
        delta_id,
        root,
        said: answer.said,
    }
}
