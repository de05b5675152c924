//! Chance from a seed: xoshiro256** with its state filled by splitmix64.
//!
//! Invariant: the numbers depend on the seed and on the calls made, on nothing else. Code that must not
//! disturb another's choices takes a generator of its own by [`Rng::fork`].

/// A seeded generator. Good enough to choose schedules and faults; no secret depends on it.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of `seed`; every seed, 0 too, is a good one.
    #[must_use]
    pub fn new(seed: u64) -> Rng {
        let mut filler = seed;
        Rng { state: std::array::from_fn(|_| splitmix(&mut filler)) }
    }

    /// A new generator, independent of what this one gives from now on.
    #[must_use]
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.next())
    }

    /// 64 random bits.
    #[allow(clippy::should_implement_trait)] // an endless source is no iterator to its callers
    pub fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..n`; the bias of the multiplication is below 2^-32 for every `n` that fits in 32 bits.
    ///
    /// # Panics
    /// When `n` is 0: there is nothing to choose.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "nothing to choose from");
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// `true` with probability `p`, `0.0..=1.0`.
    pub fn chance(&mut self, p: f64) -> bool {
        // 53 bits are what an f64 holds exactly.
        ((self.next() >> 11) as f64) < p * (1u64 << 53) as f64
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// Fills `bytes` with random ones.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Steele, Lea and Flood's SplitMix64: turns any seed, however poor, into well-mixed words.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_always() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        assert!((0..100).all(|_| a.next() == b.next()));
        assert_ne!(Rng::new(7).next(), Rng::new(8).next());
        assert_ne!(a.fork().next(), a.next(), "a fork goes its own way");
    }

    #[test]
    fn numbers_follow_the_published_algorithms() {
        // First outputs of splitmix64 for seed 0, and of xoshiro256** for the state 1, 2, 3, 4.
        let mut seed = 0;
        assert_eq!(splitmix(&mut seed), 0xe220_a839_7b1d_cdaf);
        let mut rng = Rng { state: [1, 2, 3, 4] };
        assert_eq!([rng.next(), rng.next(), rng.next()], [11520, 0, 1_509_978_240]);
    }

    #[test]
    fn helpers_stay_in_their_bounds_and_reach_all_of_them() {
        let mut rng = Rng::new(1);
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            seen[rng.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (120..280).contains(&n)), "{seen:?}");
        assert!((0..1000).all(|_| rng.chance(1.0) && !rng.chance(0.0)));
        let heads = (0..1000).filter(|_| rng.chance(0.25)).count();
        assert!((180..320).contains(&heads), "{heads}");
        assert_eq!(*rng.pick(&[9]), 9);
        let mut bytes = [0; 13];
        rng.fill(&mut bytes);
        assert!(bytes[8..].iter().any(|&b| b != 0));
    }
}
