use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::test_support::{Scratch, path};

fn written(scratch: &Scratch, policy: LogPolicy, parts: &[&[u8]]) -> Option<PathBuf> {
    let mut log = LogWriter::new(&scratch.layout, &path('d', "x.drv"), policy);
    parts.iter().for_each(|part| log.write(part).unwrap());
    assert_eq!(log.length(), parts.iter().map(|part| part.len() as u64).sum::<u64>());
    log.finish().unwrap()
}

fn read(scratch: &Scratch) -> Vec<u8> {
    let mut text = Vec::new();
    let log = find_log(&scratch.layout, &path('d', "x.drv")).unwrap();
    log.open().unwrap().read_to_end(&mut text).unwrap();
    text
}

#[test]
fn nix_reads_our_logs() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let drv = scratch.file('d', "x.drv", b"Derive([],[],[],\"\",\"\",[],[])");
    store.db().register(&[drv.clone().into()]).unwrap();
    let full = scratch.layout.store_dir.print(&drv.path);
    let large = "0123456789abcde\n".repeat(20_000);
    for text in ["", "short\n", &large] {
        let file = written(&scratch, LogPolicy::Compressed, &[text.as_bytes()]).unwrap();
        assert_eq!(file, scratch.layout.compressed_log_file(&drv.path));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        let experimental = ["--extra-experimental-features", "nix-command", "log", &full];
        assert_eq!(scratch.nix("nix", &experimental), text);
        assert_eq!(scratch.nix("nix-store", &["-l", &full]), text);
        assert_eq!(read(&scratch), text.as_bytes());
    }
    let left = std::fs::read_dir(scratch.layout.log_dir.join("drvs/dd")).unwrap().count();
    assert_eq!(left, 1, "the plain and the temporary file are gone");
}

#[test]
fn we_read_the_logs_of_nix() {
    let scratch = Scratch::new();
    let expression = "derivation { name = \"x\"; system = builtins.currentSystem; \
                      builder = \"/bin/sh\"; args = [ \"-c\" \"echo said; echo > $out\" ]; }";
    let drv = scratch.nix("nix-instantiate", &["-E", expression]);
    let out = scratch.nix("nix-store", &["--realise", drv.trim()]);
    let store = scratch.open();
    let parse = |text: &str| store.layout().store_dir.parse(text.trim().as_bytes()).unwrap();
    for path in [parse(&drv), parse(&out)] {
        let mut text = String::new();
        let log = store.find_log(&path).unwrap().unwrap();
        log.open().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "said\n");
    }
    assert_eq!(store.find_log(&path('f', "f")).unwrap(), None);
}

#[test]
fn an_empty_log_is_what_nix_writes() {
    let scratch = Scratch::new();
    let file = written(&scratch, LogPolicy::Compressed, &[]).unwrap();
    let empty = Compression::new(9);
    let expected = BzEncoder::new(Vec::new(), empty).finish().unwrap();
    assert_eq!(std::fs::read(file).unwrap(), expected);
}

#[test]
fn a_long_log_can_be_read_while_it_grows() {
    let scratch = Scratch::new();
    let drv = path('d', "x.drv");
    let mut log = LogWriter::new(&scratch.layout, &drv, LogPolicy::Compressed);
    let block = vec![b'x'; IN_MEMORY];
    log.write(&block).unwrap();
    assert_eq!(find_log(&scratch.layout, &drv), None);
    log.write(b"more").unwrap();
    assert_eq!(read(&scratch), [&block[..], b"more"].concat());
    log.write(b"!").unwrap();
    log.finish().unwrap();
    assert_eq!(read(&scratch), [&block[..], b"more!"].concat());
}

#[test]
fn policies() {
    let scratch = Scratch::new();
    assert_eq!(written(&scratch, LogPolicy::Dropped, &[b"x"]), None);
    assert_eq!(find_log(&scratch.layout, &path('d', "x.drv")), None);
    written(&scratch, LogPolicy::Compressed, &[b"first"]);
    let plain = written(&scratch, LogPolicy::Plain, &[b"second"]).unwrap();
    assert_eq!(std::fs::read(plain).unwrap(), b"second");
    assert_eq!(read(&scratch), b"second");
    written(&scratch, LogPolicy::Compressed, &[b"third"]);
    assert_eq!(read(&scratch), b"third", "the plain log of before does not hide it");
}

#[test]
fn bzip2_itself_agrees() {
    let scratch = Scratch::new();
    let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let parts: Vec<&[u8]> = text.chunks(7_777).collect();
    let file = written(&scratch, LogPolicy::Compressed, &parts).unwrap();
    let mut bunzip = scratch.command("bzip2");
    let output = bunzip.arg("-dc").arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == text, "{} bytes instead of {}", output.stdout.len(), text.len());
}
