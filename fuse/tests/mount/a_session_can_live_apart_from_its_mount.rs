//! Promise 5: any recovery point can be browsed; here: who serves has no mount, and who mounts does not serve.

use std::fs;
use std::os::unix::net::UnixStream;
use std::thread;

use crate::common::{Content, MemoryTree, Place, ROOT, can_mount, is_mounted};
use icecore_fuse::{Ended, MountOptions, Session, attach, receive_device, send_device};

#[test]
fn a_session_can_live_apart_from_its_mount() {
    if !can_mount("a_session_can_live_apart_from_its_mount") {
        return;
    }
    let (place, options) = (Place::new(), MountOptions::default());
    let serve = |socket: UnixStream| {
        let options = options.clone();
        thread::spawn(move || {
            let tree = MemoryTree::new();
            tree.add(ROOT, "file", 2, Content::File(b"bytes".to_vec()));
            let device = receive_device(&socket).unwrap().expect("a device");
            Session::begin(tree, device, &options, |_| {}).unwrap().run().unwrap();
        })
    };
    // By the one who mounted.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = serve(theirs);
    let (device, mount) = attach(&place.0, &options).unwrap();
    send_device(&ours, device).unwrap();
    assert_eq!(fs::read(place.0.join("file")).unwrap(), b"bytes");
    let unmounter = mount.unmounter();
    let ended = thread::spawn(move || {
        server.join().unwrap();
        unmounter.session_ended();
    });
    assert_eq!(mount.unmount().unwrap(), Ended::Unmounted);
    ended.join().unwrap();
    assert!(!is_mounted(&place.0));

    // Who serves dies before it serves: no dead mount stays behind.
    let (device, mount) = attach(&place.0, &options).unwrap();
    assert!(is_mounted(&place.0));
    drop(device);
    mount.unmounter().session_ended();
    assert!(!is_mounted(&place.0));
    assert_eq!(mount.join(), Ended::Unmounted);

    // Nothing is sent.
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    assert!(receive_device(&theirs).unwrap().is_none());
}
