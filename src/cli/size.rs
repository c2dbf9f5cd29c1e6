//! Sizes as people write them.

/// Reads a number of bytes with an optional unit of 1024, 1024², 1024³ or 1024⁴ bytes: `65536`, `64K`, `64KiB`, `2GiB`.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let power = match &text[digits.len()..] {
        "" | "B" => 0,
        "K" | "k" | "KiB" => 1,
        "M" | "m" | "MiB" => 2,
        "G" | "g" | "GiB" => 3,
        "T" | "t" | "TiB" => 4,
        _ => return Err("write it as 65536, 64K or 64KiB".to_owned()),
    };
    let number = digits.parse::<u64>().map_err(|_| "write it as 65536, 64K or 64KiB".to_owned())?;
    number.checked_mul(1 << (10 * power)).ok_or_else(|| "that is more than there is".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_have_a_unit_or_none() {
        let right = ["65536", "64K", "64k", "64KiB", "65536B"].map(|text| parse(text).ok());
        assert_eq!(right, [Some(65_536); 5]);
        assert_eq!(
            [parse("3M").ok(), parse("2GiB").ok(), parse("1T").ok()],
            [Some(3 << 20), Some(2 << 30), Some(1 << 40)]
        );
        for wrong in ["", "K", "64KB", "-1", "1.5G", "64 K", "18446744073709551615K", "x"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
