//! Builtin builders: `drover __builtin NAME`, run like any builder, with a builder's environment.
//!
//! `builtin:fetchurl` takes `file://` URLs; `builtin:buildenv` and `builtin:unpack-channel` are
//! known but not there yet, which is said before anything is built. Attributes are those of Nix.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bstr::{BString, ByteSlice};
use rustix::fs::{Mode, OFlags};

use crate::format::Derivation;
use crate::machine::Failure;

/// Why `builtin:NAME` cannot be built, if it cannot.
pub(super) fn obstacle(drv: &Derivation, name: &str) -> Option<Failure> {
    match name {
        "fetchurl" if drv.is_fixed() => None,
        "fetchurl" => Some(Failure::BadDerivation(
            "builtin builder 'builtin:fetchurl' needs a fixed-output derivation (`outputHash`)"
                .to_owned(),
        )),
        "buildenv" | "unpack-channel" => {
            Some(Failure::NotSupported(format!("builtin builder `builtin:{name}`")))
        }
        _ => Some(Failure::BadDerivation(format!(
            "unsupported builtin builder 'builtin:{name}' (supported: builtin:fetchurl)"
        ))),
    }
}

/// Runs the builtin `name` in this process.
///
/// # Errors
/// What could not be done, as a sentence for the build's log.
pub fn run(name: &str, env: &BTreeMap<BString, BString>) -> Result<(), String> {
    match name {
        "fetchurl" => fetchurl(&attributes(env)?),
        other => Err(format!("unknown builtin `{other}`")),
    }
}

/// The derivation's attributes: its environment, or the JSON of structured attributes.
fn attributes(env: &BTreeMap<BString, BString>) -> Result<BTreeMap<BString, BString>, String> {
    let Some(file) = env.get("NIX_ATTRS_JSON_FILE".as_bytes()) else { return Ok(env.clone()) };
    let text = fs::read(file.to_path_lossy()).map_err(|e| format!("reading `{file}`: {e}"))?;
    let json: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| format!("reading `{file}`: {e}"))?;
    let mut all = BTreeMap::new();
    for (key, value) in json.as_object().into_iter().flatten() {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Bool(true) => "1".to_owned(),
            _ => continue,
        };
        all.insert(BString::from(key.as_str()), BString::from(text));
    }
    if let Some(out) = json.pointer("/outputs/out").and_then(serde_json::Value::as_str) {
        all.insert("out".into(), out.into());
    }
    Ok(all)
}

fn fetchurl(attributes: &BTreeMap<BString, BString>) -> Result<(), String> {
    let get = |name: &str| {
        attributes
            .get(name.as_bytes())
            .ok_or_else(|| format!("builtin:fetchurl needs the attribute `{name}`"))
    };
    let flag = |name: &str| attributes.get(name.as_bytes()).is_some_and(|value| value == "1");
    let (url, out) = (get("url")?, get("out")?);
    if flag("unpack") {
        return Err("builtin:fetchurl cannot unpack yet: leave `unpack` out".to_owned());
    }
    let source = file_of(url)?;
    let source = Path::new(std::ffi::OsStr::from_bytes(&source));
    let target = out.to_path_lossy();
    copy(source, &target)
        .map_err(|e| format!("unable to download '{url}': copying `{}`: {e}", source.display()))?;
    if flag("executable") {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&target, mode)
            .map_err(|e| format!("making `{out}` executable: {e}"))?;
    }
    Ok(())
}

fn copy(source: &Path, target: &Path) -> io::Result<()> {
    // A pipe or device could never end, and must not hold up its own opening.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut from = File::from(rustix::fs::open(source, flags, Mode::empty())?);
    if !from.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut to = File::create_new(target)?;
    io::copy(&mut from, &mut to).map(drop)
}

/// The path of a `file://` URL, percent signs resolved.
fn file_of(url: &BString) -> Result<Vec<u8>, String> {
    let Some(rest) = url.strip_prefix(b"file://".as_slice()) else {
        return Err(format!("builtin:fetchurl takes `file://` URLs only so far, not '{url}'"));
    };
    let rest = rest.strip_prefix(b"localhost").unwrap_or(rest);
    let mut path = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            path.push(byte);
            continue;
        }
        let digits = [bytes.next(), bytes.next()];
        let value = match digits {
            [Some(high), Some(low)] => hex(high).zip(hex(low)).map(|(h, l)| h * 16 + l),
            _ => None,
        };
        path.push(value.ok_or_else(|| format!("'{url}' has a bad percent escape"))?);
    }
    if !path.starts_with(b"/") || path.contains(&0) {
        return Err(format!("'{url}' does not name a file by an absolute path"));
    }
    Ok(path)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let path = |url: &str| file_of(&url.into());
        assert_eq!(path("file:///a%20b/c").unwrap(), b"/a b/c");
        assert_eq!(path("file://localhost/x").unwrap(), b"/x");
        for bad in ["http://x/y", "file://host", "file:///a%2", "file:///a%zz", "file:///%00"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn copies_and_sets_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("in"), "text").unwrap();
        let out = dir.path().join("out");
        let env: BTreeMap<BString, BString> = [
            ("url".into(), format!("file://{}/in", dir.path().display()).into()),
            ("out".into(), out.to_str().unwrap().into()),
            ("executable".into(), "1".into()),
        ]
        .into();
        run("fetchurl", &env).unwrap();
        assert_eq!(fs::read(&out).unwrap(), b"text");
        assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o111, 0o111);
        assert!(run("fetchurl", &env).unwrap_err().contains("exists"), "never overwrites");
    }

    #[test]
    fn what_never_ends_is_not_copied() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("pipe"), Mode::RUSR).unwrap();
        for source in [dir.path().join("pipe"), dir.path().to_owned(), "/dev/zero".into()] {
            let error = copy(&source, &out).unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{}: {error}", source.display());
            assert!(!out.exists());
        }
    }
}
