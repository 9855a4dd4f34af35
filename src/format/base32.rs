//! Nix's base 32: the alphabet without `e`, `o`, `t`, `u`, least significant digit last.
//!
//! Source of the rule: `src/libutil/base-nix-32.cc` of Nix. A text is canonical only if the bits
//! beyond the last byte are zero; others are refused, so two texts never name one hash.

/// The 32 digits in order of value.
pub const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// Value of each byte, 0xff for bytes outside the alphabet.
const VALUES: [u8; 256] = {
    let mut table = [0xff_u8; 256];
    let mut i = 0;
    while i < 32 {
        table[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    table
};

/// Why a text is not Nix base 32.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Base32Error {
    /// The text has another length than `bytes` bytes need.
    #[error("base-32 text has {found} characters, {bytes} bytes need {expected}")]
    Length {
        /// Characters found.
        found: usize,
        /// Characters that are needed.
        expected: usize,
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// A byte that is not a digit, at this offset.
    #[error("byte 0x{byte:02x} at offset {offset} is not a base-32 digit")]
    Digit {
        /// The byte.
        byte: u8,
        /// Where it stands.
        offset: usize,
    },
    /// The bits beyond the last byte are not zero.
    #[error("base-32 text has bits beyond its last byte")]
    Padding,
}

/// Whether `byte` is a digit of the alphabet.
#[must_use]
pub fn is_digit(byte: u8) -> bool {
    VALUES[byte as usize] != 0xff
}

/// Characters that `bytes` bytes need.
#[must_use]
pub const fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Encodes `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let len = encoded_len(bytes.len());
    let mut text = String::with_capacity(len);
    for n in (0..len).rev() {
        let (i, j) = (n * 5 / 8, n * 5 % 8);
        let low = u16::from(bytes[i]) >> j;
        let high = bytes.get(i + 1).map_or(0, |&b| u16::from(b) << (8 - j));
        text.push(char::from(ALPHABET[((low | high) & 0x1f) as usize]));
    }
    text
}

/// Decodes `text` into `N` bytes.
///
/// # Errors
/// [`Base32Error`] if the length, a digit or the padding is wrong.
pub fn decode<const N: usize>(text: &[u8]) -> Result<[u8; N], Base32Error> {
    let mut bytes = [0_u8; N];
    decode_into(text, &mut bytes)?;
    Ok(bytes)
}

/// Decodes `text` into `bytes`, whose length says how many are expected.
///
/// # Errors
/// As [`decode`].
pub fn decode_into(text: &[u8], bytes: &mut [u8]) -> Result<(), Base32Error> {
    let expected = encoded_len(bytes.len());
    if text.len() != expected {
        return Err(Base32Error::Length { found: text.len(), expected, bytes: bytes.len() });
    }
    bytes.fill(0);
    for (n, offset) in (0..expected).rev().enumerate() {
        let byte = text[offset];
        let value = VALUES[byte as usize];
        if value == 0xff {
            return Err(Base32Error::Digit { byte, offset });
        }
        let (i, j) = (n * 5 / 8, n * 5 % 8);
        let wide = u16::from(value) << j;
        bytes[i] |= (wide & 0xff) as u8;
        let carry = (wide >> 8) as u8;
        match bytes.get_mut(i + 1) {
            Some(next) => *next |= carry,
            None if carry != 0 => return Err(Base32Error::Padding),
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_text_of_nix() {
        let sha256_empty: [u8; 32] =
            decode(b"0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73").unwrap();
        assert_eq!(
            sha256_empty[..4],
            [0xe3, 0xb0, 0xc4, 0x42],
            "sha256 of nothing as `nix hash to-base16` prints it"
        );
        assert_eq!(encode(&sha256_empty), "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73");
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        assert!(matches!(decode::<32>(b"abc"), Err(Base32Error::Length { .. })));
        assert!(matches!(
            decode::<20>(b"e0000000000000000000000000000000"),
            Err(Base32Error::Digit { offset: 0, .. })
        ));
        assert_eq!(
            decode::<32>(b"zmdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"),
            Err(Base32Error::Padding)
        );
    }

    proptest::proptest! {
        #[test]
        fn round_trip(bytes: [u8; 32]) {
            proptest::prop_assert_eq!(decode::<32>(encode(&bytes).as_bytes()).unwrap(), bytes);
        }
    }
}
