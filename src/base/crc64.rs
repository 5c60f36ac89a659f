//! CRC-64 with Jones's polynomial, as found in the footers of RDB files and DUMP payloads.
//!
//! Parameters: polynomial 0xad93d23594c935a9, input and output reflected, initial value 0, no
//! final xor. So a checksum can be carried from one piece of data to the next as it is. This
//! file knows nothing of the formats that use it.

/// The polynomial with its bits mirrored, because the reflected form shifts to the right.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// `TABLES[k][b]` is what byte `b` adds to the checksum when `k` more bytes follow it, which lets
/// eight bytes be folded in by eight independent look-ups.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 1 == 1;
            crc >>= 1;
            if carry {
                crc ^= POLYNOMIAL;
            }
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut level = 1;
    while level < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[level - 1][byte];
            tables[level][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        level += 1;
    }
    tables
}

/// Returns the checksum of everything that gave `crc` followed by `data`. Start with 0.
pub fn update(mut crc: u64, data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        let folded = (crc ^ u64::from_le_bytes(*word)).to_le_bytes();
        crc = 0;
        for (table, byte) in TABLES.iter().rev().zip(folded) {
            crc ^= table[usize::from(byte)];
        }
    }
    for &byte in rest {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ TABLES[0][usize::from(low ^ byte)];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, one bit at a time.
    fn slow(mut crc: u64, data: &[u8]) -> u64 {
        for &byte in data {
            crc ^= u64::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            }
        }
        crc
    }

    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(update(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(update(0, b""), 0);
    }

    #[test]
    fn equals_the_definition_at_every_length() {
        let data: Vec<u8> = (0..100u32).map(|i| (i.wrapping_mul(167) >> 1) as u8).collect();
        for end in 0..=data.len() {
            assert_eq!(update(7, &data[..end]), slow(7, &data[..end]), "length {end}");
        }
    }

    #[test]
    fn pieces_give_the_same_as_the_whole() {
        let data: Vec<u8> = (0..=255).collect();
        let whole = update(0, &data);
        for cut in 0..=data.len() {
            assert_eq!(update(update(0, &data[..cut]), &data[cut..]), whole);
        }
    }
}
