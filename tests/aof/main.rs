//! The append-only file, over TCP and with a look at the files: what stands in it and when
//! ([`writing`]), what is loaded of damaged ones ([`loading`]), rewrites and turning it on and off
//! ([`rewriting`]), what a kill leaves and what a full disk does ([`failing`]), replicas and the
//! real server ([`following`]), the stages of the course ([`stages`]).
//!
//! `FERRODIS_LONG=1` makes the tests of cuts and kills go through all of them: every byte of the
//! file, and 200 kills for each policy.

mod common;
mod failing;
mod following;
mod loading;
mod rewriting;
mod stages;
#[path = "../support/mod.rs"]
mod support;
mod writing;
