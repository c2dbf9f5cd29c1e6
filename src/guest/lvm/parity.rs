//! Which device of a RAID with parity holds a row's data (`drivers/md/raid5.c`, `raid5_compute_sector`). Parity itself is
//! never read: where a part is missing the volume is refused.

use super::segment::Parity;

/// How many devices of each row hold parity.
pub(super) fn count(parity: Parity) -> u64 {
    match parity {
        Parity::Last { parities } => parities,
        Parity::First => 1,
        Parity::LeftAsymmetric { on_last }
        | Parity::RightAsymmetric { on_last }
        | Parity::LeftSymmetric { on_last }
        | Parity::RightSymmetric { on_last } => 1_u64.saturating_add(on_last.into()),
        Parity::ZeroRestart | Parity::NRestart | Parity::NContinue => 2,
    }
}

/// The device that holds the piece `number` of a row's data, of so many devices.
pub(super) fn device(parity: Parity, devices: u64, row: u64, number: u64) -> Option<u64> {
    // What turns from row to row; a second parity that stays on the last device is no part of it.
    let turning = match parity {
        Parity::LeftAsymmetric { on_last: true }
        | Parity::RightAsymmetric { on_last: true }
        | Parity::LeftSymmetric { on_last: true }
        | Parity::RightSymmetric { on_last: true } => devices.checked_sub(1)?,
        _ => devices,
    };
    let last = turning.checked_sub(1)?;
    let forth = row.checked_rem(turning)?;
    let back = last.checked_sub(forth)?;
    // Data in order, past one parity or two that lie side by side.
    let beside = |at: u64, width: u64| {
        if number >= at { number.checked_add(width) } else { Some(number) }
    };
    let behind = |at: u64| at.checked_add(1)?.checked_add(number)?.checked_rem(turning);
    match parity {
        Parity::First => number.checked_add(1),
        Parity::Last { .. } => Some(number),
        Parity::LeftAsymmetric { .. } => beside(back, 1),
        Parity::RightAsymmetric { .. } => beside(forth, 1),
        Parity::LeftSymmetric { .. } => behind(back),
        Parity::RightSymmetric { .. } => behind(forth),
        // On the last device the second parity comes first in the row.
        Parity::ZeroRestart => two(number, forth, last),
        Parity::NRestart => {
            let next = row.checked_add(1)?.checked_rem(turning)?;
            two(number, last.checked_sub(next)?, last)
        }
        Parity::NContinue => behind(back),
    }
}

/// Data in order past two parities, the first of which is at `at`.
fn two(number: u64, at: u64, last: u64) -> Option<u64> {
    if at == last {
        number.checked_add(1)
    } else if number >= at {
        number.checked_add(2)
    } else {
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Promise 2. Where each row has its data, as device-mapper was seen to have it; a dot stands for parity.
    #[test]
    fn rows_lie_as_the_kernel_lays_them() {
        let (one, two) = (false, true);
        let cases: [(Parity, &str); 13] = [
            (Parity::First, ".012 .012 .012 .012"),
            (Parity::Last { parities: 1 }, "012. 012. 012. 012."),
            (Parity::Last { parities: 2 }, "012.. 012.. 012.. 012.."),
            (Parity::LeftAsymmetric { on_last: one }, "012. 01.2 0.12 .012 012."),
            (Parity::RightAsymmetric { on_last: one }, ".012 0.12 01.2 012. .012"),
            (Parity::LeftSymmetric { on_last: one }, "012. 12.0 2.01 .012 012."),
            (Parity::RightSymmetric { on_last: one }, ".012 2.01 12.0 012. .012"),
            (Parity::LeftAsymmetric { on_last: two }, "012.. 01.2. 0.12. .012. 012.."),
            (Parity::LeftSymmetric { on_last: two }, "012.. 12.0. 2.01. .012. 012.."),
            (Parity::RightSymmetric { on_last: two }, ".012. 2.01. 12.0. 012.. .012."),
            (Parity::ZeroRestart, "..012 0..12 01..2 012.. .012. ..012"),
            (Parity::NRestart, "012.. 01..2 0..12 ..012 .012. 012.."),
            (Parity::NContinue, "012.. 12..0 2..01 ..012 .012. 012.."),
        ];
        for (parity, expected) in cases {
            for (row, expected) in (0..).zip(expected.split(' ')) {
                let devices = u64::try_from(expected.len()).expect("few");
                assert_eq!(count(parity), devices - 3);
                let mut found = vec!['.'; expected.len()];
                for number in 0..3_u8 {
                    let device = device(parity, devices, row, number.into()).expect("a device");
                    found[usize::try_from(device).expect("few")] = char::from(b'0' + number);
                }
                assert_eq!(found.iter().collect::<String>(), expected, "{parity:?}, row {row}");
            }
        }
    }
}
