//! A small fuzzer that runs in every test run: the same bytes each time, made from valid
//! ones by the damages that break decoders, and from nothing at all. (`fuzz/` has the one
//! that runs for hours.)

/// A small generator: the same seed gives the same bytes.
pub struct Dice(u64);

impl Dice {
    /// Starts at a seed.
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `sides`, which must not be 0.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % sides
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.roll(len.max(1) as u64)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.roll(256)).unwrap()
    }
}

/// Numbers that lengths, counts and offsets break at.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0xff, 0xffff, 0x8000_0000, 0xffff_ffff, 1 << 40, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// Calls `target` with `rounds` inputs made from the samples, and says how many it took for
/// valid. A panic names the input.
///
/// # Panics
/// Where the target does.
pub fn fuzz(
    samples: &[Vec<u8>],
    rounds: u64,
    target: impl Fn(&[u8]) -> bool + std::panic::RefUnwindSafe,
) -> u64 {
    let mut valid = 0;
    for seed in 0..rounds {
        let input = input(samples, seed);
        match std::panic::catch_unwind(|| target(&input)) {
            Ok(understood) => valid += u64::from(understood),
            Err(_) => panic!("input {seed} of {} bytes made the decoder panic: {input:02x?}", input.len()),
        }
    }
    valid
}

fn input(samples: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1);
    let sample = dice.index(samples.len());
    let mut bytes = match samples.get(sample) {
        Some(sample) if dice.roll(10) > 0 => sample.clone(),
        _ => (0..dice.index(300)).map(|_| dice.byte()).collect(),
    };
    for _ in 0..dice.roll(5) {
        damage(&mut bytes, samples, &mut dice);
    }
    bytes
}

/// One damage: to a bit, a byte, a number, the length, the order.
fn damage(bytes: &mut Vec<u8>, samples: &[Vec<u8>], dice: &mut Dice) {
    let (at, len) = (dice.index(bytes.len()), bytes.len());
    match dice.roll(9) {
        0 if len > 0 => bytes[at] ^= 1 << dice.roll(8),
        1 if len > 0 => bytes[at] = dice.byte(),
        2 | 3 if len > 0 => {
            let edge = EDGES[dice.index(EDGES.len())].wrapping_sub(dice.roll(3));
            let width = [2, 4, 8][dice.index(3)].min(len - at);
            let number = if dice.roll(2) == 0 { edge.to_be_bytes() } else { edge.to_le_bytes() };
            let from = if number[0] == 0 && number[7] != 0 { 8 - width } else { 0 };
            bytes[at..at + width].copy_from_slice(&number[from..from + width]);
        }
        4 => bytes.truncate(at),
        5 => bytes.extend((0..dice.index(64)).map(|b| u8::try_from(b).unwrap())),
        6 => bytes.splice(at..at, (0..1 + dice.index(16)).map(|_| 0)).for_each(drop),
        7 if len > 0 => {
            let part = bytes[at..(at + 1 + dice.index(64)).min(len)].to_vec();
            let to = dice.index(len);
            bytes.splice(to..to, part).for_each(drop);
        }
        _ => {
            // Two halves that do not belong together.
            let other = samples.get(dice.index(samples.len())).map_or(&[][..], Vec::as_slice);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[at.min(other.len())..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        [&8_u32.to_le_bytes()[..], &[7; 8], b"rest"].concat()
    }

    fn text(bytes: &[u8]) -> Option<&[u8]> {
        let len = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
        bytes.get(4..len.checked_add(4)?)
    }

    #[test]
    fn a_sound_decoder_passes_and_sees_valid_and_invalid_bytes() {
        let valid = fuzz(&[sample()], 2000, |bytes| text(bytes).is_some());
        assert!((200..1900).contains(&valid), "{valid}");
    }

    /// The fuzzer is tested: the two mistakes that decoders make.
    #[test]
    fn decoders_that_trust_a_length_or_a_sum_are_caught() {
        let trusting = |bytes: &[u8]| {
            let Some(len) = bytes.first_chunk() else { return false };
            !bytes[4..4 + u32::from_le_bytes(*len) as usize].is_empty()
        };
        assert!(std::panic::catch_unwind(|| fuzz(&[sample()], 2000, trusting)).is_err());
        let summing = |bytes: &[u8]| {
            let Some(len) = bytes.first_chunk() else { return false };
            let Some(end) = Some(u32::from_le_bytes(*len)) else { return false };
            assert!(end.checked_add(4).is_some(), "attempt to add with overflow");
            true
        };
        assert!(std::panic::catch_unwind(|| fuzz(&[sample()], 2000, summing)).is_err());
    }
}
