//! A NAR that the reader accepts is written again byte for byte; whatever it refuses, it refuses
//! without a panic and without much memory.
#![no_main]

use drover::format::nar::{Writer, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut again = Writer::new(Vec::new()).expect("memory takes all");
    if read(data, &mut again).is_ok() {
        let written = again.finish().expect("an accepted tree is complete");
        assert_eq!(written, data);
    }
});
