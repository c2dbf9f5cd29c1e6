//! Mounts everything in a vault until it is unmounted: `mount VAULT PASSWORD_FILE MOUNT_POINT`.

use std::path::PathBuf;
use std::sync::Arc;

use icecore::Vault;
use icecore::seal::Credential;
use icecore::vault::OpenOptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(vault), Some(password), Some(mount_point)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: mount VAULT PASSWORD_FILE MOUNT_POINT".into());
    };
    let credential = Credential::password(std::fs::read_to_string(password)?.trim_end_matches('\n'));
    let vault = Vault::open(&vault, &credential, &OpenOptions::default())?;
    let tree = Arc::new(vault.tree());
    let mount = icecore_fuse::mount(tree, &mount_point, &icecore_fuse::MountOptions::default(), |failure| {
        eprintln!("{failure}");
    })?;
    mount.join();
    Ok(())
}
