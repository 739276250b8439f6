//! A component as large as one likes: functions of some hundred bytes, as compilers of ordinary
//! languages write them (arithmetic, memory, branches, loops, calls of others), and data of
//! little order. Its one method answers with `null`, and calls nothing. Written as bytes: its
//! text would be ten times as long.

use anyhow::{Context as _, Result};

/// Statements of one function, which make some 400 bytes.
const STATEMENTS: usize = 36;

/// Local variables of each function, its two parameters among them.
const LOCALS: u64 = 8;

/// Where the data begins: behind the pages that the guest needs itself.
const DATA_AT: usize = 2 << 16;

const I32: u8 = 0x7f;

/// A component with so many bytes of function bodies and of data, for which `seed` decides.
pub(crate) fn component(code_bytes: usize, data_bytes: usize, seed: u64) -> Result<Vec<u8>> {
    let module = corelet_build::embed_world(&module(code_bytes, data_bytes, seed))
        .context("give the large guest its world")?;
    corelet_build::component_of(&module).context("make a component of the large guest")
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn module(code_bytes: usize, data_bytes: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    // As many as come to so many bytes; calls go to those that are there.
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    let mut total = 0;
    while total < code_bytes {
        let known = bodies.len() as u64 + 1;
        let body = body(&mut dice, known);
        total += body.len();
        bodies.push(body);
    }
    let own = [
        // describe, init, call, cabi_realloc: constants, but for the last.
        constant(192),
        constant(320),
        constant(256),
        constant(65536),
    ];
    let types = [signature(0), signature(2), signature(4)];
    let functions = [0_u8, 1, 2, 2].into_iter().chain(bodies.iter().map(|_| 1));
    let functions: Vec<Vec<u8>> = functions.map(|kind| vec![kind]).collect();
    let exports = [
        ("describe", 0, 0),
        ("init", 0, 1),
        ("call", 0, 2),
        ("cabi_realloc", 0, 3),
        ("memory", 2, 0),
    ];
    let exports: Vec<Vec<u8>> = exports
        .iter()
        .map(|(name, kind, index)| [text(name), vec![*kind, *index]].concat())
        .collect();
    let pages = (DATA_AT + data_bytes).div_ceil(1 << 16) as u64;
    let random: Vec<u8> = (0..data_bytes)
        .map(|at| {
            if at % 3 == 0 {
                dice.roll(256) as u8
            } else {
                at as u8
            }
        })
        .collect();
    let mut data: Vec<Vec<u8>> = DATA.iter().map(|(at, bytes)| segment(*at, bytes)).collect();
    data.push(segment(DATA_AT, &random));
    let code: Vec<Vec<u8>> = own
        .into_iter()
        .chain(bodies)
        .map(|body| [number(body.len() as u64), body].concat())
        .collect();
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    let memory = [vec![0], number(pages)].concat();
    for (id, items) in [
        (1, &types[..]),
        (3, &functions),
        (5, &[memory]),
        (7, &exports),
        (10, &code),
        (11, &data),
    ] {
        let content = [number(items.len() as u64), items.concat()].concat();
        module.push(id);
        module.extend(number(content.len() as u64));
        module.extend(content);
    }
    module
}

/// The description, its one method and the answers, as the canonical ABI has them.
const DATA: [(usize, &[u8]); 7] = [
    (16, b"look"),
    (32, b"0.1.0"),
    (48, b"null"),
    (64, b"large"),
    (
        128,
        b"\x10\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x30\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0",
    ),
    (
        192,
        b"\x40\0\0\0\x05\0\0\0\x20\0\0\0\x05\0\0\0\x80\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0",
    ),
    (256, b"\0\0\0\0\x30\0\0\0\x04\0\0\0"),
];

/// A function of so many numbers that gives one.
fn signature(parameters: usize) -> Vec<u8> {
    let mut signature = vec![0x60, parameters as u8];
    signature.extend(vec![I32; parameters]);
    signature.extend([1, I32]);
    signature
}

fn constant(value: i64) -> Vec<u8> {
    let mut body = vec![0, 0x41];
    body.extend(signed(value));
    body.push(0x0b);
    body
}

fn segment(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut segment = vec![0, 0x41];
    segment.extend(signed(at as i64));
    segment.push(0x0b);
    segment.extend(number(bytes.len() as u64));
    segment.extend_from_slice(bytes);
    segment
}

/// A function of two numbers that may call one of the `known` ones behind the guest's own.
fn body(dice: &mut Dice, known: u64) -> Vec<u8> {
    let mut out = vec![1, (LOCALS - 2) as u8, I32];
    for _ in 0..STATEMENTS {
        let (to, from) = (dice.roll(LOCALS) as u8, dice.roll(LOCALS) as u8);
        let (value, offset) = (
            signed(dice.roll(100_000) as i64),
            number(dice.roll(1_000) * 4),
        );
        let mut say = |parts: &[&[u8]]| out.extend(parts.concat());
        // Addresses stay within the first page.
        let address = |local: u8| [&[0x20, local, 0x41][..], &signed(1023), &[0x71]].concat();
        match dice.roll(6) {
            // to = from * value + to
            0 => say(&[
                &[0x20, from, 0x41],
                &value,
                &[0x6c, 0x20, to, 0x6a, 0x21, to],
            ]),
            // to = memory[from]
            1 => say(&[&address(from), &[0x28, 2], &offset, &[0x21, to]]),
            // memory[to] = from
            2 => say(&[&address(to), &[0x20, from, 0x36, 2], &offset]),
            // if from < value { to = from ^ (to >> 3) } else { to = to - 1 }
            3 => say(&[
                &[0x20, from, 0x41],
                &value,
                &[
                    0x49, 0x04, 0x40, 0x20, from, 0x20, to, 0x41, 3, 0x76, 0x73, 0x21, to,
                ],
                &[0x05, 0x20, to, 0x41, 1, 0x6b, 0x21, to, 0x0b],
            ]),
            // while to != 0 { to = to >> 1 }
            4 => say(&[
                &[0x02, 0x40, 0x03, 0x40, 0x20, to, 0x45, 0x0d, 1],
                &[0x20, to, 0x41, 1, 0x76, 0x21, to, 0x0c, 0, 0x0b, 0x0b],
            ]),
            // to = another(from, value)
            _ => {
                let other = number(4 + dice.roll(known));
                say(&[&[0x20, from, 0x41], &value, &[0x10], &other, &[0x21, to]]);
            }
        }
    }
    out.extend([0x20, 0, 0x0b]);
    out
}

fn text(text: &str) -> Vec<u8> {
    [number(text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// LEB128.
fn number(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

/// The same with a sign.
fn signed(mut value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        let is_over = (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0);
        if is_over {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use corelet_wasm_host::{Host, HostConfig};

    use super::*;

    #[test]
    fn it_is_an_application_of_about_its_size() {
        let wasm = component(100_000, 200_000, 7).unwrap();
        assert!((300_000..330_000).contains(&wasm.len()), "{}", wasm.len());
        let host = Host::new(HostConfig::new(8)).unwrap();
        let module = host.load(&wasm).unwrap();
        assert_eq!(module.description().name(), "large");
        assert!(module.instantiate().is_ok());
    }
}
