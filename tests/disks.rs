//! Full disks: named as such, classed apart from failed builds, nothing wrong is valid afterwards,
//! and the next run with space again goes on. Each test mounts small file systems of its own, in a
//! mount namespace of its own, so it needs root.

use std::path::Path;

use crate::support::{World, shell, succeed, texts};

/// Functions for the scripts below. `on_small OPTIONS FOLDER` puts a small file system over a
/// folder and keeps what is in it; `expect CODE WORDS COMMAND...` runs a command that must end so and say
/// so; `fill FOLDER` leaves no byte.
const PRELUDE: &str = r#"
set -u
fail() { echo "FAILED: $*" >&2; exit 1; }
on_small() {
  rm -rf "$KEEP"; mkdir "$KEEP"; cp -a "$2/." "$KEEP/"
  mount -t tmpfs -o "$1" tmpfs "$2" || fail "cannot mount: this test needs root and mount namespaces"
  cp -a "$KEEP/." "$2/"
}
expect() {
  code=$1; words=$2; shift 2
  said=$("$@" 2>&1); got=$?
  [ "$got" = "$code" ] || fail "$*: exit code $got, not $code: $said"
  case $said in *"$words"*) ;; *) fail "$*: does not say '$words': $said" ;; esac
}
fill() { dd if=/dev/zero of="$1/filler" bs=4k 2>/dev/null; [ -s "$1/filler" ] || fail "no room to fill"; }
verify() { expect 0 "checking store hashes" nix-store --verify --check-contents; }
build() { "$DROVER" build --no-link "$@"; }
FULL="no space left on device"
"#;

/// Runs `script` where it may mount; `$DRV0`... are the derivations of `expressions`.
fn with_small_disks(world: &World, expressions: &[String], script: &str) {
    let drvs = world.instantiate(&format!("[ {} ]", expressions.join(" ")));
    succeed(&mut world.nix("nix-store", ["--verify"]));
    let mut command = world.command("unshare");
    command.args(["--mount", "sh", "-c", &format!("{PRELUDE}{script}")]);
    command.env("DROVER", env!("CARGO_BIN_EXE_drover")).env("KEEP", world.path("keep"));
    for (number, drv) in drvs.iter().enumerate() {
        command.env(format!("DRV{number}"), drv);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}\n{}", output.status, texts(&output));
}

fn tool(name: &str, script: &str) -> String {
    format!("({})", shell(name, "", script))
}

fn small(name: &str) -> String {
    tool(name, "echo ok > $out")
}

fn eight_mib(name: &str, file: &str) -> String {
    tool(name, &format!("dd if=/dev/zero of={file} bs=1M count=8 || exit 1; echo ok >> $out"))
}

#[test]
fn a_full_store() {
    let world = World::new();
    let expressions = [eight_mib("big", "$out"), small("small")];
    let script = r#"
        on_small size=4m "$NIX_STORE_DIR"
        expect 1 "$FULL" build "$DRV0"
        expect 0 "$FULL" "$DROVER" log "$DRV0"
        [ "$(ls "$NIX_STORE_DIR" | grep -v '\.drv$')" = "" ] || fail "leftovers"
        expect 0 "" build "$DRV1"
        fill "$NIX_STORE_DIR"
        expect 1 "No space left" "$DROVER" add /bin/sh
        rm "$NIX_STORE_DIR/filler"
        verify
        mount -o remount,size=40m "$NIX_STORE_DIR"
        expect 0 "" build "$DRV0" "$DRV1"
        verify
    "#;
    with_small_disks(&world, &expressions, script);
}

#[test]
fn a_full_state_folder() {
    let world = World::new();
    let filler = world.path("var/filler");
    let fills = |path: &Path| format!("dd if=/dev/zero of={} bs=4k; echo > $out", path.display());
    let expressions = [small("one"), tool("filling", &fills(&filler)), small("two")];
    let script = r#"
        on_small size=12m "$NIX_STATE_DIR"
        fill "$NIX_STATE_DIR"
        expect 1 "$FULL" build "$DRV0"
        expect 1 "No space left" "$DROVER" add /bin/sh
        rm "$NIX_STATE_DIR/filler"
        # The commit is what fails.
        expect 1 "full" build "$DRV1"
        rm "$NIX_STATE_DIR/filler"
        out=$(nix-store --query --outputs "$DRV1")
        expect 1 "" nix-store --check-validity "$out"
        verify
        expect 0 "" build "$DRV0" "$DRV2"
        verify
    "#;
    with_small_disks(&world, &expressions, script);
}

#[test]
fn no_room_for_a_new_database() {
    let world = World::new();
    let script = r#"
        rm -rf "$NIX_STATE_DIR"/*
        on_small size=64k "$NIX_STATE_DIR"
        expect 1 "full" "$DROVER" add /etc/passwd
        [ ! -e "$NIX_STATE_DIR/db/schema" ] || fail "half a database counts as whole"
        mount -o remount,size=20m "$NIX_STATE_DIR"
        expect 0 "" "$DROVER" add /etc/passwd
        verify
    "#;
    with_small_disks(&world, &[small("one")], script);
}

#[test]
fn a_full_build_folder_and_one_without_inodes() {
    let world = World::new();
    let attributes = "passAsFile = [ \"big\" ]; big = \"aaaa\";";
    let pass = format!("({})", shell("pass", attributes, "echo > $out"));
    let expressions = [eight_mib("big", "file"), pass, small("small")];
    std::fs::create_dir(world.path("dirs")).unwrap();
    world.configure(&format!("build-dir = {}", world.path("dirs").display()));
    let script = r#"
        dirs=$KEEP/../dirs
        on_small size=4m "$dirs"
        expect 1 "$FULL" build "$DRV0"
        [ "$(ls -A "$dirs")" = "" ] || fail "leftovers"
        fill "$dirs"
        expect 1 "$FULL" build "$DRV1"
        rm "$dirs/filler"
        expect 0 "" build "$DRV1"
        umount "$dirs"
        on_small nr_inodes=2 "$dirs"
        touch "$dirs/taken"
        expect 1 "$FULL" build "$DRV2"
        rm "$dirs/taken"
        mount -o remount,nr_inodes=50 "$dirs"
        expect 0 "" build "$DRV2"
        verify
    "#;
    with_small_disks(&world, &expressions, script);
}

#[test]
fn a_full_log_folder_does_not_stop_builds() {
    let world = World::new();
    let noise = "dd if=/dev/urandom bs=1M count=3 2> /dev/null | base64; echo > $out";
    let script = r#"
        on_small size=1m "$NIX_LOG_DIR"
        expect 0 "is not complete" build "$DRV0"
        expect 0 "" build "$DRV1"
        verify
    "#;
    with_small_disks(&world, &[tool("noise", noise), small("small")], script);
}

#[test]
fn a_store_without_inodes() {
    let world = World::new();
    let many =
        "mkdir $out; cd $out; i=0; while [ $i -lt 400 ]; do : > $i || exit 1; i=$((i+1)); done";
    let script = r#"
        on_small nr_inodes=100 "$NIX_STORE_DIR"
        expect 1 "$FULL" build "$DRV0"
        [ "$(ls "$NIX_STORE_DIR" | grep -v '\.drv$')" = "" ] || fail "leftovers keep the disk full"
        expect 0 "" build "$DRV1"
        verify
        mount -o remount,nr_inodes=2000 "$NIX_STORE_DIR"
        expect 0 "" build "$DRV0"
        verify
    "#;
    with_small_disks(&world, &[tool("many", many), small("small")], script);
}
