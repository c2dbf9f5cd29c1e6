//! Prints what a vault holds, in numbers: `stats VAULT PASSWORD_FILE`.

mod support;

fn main() -> support::Outcome {
    let (vault, _) = support::open(&[])?;
    println!("{}", serde_json::to_string_pretty(&vault.stats()?)?);
    Ok(())
}
