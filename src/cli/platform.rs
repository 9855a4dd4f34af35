//! What this machine is: its system, what else it can run, its features, its processors.
//!
//! The computed defaults of the table of settings. Nothing here looks at configuration: what a
//! user sets instead is for [`super::config`] to know.

use std::collections::BTreeMap;

use nix::unistd::{AccessFlags, access};

/// Processors this process may use; at least 1.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The defaults that the table marks with `@`.
#[must_use]
pub fn defaults() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("system", system().to_owned()),
        ("extra-platforms", extra_platforms().join(" ")),
        ("system-features", features().join(" ")),
    ])
}

fn system() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x86_64-linux",
        "x86" => "i686-linux",
        "aarch64" => "aarch64-linux",
        "arm" => "armv7l-linux",
        "riscv64" => "riscv64-linux",
        "powerpc64" => "powerpc64le-linux",
        "loongarch64" => "loongarch64-linux",
        other => other,
    }
}

#[cfg(target_arch = "x86_64")]
fn extra_platforms() -> Vec<&'static str> {
    use std::is_x86_feature_detected as has;
    let v2 = has!("cmpxchg16b")
        && has!("popcnt")
        && has!("sse3")
        && has!("ssse3")
        && has!("sse4.1")
        && has!("sse4.2");
    let v3 = v2
        && has!("avx")
        && has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let v4 = v3
        && has!("avx512f")
        && has!("avx512bw")
        && has!("avx512cd")
        && has!("avx512dq")
        && has!("avx512vl");
    let levels = [
        (true, "i686-linux"),
        (true, "x86_64-v1-linux"),
        (v2, "x86_64-v2-linux"),
        (v3, "x86_64-v3-linux"),
        (v4, "x86_64-v4-linux"),
    ];
    levels.into_iter().filter(|(here, _)| *here).map(|(_, name)| name).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn extra_platforms() -> Vec<&'static str> {
    Vec::new()
}

fn features() -> Vec<&'static str> {
    let kvm = access("/dev/kvm", AccessFlags::R_OK | AccessFlags::W_OK).is_ok();
    let mut features = vec!["benchmark", "big-parallel", "nixos-test", "uid-range"];
    if kvm {
        features.insert(2, "kvm");
    }
    features
}
