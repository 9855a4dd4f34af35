//! Any bytes as a derivation: read or refused, and what is read prints the same bytes; its options
//! and JSON are computed or refused, never a panic.
#![no_main]

use drover::format::{DerivationOptions, StoreDir, aterm, derivation_json, structured_attrs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let dir = StoreDir::default();
    // The JSON form first: the same corpus may hold either.
    if let Ok(drv) = derivation_json::parse(data, &dir) {
        let text = aterm::print(&drv, &dir);
        assert_eq!(aterm::parse(&drv.name, &text, &dir).as_ref(), Ok(&drv));
    }
    // The name is part of fixed paths: it stands before the first line end.
    let end = data.iter().position(|&b| b == b'\n').unwrap_or(0);
    let name = std::str::from_utf8(&data[..end]).unwrap_or("x");
    let text = if end == 0 { data } else { &data[end + 1..] };
    let Ok(drv) = aterm::parse(name, text, &dir) else { return };
    assert_eq!(aterm::print(&drv, &dir), text);
    let _ = drv.drv_path(&dir);
    let _ = DerivationOptions::from(&drv, &dir);
    if let Ok(Some(attrs)) = structured_attrs::parse(&drv) {
        let _ = structured_attrs::shell_text(&attrs);
        let json = structured_attrs::json_text(&attrs);
        assert!(derivation_json::to_json(&drv).is_ok() || !json.is_empty());
    }
});
