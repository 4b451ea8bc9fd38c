//! Where events stand in a log that is not dense.

use recourse_event_store::Position;

/// How many bytes of its log the store is pretended to use for each event and what follows it.
const SLOT: u64 = 64;

/// Where the `n`th event stands, and the other way round. Both grow with `n`.
pub(super) struct Places {
    pub(super) seed: u64,
}

impl Places {
    /// The position of an event of ours.
    pub(super) fn event(&self, number: u64) -> Position {
        if number == 0 {
            return Position::START;
        }
        let group = number - number % self.commit();
        Position {
            commit: group.saturating_add(self.commit()).saturating_mul(SLOT),
            prepare: number
                .saturating_mul(SLOT)
                .saturating_add(self.noise(number) % 16),
        }
    }

    /// The position of the `$` event after an event of ours, where there is one.
    pub(super) fn system(&self, number: u64) -> Option<Position> {
        if number == 0 || self.noise(number).is_multiple_of(3) {
            return None;
        }
        let event = self.event(number);
        Some(Position {
            prepare: event.prepare.saturating_add(16 + self.noise(number) % 32),
            ..event
        })
    }

    /// How a checkpoint is given that has considered an event and what follows it: where a commit
    /// ends there, as the place where the next would begin.
    pub(super) fn checkpoint(&self, number: u64) -> Position {
        let next = number.saturating_add(1);
        if next.is_multiple_of(self.commit()) {
            Position {
                prepare: 0,
                ..self.event(next)
            }
        } else {
            self.system(number).unwrap_or_else(|| self.event(number))
        }
    }

    /// How many events share a commit at most.
    fn commit(&self) -> u64 {
        1 + self.seed % 3
    }

    /// The number of the event at a position, or of the last one before it.
    pub(super) fn at_or_before(&self, outer: Position) -> u64 {
        let (mut low, mut high) = (0, outer.commit / SLOT);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.event(middle) <= outer {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    /// The same for the same number, whatever was drawn before.
    fn noise(&self, number: u64) -> u64 {
        let mixed = (self.seed ^ number.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_the_order_and_lead_back() {
        for seed in 6..9 {
            let places = Places { seed };
            let mut last = Position::START;
            for number in 1..2_000 {
                let event = places.event(number);
                assert!(event > last && event.commit >= event.prepare);
                last = places.system(number).unwrap_or(event);
                assert!(last >= event);
                assert_eq!(places.at_or_before(event), number);
                assert_eq!(places.at_or_before(last), number);
                let checkpoint = places.checkpoint(number);
                assert!(checkpoint >= last && checkpoint < places.event(number + 1));
                assert_eq!(places.at_or_before(checkpoint), number);
            }
        }
    }
}
