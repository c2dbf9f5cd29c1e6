//! Prints the ranges of a disk that differ between two points: `diff VAULT PASSWORD_FILE MACHINE POINT POINT DISK`.

mod support;

fn main() -> support::Outcome {
    let (vault, arguments) = support::open(&["MACHINE", "POINT", "POINT", "DISK"])?;
    let [machine, a, b, disk] = &arguments[..] else { return Err("four arguments".into()) };
    let (a, b) = (vault.point(machine, a)?, vault.point(machine, b)?);
    let ranges = vault.diff((&a, disk), (&b, disk))?;
    for range in &ranges {
        println!("{}..{}", range.start, range.end);
    }
    println!("{} bytes differ", ranges.iter().map(|range| range.bytes()).sum::<u64>());
    Ok(())
}
