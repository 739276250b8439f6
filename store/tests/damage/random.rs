//! Chances that a seed repeats.

/// xorshift64*: any spread will do.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(seed: u64) -> Random {
        let mut random = Random(seed | 1);
        random.next(); // neighbouring seeds begin alike
        random.next();
        random
    }

    /// The seed that the environment gives, or a new one. Printed either way.
    pub(crate) fn seed() -> u64 {
        let seed = match std::env::var("CORELET_SEED") {
            Ok(text) => {
                let digits = text.trim_start_matches("0x");
                u64::from_str_radix(digits, 16).expect("CORELET_SEED must be hexadecimal")
            }
            Err(_) => getrandom::u64().expect("Linux gives random bytes"),
        };
        println!("seed {seed:#x} (CORELET_SEED repeats it)");
        seed
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}
