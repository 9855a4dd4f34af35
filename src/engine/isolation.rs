//! Which level of isolation builds get: `none` so far, and that is said.
//!
//! At this level a builder sees the host as it is, so `__hostPaths` has nothing to open. Nobody is
//! left to believe in a sandbox that is not there: who did not turn it off is told once a run.

use super::report::Notice;
use super::settings::Sandbox;
use super::shared::Shared;

/// The level that every build gets.
pub const LEVEL: &str = "none";

/// Says once a run that builds are not isolated, unless that was asked for.
pub(super) fn say_once(shared: &Shared) {
    if shared.settings.sandbox == Sandbox::Off || shared.books.said_isolation() {
        return;
    }
    shared.tell(Notice::Isolation {
        level: LEVEL.to_owned(),
        why: "this version has no sandbox yet; set `sandbox = false` to accept that".to_owned(),
    });
}
