//! What libFuzzer drives: one target, which `ICECORE_FUZZ_TARGET` names. `scripts/fuzz.sh` builds and runs it.

#![no_main]

use std::sync::OnceLock;

use icecore_fuzz::budget::{self, Counting, MOST_BYTES};
use icecore_fuzz::{Target, target};
use libfuzzer_sys::Corpus;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn chosen() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("ICECORE_FUZZ_TARGET").expect("ICECORE_FUZZ_TARGET names the target");
        target(&name).unwrap_or_else(|| panic!("no target {name}"))
    })
}

libfuzzer_sys::fuzz_target!(init: {
    // What is loaded once is no input's.
    (chosen().run)(&[]);
}, |data: &[u8]| -> Corpus {
    if data.len() > chosen().longest {
        return Corpus::Reject;
    }
    let (_, bytes) = budget::peak(|| (chosen().run)(data));
    assert!(bytes <= MOST_BYTES, "{bytes} bytes were live at a time");
    Corpus::Keep
});
