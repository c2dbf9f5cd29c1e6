//! `ls`, `cat`, `find` and `cp` show and copy the same tree as the mount, guests' files included.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::cli_support;
use crate::cli_support::{Sandbox, ext4, is_root, noise, not_run};

/// A guest's directory: text, a link, an empty directory, a set-user-id program, a sparse file, an odd name.
fn guest(sandbox: &Sandbox, test: &str) -> Option<()> {
    let root = sandbox.path("guest");
    fs::create_dir_all(root.join("etc/nginx/sites")).expect("directories");
    fs::create_dir(root.join("empty")).expect("a directory");
    fs::write(root.join("etc/hostname"), "web01\n").expect("a file");
    fs::write(root.join("etc/nginx/nginx.conf"), noise(1, 200_000)).expect("a file");
    fs::write(root.join("etc/nginx/sites/a.conf"), "a").expect("a file");
    symlink("nginx/nginx.conf", root.join("etc/current")).expect("a link");
    symlink("/etc/hostname", root.join("etc/absolute")).expect("a link");
    symlink("/nowhere", root.join("etc/dangling")).expect("a link");
    fs::write(root.join("etc/with\nnewline\x1b[31m"), "odd").expect("a file");
    fs::write(root.join("su"), "program").expect("a file");
    fs::set_permissions(root.join("su"), fs::Permissions::from_mode(0o4755)).expect("mode");
    let sparse = fs::File::create(root.join("sparse")).expect("a file");
    sparse.set_len(4 << 20).expect("length");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (4 << 20) - 3).expect("data");
    if ext4(&sandbox.path("os.raw"), &root, 32 << 20).is_none() {
        not_run(test, "mke2fs is missing");
        return None;
    }
    sandbox.ok(&["backup", "web01", "--disk", "os=os.raw"]);
    Some(())
}

const FILES: &str = "web01/latest/files/os/whole";

#[test]
fn listing_and_printing() {
    let sandbox = Sandbox::new();
    let Some(()) = guest(&sandbox, "listing_and_printing") else { return };
    assert_eq!(sandbox.ok(&["ls"]).text(), "web01\n");
    assert_eq!(sandbox.ok(&["ls", "web01/latest"]).text(), "disks\nfiles\npoint.json\n");
    assert!(sandbox.ok(&["ls", "-l", &format!("{FILES}/etc")]).text().contains("current -> nginx/nginx.conf"));
    assert!(sandbox.ok(&["ls", "-l", &format!("{FILES}/su")]).text().starts_with("-rwsr-xr-x"));
    let nodes = sandbox.ok(&["ls", "--json", &format!("/{FILES}//etc/")]).json_lines();
    let hostname = nodes.iter().find(|node| node["name"] == "hostname").expect("hostname");
    assert_eq!((&hostname["type"], &hostname["size_bytes"]), (&"file".into(), &6.into()));
    assert_eq!(hostname["path"], format!("{FILES}/etc/hostname"));
    for name in ["hostname", "absolute", "../etc/hostname"] {
        assert_eq!(sandbox.ok(&["cat", &format!("{FILES}/etc/{name}")]).text(), "web01\n");
    }
    let point = sandbox.ok(&["cat", "web01/latest/point.json"]).json();
    assert_eq!(point["machine"], "web01");
    let disk = sandbox.ok(&["cat", "web01/latest/disks/os.raw", "--read-mode", "pread"]);
    assert!(disk.stdout == fs::read(sandbox.path("os.raw")).expect("image"));
    let two = sandbox.ok(&["cat", &format!("{FILES}/etc/hostname"), &format!("{FILES}/etc/nginx/sites/a.conf")]);
    assert_eq!(two.text(), "web01\na");
}

#[test]
fn finding_by_name_and_kind() {
    let sandbox = Sandbox::new();
    let Some(()) = guest(&sandbox, "finding_by_name_and_kind") else { return };
    let found = sandbox.ok(&["find", "web01/latest", "*.conf"]);
    assert_eq!(found.text(), format!("{FILES}/etc/nginx/nginx.conf\n{FILES}/etc/nginx/sites/a.conf\n"));
    // What it prints can be pasted.
    let path = found.text().lines().last().expect("a line");
    assert_eq!(sandbox.ok(&["cat", path]).text(), "a");
    let links = sandbox.ok(&["find", FILES, "--type", "l"]);
    assert_eq!(links.text().lines().count(), 3);
    let directories = sandbox.ok(&["find", &format!("{FILES}/etc"), "--type", "d", "--json"]).json_lines();
    assert_eq!(directories.len(), 3);
    assert!(directories.iter().all(|node| node["type"] == "dir"));
}

#[test]
fn copying_a_directory_keeps_what_a_file_is() {
    let sandbox = Sandbox::new();
    let Some(()) = guest(&sandbox, "copying_a_directory_keeps_what_a_file_is") else { return };
    let copied = sandbox.ok(&["cp", "-r", FILES, "back", "--json"]).json();
    assert_eq!((&copied["files"], &copied["links"], &copied["failed"]), (&6.into(), &3.into(), &0.into()));
    let (from, to) = (sandbox.path("guest"), sandbox.path("back"));
    for name in
        ["etc", "empty", "etc/hostname", "etc/nginx/nginx.conf", "sparse", "etc/current", "etc/with\nnewline\x1b[31m"]
    {
        let (a, b) = (from.join(name).symlink_metadata().expect("a"), to.join(name).symlink_metadata().expect("b"));
        assert_eq!((a.mode(), a.mtime()), (b.mode(), b.mtime()), "{name}");
        assert!(!is_root() || (a.uid(), a.gid()) == (b.uid(), b.gid()), "{name}");
        assert!(!a.is_file() || fs::read(from.join(name)).expect("a") == fs::read(to.join(name)).expect("b"), "{name}");
    }
    assert_eq!(
        fs::read_link(to.join("etc/dangling")).expect("a link"),
        fs::read_link(from.join("etc/dangling")).expect("a link")
    );
    assert!(to.join("sparse").metadata().expect("sparse").blocks() < 1000, "holes stay holes");
    // Rights are kept only where that is asked for.
    assert_eq!(to.join("su").metadata().expect("su").mode() & 0o7777, 0o755);
    sandbox.ok(&["cp", "--keep-modes", &format!("{FILES}/su"), "su"]);
    assert_eq!(sandbox.path("su").metadata().expect("su").mode() & 0o7777, 0o4755);
}

#[test]
fn copying_fills_up_and_never_overwrites_unasked() {
    let sandbox = Sandbox::new();
    let Some(()) = guest(&sandbox, "copying_fills_up_and_never_overwrites_unasked") else { return };
    let source = format!("{FILES}/etc");
    sandbox.ok(&["cp", "-r", &source, "."]);
    fs::write(sandbox.path("etc/hostname"), "mine").expect("write");
    fs::remove_file(sandbox.path("etc/nginx/nginx.conf")).expect("remove");
    let again = sandbox.run(&["cp", "-r", &source, "."]);
    assert_eq!(again.code, 3, "{}", again.stderr);
    assert_eq!(again.stderr.lines().count(), 6, "one line for each that exists: {}", again.stderr);
    assert!(
        again.stderr.lines().all(|line| line.starts_with("icecore: ") && line.contains("exists")),
        "{}",
        again.stderr
    );
    assert_eq!(fs::read(sandbox.path("etc/hostname")).expect("read"), b"mine");
    assert_eq!(fs::read(sandbox.path("etc/nginx/nginx.conf")).expect("read"), noise(1, 200_000));
    sandbox.ok(&["cp", "-r", "--force", &source, "."]);
    assert_eq!(fs::read(sandbox.path("etc/hostname")).expect("read"), b"web01\n");
    // A link in the way is replaced, not written through.
    fs::remove_file(sandbox.path("etc/hostname")).expect("remove");
    symlink("../password", sandbox.path("etc/hostname")).expect("a link");
    sandbox.ok(&["cp", "--force", &format!("{source}/hostname"), "etc"]);
    assert_eq!(fs::read(sandbox.path("password")).expect("read"), b"correct horse\n");
    // And so is a link where a directory should be.
    fs::remove_dir_all(sandbox.path("etc/nginx")).expect("remove");
    fs::create_dir(sandbox.path("elsewhere")).expect("a directory");
    symlink("../elsewhere", sandbox.path("etc/nginx")).expect("a link");
    assert_eq!(sandbox.run(&["cp", "-r", "--force", &source, "."]).code, 3);
    assert_eq!(fs::read_dir(sandbox.path("elsewhere")).expect("list").count(), 0);
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let sandbox = Sandbox::new();
    sandbox.write("os.raw", &noise(1, 8 << 20));
    sandbox.ok(&["backup", "m", "--disk", "os=os.raw"]);
    let mut cat = sandbox.command(&["cat", "m/latest/disks/os.raw"]);
    let mut cat = cat.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("runs");
    drop(cat.stdout.take());
    let ran = cli_support::Ran::of(cat.wait_with_output().expect("ends"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}
