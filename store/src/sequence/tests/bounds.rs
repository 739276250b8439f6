//! What is too much is refused with the number that was exceeded, here and there alike.

use super::*;

/// What does not fit is refused with the number that was exceeded.
#[test]
fn bounds_hold() {
    let mut list = Sequence::new(SequenceKind::List, key(1));
    assert_eq!(
        list.insert(1, values(0..1)),
        Err(SequenceError::OutOfRange { index: 1, len: 0 })
    );
    assert!(matches!(
        list.insert(0, text("x")),
        Err(SequenceError::WrongKind { .. })
    ));
    let big = Content::Values(vec![vec![0; UPDATE_BYTES_MAX].into()]);
    assert!(matches!(
        list.insert(0, big),
        Err(SequenceError::TooLarge { .. })
    ));
    assert!(list.is_empty());
    list.insert(0, values(0..3)).unwrap();
    assert_eq!(list.save(), Err(SequenceError::EditsWait));
    assert_eq!(
        list.delete(2, 2),
        Err(SequenceError::OutOfRange { index: 4, len: 3 })
    );
}

/// One edit more than the bound is refused here, with the bound in the error, and changes
/// nothing; an update that has one more all the same is refused there.
#[test]
fn an_update_has_a_bounded_number_of_edits() {
    let too_many = |answer: Result<(), SequenceError>| {
        let got = UPDATE_EDITS_MAX + 1;
        let expected = SequenceError::TooLarge {
            what: "edits of an update",
            got,
            max: UPDATE_EDITS_MAX,
        };
        assert_eq!(answer, Err(expected));
    };
    let mut a = Sequence::new(SequenceKind::List, key(1));
    for _ in 0..UPDATE_EDITS_MAX {
        a.insert(0, values(0..1)).unwrap();
    }
    too_many(a.insert(0, values(0..1)));
    too_many(a.delete(7, 1));
    assert_eq!(a.len(), UPDATE_EDITS_MAX);
    // Typing goes on with an edit that is there.
    a.insert(1, values(1..3)).unwrap();
    let full = a.take_update(hlc(1)).unwrap().unwrap();
    let mut b = Sequence::new(SequenceKind::List, key(2));
    b.apply(key(1), hlc(1), |_| Hlc::ZERO, &full).unwrap();
    assert_eq!(all(&a), all(&b));
    a.insert(0, values(0..10_000)).unwrap();
    a.take_update(hlc(2)).unwrap();
    a.insert(0, values(0..1)).unwrap();
    for n in 1..UPDATE_EDITS_MAX {
        a.delete(n, 1).unwrap();
    }
    too_many(a.delete(2000, 1));
    too_many(a.insert(1000, values(0..1)));
    a.roll_back();
    check_invariants(&a);

    let mut longer = full;
    // One more of no author, with one value of no bytes.
    longer.extend([0, 0, 1, 0]);
    let mut c = Sequence::new(SequenceKind::List, key(2));
    too_many(c.apply(key(1), hlc(1), |_| Hlc::ZERO, &longer));
    assert!(
        c.is_empty()
            && c.save().unwrap() == Sequence::new(SequenceKind::List, key(2)).save().unwrap()
    );
}

/// A stamp of zero is later than none, here and there.
#[test]
fn a_stamp_of_zero_is_none() {
    for first in [true, false] {
        let mut a = Sequence::new(SequenceKind::Text, key(1));
        let mut b = Sequence::new(SequenceKind::Text, key(2));
        if !first {
            a.insert(0, text("x")).unwrap();
            let update = a.take_update(hlc(1)).unwrap().unwrap();
            b.apply(key(1), hlc(1), |_| Hlc::ZERO, &update).unwrap();
        }
        a.insert(0, text("abc")).unwrap();
        let refused = a.take_update(Hlc::ZERO);
        assert!(matches!(refused, Err(SequenceError::NotLater { .. })));
        let update = a.take_update(hlc(5)).unwrap().unwrap();
        let before = b.save().unwrap();
        let refused = b.apply(key(1), Hlc::ZERO, |_| Hlc::ZERO, &update);
        assert!(matches!(refused, Err(SequenceError::NotLater { .. })));
        assert_eq!(b.save().unwrap(), before);
        b.apply(key(1), hlc(5), |_| Hlc::ZERO, &update).unwrap();
        assert_eq!(all(&a), all(&b));
    }
}

/// What is told of an update's past is of these alone.
#[test]
fn nobody_is_asked_for_but_whom_an_update_names() {
    let mut sequences = [1, 2, 3].map(|n| Sequence::new(SequenceKind::Text, key(n)));
    let [one, two, three] = &mut sequences;
    one.insert(0, text("one")).unwrap();
    let first = one.take_update(hlc(1)).unwrap().unwrap();
    assert!(named_in(&first).is_empty());
    for other in [&mut *two, &mut *three] {
        other.apply(key(1), hlc(1), |_| Hlc::ZERO, &first).unwrap();
    }
    two.insert(3, text("two")).unwrap();
    let second = two.take_update(hlc(2)).unwrap().unwrap();
    three.apply(key(2), hlc(2), |_| hlc(1), &second).unwrap();
    // Behind the second's, and in the place of the first's.
    three.insert(6, text("three")).unwrap();
    three.delete(0, 1).unwrap();
    let third = three.take_update(hlc(3)).unwrap().unwrap();
    one.apply(key(2), hlc(2), |_| hlc(1), &second).unwrap();
    let keys = [2, 1].map(|n| *key(n).as_bytes());
    assert_eq!(
        (named_in(&second), named_in(&third)),
        (&keys[1..], &keys[..])
    );
    let asked = std::cell::RefCell::new(Vec::new());
    let seen = |of: &NodeId| {
        asked.borrow_mut().push(*of.as_bytes());
        hlc(2)
    };
    one.apply(key(3), hlc(3), seen, &third).unwrap();
    assert_eq!(asked.into_inner(), keys);
    // One that says of more than it has, or is of another form, names nobody.
    let lies = [&third[..3 + 63], &[1, 2, 3][..], &[2, 2, 0], &[1], &[]];
    for lie in lies {
        assert!(named_in(lie).is_empty(), "{lie:?}");
    }
}
