//! The state of an entry of each kind, as it has always been.

use super::kind::EntryKind;
use super::state::{Cell, Chain, SequenceState, State, Value};
use crate::golden;
use crate::hlc::Hlc;
use crate::version::Dot;

const DOT: Dot = Dot {
    author: 3,
    hlc: Hlc::from_bits(0x0102_0304_0506_0708),
};

#[test]
fn a_state_of_each_kind_is_what_it_always_was() {
    let value = Value {
        dot: DOT,
        bytes: b"value",
    };
    let sequence = || SequenceState {
        bytes: 6,
        births: vec![DOT],
        chains: vec![Chain {
            last: DOT,
            edits: 2,
            digest: [1; 32],
        }],
    };
    let state_of = |kind| {
        let mut state = State::default();
        match kind {
            EntryKind::Register => {
                state.register = vec![
                    value,
                    Value {
                        dot: later(),
                        ..value
                    },
                ]
            }
            EntryKind::Counter => {
                state.counter = vec![Cell {
                    first: DOT,
                    sum: -258,
                }]
            }
            EntryKind::SetElement => state.element = vec![DOT, later()],
            EntryKind::List => state.list = sequence(),
            EntryKind::Text => state.text = sequence(),
            EntryKind::WriteOnce => state.once = Some(value),
        }
        let mut out = Vec::new();
        state.write(&mut out);
        assert_eq!(State::read(&out).unwrap(), state, "{kind}");
        (format!("{} {kind}", kind.number()), out)
    };
    golden::check("states.txt", &EntryKind::ALL.map(state_of));
}

fn later() -> Dot {
    Dot { author: 7, ..DOT }
}
