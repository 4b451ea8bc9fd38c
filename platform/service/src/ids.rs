//! Ids that follow from nothing: `UUIDv7` from a clock and a generator that a seed replays.

use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng, SeedableRng, TryRng, rngs::SysRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::Clock;

/// Makes ids. Cheap to clone; clones share one generator.
#[derive(Clone)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    random: Arc<Mutex<ChaCha8Rng>>,
}

impl Ids {
    /// Ids that nobody can foresee.
    ///
    /// # Errors
    /// Where the operating system gives no randomness.
    pub fn from_entropy(clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let mut seed = <ChaCha8Rng as SeedableRng>::Seed::default();
        SysRng
            .try_fill_bytes(&mut seed)
            .map_err(std::io::Error::other)?;
        Ok(Self::with(clock, ChaCha8Rng::from_seed(seed)))
    }

    /// Ids that the same seed and the same clock give again, in the same order of calls.
    #[must_use]
    pub fn seeded(clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self::with(clock, ChaCha8Rng::seed_from_u64(seed))
    }

    fn with(clock: Arc<dyn Clock>, random: ChaCha8Rng) -> Self {
        Self {
            clock,
            random: Arc::new(Mutex::new(random)),
        }
    }

    /// A new `UUIDv7`: ordered by the clock's millisecond, random within it.
    #[must_use]
    pub fn next(&self) -> Uuid {
        let millis = u64::try_from(self.clock.now().timestamp_millis()).unwrap_or_default();
        let mut random = [0; 10];
        self.fill(&mut random);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// Random bytes, from the same generator.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(bytes);
    }
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ids").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    struct At(i64);

    impl Clock for At {
        fn now(&self) -> DateTime<Utc> {
            DateTime::from_timestamp_millis(self.0).unwrap()
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let three = |seed| {
            let ids = Ids::seeded(Arc::new(At(5)), seed);
            [ids.next(), ids.next(), ids.next()]
        };
        assert_eq!(three(7), three(7));
        assert_ne!(three(7), three(8));
        let [first, second, _] = three(7);
        assert_ne!(first, second);
        assert_eq!(first.get_version_num(), 7);
    }

    #[test]
    fn ids_sort_by_the_clock() {
        let early = Ids::seeded(Arc::new(At(5)), 1).next();
        let late = Ids::seeded(Arc::new(At(6)), 1).next();
        assert!(early < late);
    }

    #[test]
    fn entropy_does_not_repeat() {
        let next = || Ids::from_entropy(Arc::new(At(5))).unwrap().next();
        assert_ne!(next(), next());
    }
}
