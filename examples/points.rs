//! Lists every recovery point: `points VAULT PASSWORD_FILE`.

mod support;

fn main() -> support::Outcome {
    let (vault, _) = support::open(&[])?;
    for machine in vault.machines() {
        for point in vault.points(&machine)? {
            let manifest = vault.manifest(&point)?;
            let size: u64 = manifest.disks.iter().map(|disk| disk.size_bytes).sum();
            println!(
                "{machine} {} {} {:?}: {} disks, {size} bytes",
                point.name,
                &point.id[..8],
                point.consistency,
                manifest.disks.len()
            );
        }
    }
    // Entries of the catalog that are damaged hide only themselves; a careful program tells.
    for damage in vault.catalog_damage() {
        eprintln!("{damage}");
    }
    Ok(())
}
