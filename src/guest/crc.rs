//! The checksums that guests' structures carry.

/// CRC-32C as Linux's `crc32c()` counts it: the running value goes in and comes out without inversion.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

const CRC32: [u32; 256] = table32();

const fn table32() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index: u32 = 0;
    while index < 256 {
        let mut value = index;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index as usize] = value;
        index += 1;
    }
    table
}

/// CRC-32 of GPT headers and entry arrays (UEFI specification 5.3.2).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !crc32_raw(u32::MAX, bytes)
}

/// The same without inversion at either end, as LVM2 counts it from a seed of its own.
pub(crate) fn crc32_raw(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ CRC32.get(usize::from(low ^ byte)).copied().unwrap_or_default()
    })
}

/// The bit-reversed CRC-32 of version 1 journal commit checksums, as Linux's `crc32_be()` counts it.
pub(crate) fn crc32_be(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ (u32::from(*byte) << 24), |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04C1_1DB7 }
        })
    })
}

/// CRC-16 (polynomial 0xA001, reflected) of group descriptors where only `gdt_csum` is on.
pub(crate) fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Promise 2. The check values of the catalogue of CRC algorithms for "123456789".
    #[test]
    fn checksums_agree_with_their_catalogue_values() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(!crc32c(u32::MAX, b"123456789"), 0xE306_9283);
        assert_eq!(crc32_be(u32::MAX, b"123456789"), 0x0376_E6E7);
        assert_eq!(crc16(0xFFFF, b"123456789"), 0x4B37);
    }
}
