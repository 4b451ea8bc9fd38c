//! Which partition a key belongs to: one hash, for everybody who has to know.

use std::num::NonZeroU32;

/// The hash of a key: FNV-1a of 64 bits, its halves folded together at the end. Kept raw wherever
/// it matters who owns a key: the partition follows from it for any number of partitions.
#[must_use]
pub fn hash(key: &[u8]) -> u64 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Its low bits alone know little of the first bytes of a short key.
    hash ^ (hash >> 32)
}

/// The partition of a hash among this many.
#[must_use]
pub fn partition(hash: u64, partitions: NonZeroU32) -> u32 {
    let partition = hash % u64::from(partitions.get());
    u32::try_from(partition).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_partition_for_ever() {
        // Whoever changes the hash moves aggregates between partitions: a new generation.
        assert_eq!(hash(b""), 0xcbf2_9ce4_4fd0_bfc1);
        assert_eq!(hash(b"stock-tea-1"), 0x0cf8_8bfc_d0da_807c);
        let four = NonZeroU32::new(4).unwrap();
        assert_eq!(partition(hash(b"stock-tea-1"), four), 0);
    }

    #[test]
    fn keys_spread_over_the_partitions() {
        let partitions = NonZeroU32::new(6).unwrap();
        let mut counts = [0_u32; 6];
        for number in 0..6_000 {
            let key = format!("stock-sku-{number}");
            counts[partition(hash(key.as_bytes()), partitions) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1_100).contains(count)),
            "{counts:?}"
        );
    }
}
