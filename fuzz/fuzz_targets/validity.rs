//! Any bytes as registration text: read or refused; what is read prints and reads as the same.
#![no_main]

use drover::format::validity::{HashMode, decode_registration, encode_registration};
use drover::format::{ContentAddress, DerivedPath, StoreDir};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let dir = StoreDir::default();
    for mode in [HashMode::Given, HashMode::Absent] {
        if let Ok(records) = decode_registration(data, &dir, mode) {
            let text = encode_registration(&records, &dir);
            assert_eq!(decode_registration(text.as_bytes(), &dir, mode).as_ref(), Ok(&records));
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(ca) = ContentAddress::parse(text) {
        assert_eq!(ContentAddress::parse(&ca.to_string()), Ok(ca));
    }
    if let Ok(target) = DerivedPath::parse(text, &dir) {
        assert_eq!(DerivedPath::parse(&target.print(&dir), &dir).as_ref(), Ok(&target));
    }
});
