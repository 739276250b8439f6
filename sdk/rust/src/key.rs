//! Keys as bytes whose order is the order of the values.
//!
//! What lives here: the encoding of keys and nothing about where they are
//! stored (see `collections`). The encoding is part of an application's durable
//! format and never changes:
//!
//! | type | bytes |
//! |---|---|
//! | `u8` … `u128` | big endian |
//! | `i8` … `i128` | big endian with the sign bit turned round |
//! | `bool` | 0 or 1 |
//! | `[u8; N]` | as they are |
//! | `String`, `Vec<u8>` at the end of a key | as they are |
//! | `String`, `Vec<u8>` inside a tuple | each 0 byte becomes 0 255; 0 0 ends it |
//! | tuples, and the keys of nested maps | one part after the other |
//!
//! So no part of a tuple can run into the next one, and all keys that begin
//! with the same parts lie together.

/// A type that can be the key of a [`Map`](crate::collections::Map), or an element
/// of a [`Set`](crate::collections::Set).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    note = "keys are strings, integers, `bool`, byte arrays, `Vec<u8>` and tuples of them"
)]
pub trait Key: AsKey<Self> + Clone {
    /// Takes the key off the front of `input`; `None` if these are not the
    /// bytes of such a key.
    fn read(input: &mut &[u8], place: Place) -> Option<Self>;
}

/// A value that names a key of type `K`: `K` itself, a reference to it, or its
/// borrowed form (`str` for `String`, `(&str, u64)` for `(String, u64)`).
#[diagnostic::on_unimplemented(message = "`{Self}` does not name a key of type `{K}`")]
pub trait AsKey<K> {
    /// Appends the key's bytes.
    fn write(&self, out: &mut KeyBytes, place: Place);
}

/// Where in a key a part stands; only parts of variable length care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing follows: the key's end is the part's end.
    Last,
    /// Another part follows: the part has to say where it ends.
    Inner,
}

/// The bytes of a key under construction. Short keys stay on the stack: a
/// look-up by key is the commonest thing a guest does.
#[derive(Clone)]
pub struct KeyBytes {
    inline: [u8; INLINE_BYTES],
    used: usize,
    spilled: Vec<u8>,
}

/// Room for a field's prefix and a key such as an id or a short name.
const INLINE_BYTES: usize = 64;

impl KeyBytes {
    /// A key that begins with `prefix`.
    pub(crate) fn new(prefix: &[u8]) -> KeyBytes {
        let mut bytes = KeyBytes {
            inline: [0; INLINE_BYTES],
            used: 0,
            spilled: Vec::new(),
        };
        bytes.push(prefix);
        bytes
    }

    /// Appends `part`.
    #[inline]
    pub fn push(&mut self, part: &[u8]) {
        if self.spilled.is_empty() {
            if let Some(room) = self.inline.get_mut(self.used..self.used + part.len()) {
                room.copy_from_slice(part);
                self.used += part.len();
                return;
            }
            self.spilled.reserve(self.used + part.len());
            self.spilled.extend_from_slice(&self.inline[..self.used]);
        }
        self.spilled.extend_from_slice(part);
    }

    /// The bytes so far.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        if self.spilled.is_empty() {
            &self.inline[..self.used]
        } else {
            &self.spilled
        }
    }
}

/// The bytes of a whole key below `prefix`.
#[inline]
pub(crate) fn encode<K, Q: AsKey<K> + ?Sized>(prefix: &[u8], key: &Q) -> KeyBytes {
    let mut bytes = KeyBytes::new(prefix);
    key.write(&mut bytes, Place::Last);
    bytes
}

/// The key that `bytes` are, if they are one and nothing more.
pub(crate) fn decode<K: Key>(mut bytes: &[u8]) -> Option<K> {
    let key = K::read(&mut bytes, Place::Last)?;
    bytes.is_empty().then_some(key)
}

impl<K, Q: AsKey<K> + ?Sized> AsKey<K> for &Q {
    #[inline]
    fn write(&self, out: &mut KeyBytes, place: Place) {
        (**self).write(out, place);
    }
}

macro_rules! unsigned_keys {
    ($($type:ty),*) => {$(
        impl AsKey<$type> for $type {
            #[inline]
            fn write(&self, out: &mut KeyBytes, _: Place) {
                out.push(&self.to_be_bytes());
            }
        }

        impl Key for $type {
            fn read(input: &mut &[u8], _: Place) -> Option<Self> {
                Some(Self::from_be_bytes(read_array(input)?))
            }
        }
    )*};
}

unsigned_keys!(u8, u16, u32, u64, u128);

macro_rules! signed_keys {
    ($($type:ty as $unsigned:ty),*) => {$(
        impl AsKey<$type> for $type {
            #[inline]
            fn write(&self, out: &mut KeyBytes, _: Place) {
                // Negative numbers have the highest bit set; turned round,
                // they come first.
                let turned = (*self as $unsigned) ^ (1 << (<$type>::BITS - 1));
                out.push(&turned.to_be_bytes());
            }
        }

        impl Key for $type {
            fn read(input: &mut &[u8], _: Place) -> Option<Self> {
                let turned = <$unsigned>::from_be_bytes(read_array(input)?);
                Some((turned ^ (1 << (<$type>::BITS - 1))) as $type)
            }
        }
    )*};
}

signed_keys!(i8 as u8, i16 as u16, i32 as u32, i64 as u64, i128 as u128);

impl AsKey<bool> for bool {
    fn write(&self, out: &mut KeyBytes, _: Place) {
        out.push(&[u8::from(*self)]);
    }
}

impl Key for bool {
    fn read(input: &mut &[u8], _: Place) -> Option<Self> {
        match read_array(input)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl<const N: usize> AsKey<[u8; N]> for [u8; N] {
    fn write(&self, out: &mut KeyBytes, _: Place) {
        out.push(self);
    }
}

impl<const N: usize> Key for [u8; N] {
    fn read(input: &mut &[u8], _: Place) -> Option<Self> {
        read_array(input)
    }
}

impl AsKey<String> for str {
    #[inline]
    fn write(&self, out: &mut KeyBytes, place: Place) {
        write_bytes(self.as_bytes(), out, place);
    }
}

impl AsKey<String> for String {
    #[inline]
    fn write(&self, out: &mut KeyBytes, place: Place) {
        write_bytes(self.as_bytes(), out, place);
    }
}

impl Key for String {
    fn read(input: &mut &[u8], place: Place) -> Option<Self> {
        String::from_utf8(read_bytes(input, place)?).ok()
    }
}

impl AsKey<Vec<u8>> for [u8] {
    fn write(&self, out: &mut KeyBytes, place: Place) {
        write_bytes(self, out, place);
    }
}

impl AsKey<Vec<u8>> for Vec<u8> {
    fn write(&self, out: &mut KeyBytes, place: Place) {
        write_bytes(self, out, place);
    }
}

impl Key for Vec<u8> {
    fn read(input: &mut &[u8], place: Place) -> Option<Self> {
        read_bytes(input, place)
    }
}

macro_rules! tuple_keys {
    ($($name:ident $borrowed:ident),* ; $last:ident $last_borrowed:ident) => {
        #[allow(non_snake_case)] // the type parameters name the parts too
        impl<$($name, $borrowed: AsKey<$name>,)* $last, $last_borrowed: AsKey<$last>>
            AsKey<($($name,)* $last,)> for ($($borrowed,)* $last_borrowed,)
        {
            fn write(&self, out: &mut KeyBytes, place: Place) {
                let ($($name,)* $last,) = self;
                $($name.write(out, Place::Inner);)*
                $last.write(out, place);
            }
        }

        #[allow(non_snake_case)]
        impl<$($name: Key,)* $last: Key> Key for ($($name,)* $last,) {
            fn read(input: &mut &[u8], place: Place) -> Option<Self> {
                $(let $name = $name::read(input, Place::Inner)?;)*
                let $last = $last::read(input, place)?;
                Some(($($name,)* $last,))
            }
        }
    };
}

tuple_keys!(A QA; B QB);
tuple_keys!(A QA, B QB; C QC);
tuple_keys!(A QA, B QB, C QC; D QD);

/// The first part or parts of a tuple key of type `K`: what
/// [`Map::under`](crate::collections::Map::under) goes by.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the beginning of a key of type `{K}`",
    note = "give the first parts of the tuple, one of them as `(part,)`"
)]
pub trait KeyBeginning<K> {
    /// Appends the bytes with which all such keys begin.
    fn write(&self, out: &mut KeyBytes);

    /// The bytes with which all such keys below `prefix` begin.
    #[doc(hidden)]
    fn within(&self, prefix: &[u8]) -> KeyBytes {
        let mut bytes = KeyBytes::new(prefix);
        self.write(&mut bytes);
        bytes
    }
}

macro_rules! key_beginnings {
    ($($name:ident $borrowed:ident),* ; $($rest:ident),*) => {
        #[allow(non_snake_case)]
        impl<$($name, $borrowed: AsKey<$name>,)* $($rest),*>
            KeyBeginning<($($name,)* $($rest),*)> for ($($borrowed,)*)
        {
            fn write(&self, out: &mut KeyBytes) {
                let ($($name,)*) = self;
                $($name.write(out, Place::Inner);)*
            }
        }
    };
}

key_beginnings!(A QA; B);
key_beginnings!(A QA; B, C);
key_beginnings!(A QA; B, C, D);
key_beginnings!(A QA, B QB; C);
key_beginnings!(A QA, B QB; C, D);
key_beginnings!(A QA, B QB, C QC; D);

fn write_bytes(bytes: &[u8], out: &mut KeyBytes, place: Place) {
    match place {
        Place::Last => out.push(bytes),
        Place::Inner => {
            for (index, run) in bytes.split(|byte| *byte == 0).enumerate() {
                if index > 0 {
                    out.push(&[0, 255]);
                }
                out.push(run);
            }
            out.push(&[0, 0]);
        }
    }
}

fn read_bytes(input: &mut &[u8], place: Place) -> Option<Vec<u8>> {
    if place == Place::Last {
        return Some(std::mem::take(input).to_vec());
    }
    let mut bytes = Vec::new();
    loop {
        let zero = input.iter().position(|byte| *byte == 0)?;
        bytes.extend_from_slice(&input[..zero]);
        let mark = *input.get(zero + 1)?;
        *input = &input[zero + 2..];
        match mark {
            0 => return Some(bytes),
            255 => bytes.push(0),
            _ => return None,
        }
    }
}

fn read_array<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*array)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes<K: Key>(key: &K) -> Vec<u8> {
        encode::<K, K>(&[], key).as_slice().to_vec()
    }

    /// Order and value survive the encoding, whatever the two keys are.
    fn check<K: Key + Ord + std::fmt::Debug>(a: K, b: K) {
        assert_eq!(
            bytes(&a).cmp(&bytes(&b)),
            a.cmp(&b),
            "order of {a:?} and {b:?}"
        );
        assert_eq!(decode::<K>(&bytes(&a)).as_ref(), Some(&a));
    }

    proptest! {
        #[test]
        fn integers(a: i64, b: i64, c: u32, d: u32) {
            check(a, b);
            check(c, d);
        }

        #[test]
        fn small_signed(a: i8, b: i8) {
            check(a, b);
        }

        #[test]
        fn wide(a: i128, b: i128) {
            check(a, b);
        }

        #[test]
        fn text(a: String, b: String) {
            check(a, b);
        }

        #[test]
        fn tuples_of_bytes(
            a in (prop::collection::vec(0u8..3, 0..5), prop::collection::vec(0u8..3, 0..5)),
            b in (prop::collection::vec(0u8..3, 0..5), prop::collection::vec(0u8..3, 0..5)),
        ) {
            check(a, b);
        }

        #[test]
        fn tuples_of_text_and_numbers(a: (String, i32, bool), b: (String, i32, bool)) {
            check(a, b);
        }

        #[test]
        fn nested_tuples(a: ((String, u8), String), b: ((String, u8), String)) {
            check(a, b);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode::<(String, (Vec<u8>, i16), bool)>(&bytes);
            let _ = decode::<String>(&bytes);
        }
    }

    #[test]
    fn the_format_is_what_the_table_says() {
        assert_eq!(bytes(&1u32), [0, 0, 0, 1]);
        assert_eq!(bytes(&-1i16), [0x7f, 0xff]);
        assert_eq!(bytes(&String::from("a\0b")), b"a\0b");
        assert_eq!(
            bytes(&(String::from("a\0b"), 7u8)),
            [b'a', 0, 255, b'b', 0, 0, 7]
        );
        assert_eq!(bytes(&[1u8, 2]), [1, 2]);
    }

    #[test]
    fn a_beginning_is_a_prefix_of_its_keys_only() {
        let mut beginning = KeyBytes::new(&[]);
        KeyBeginning::<(String, u32)>::write(&("room",), &mut beginning);
        assert!(bytes(&(String::from("room"), 1u32)).starts_with(beginning.as_slice()));
        assert!(!bytes(&(String::from("rooms"), 1u32)).starts_with(beginning.as_slice()));
    }

    #[test]
    fn long_keys_leave_the_stack() {
        let long = "x".repeat(INLINE_BYTES * 3);
        assert_eq!(
            encode::<String, str>(b"p\0", &long).as_slice(),
            format!("p\0{long}").as_bytes()
        );
    }
}
