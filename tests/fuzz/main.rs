//! Input that nobody in his right mind sends: [`protocol`] mutates what clients write, [`payloads`]
//! what RESTORE gets and what stands in RDB files, [`limits`] every number of every command.
//!
//! Everything follows from a seed. The runs here are short; the environment makes them long:
//! `FERRODIS_FUZZ_CASES` inputs from `FERRODIS_FUZZ_SEED` on.

mod limits;
mod payloads;
mod protocol;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use support::random::setting;

/// How many inputs to try.
fn cases(default: u64) -> u64 {
    setting("FERRODIS_FUZZ_CASES", default)
}

/// What the run starts from.
fn seed() -> u64 {
    setting("FERRODIS_FUZZ_SEED", 1)
}

/// What the servers are started with.
const FLAGS: [&str; 4] = ["--save", "", "--enable-debug-command", "yes"];
