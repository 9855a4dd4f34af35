//! A world of the machine by the fuzzer's choices: no invariant breaks, nothing panics or hangs.
#![no_main]

use drover::machine::sim::{Bytes, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(broken) = run(&mut Bytes(data)) {
        panic!("{broken}");
    }
});
