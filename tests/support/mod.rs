//! What the black-box tests share: a client, a server launcher, temp dirs, the other end of a
//! replication link, seeded chance, a judge of histories, and the script runner.
//!
//! Nothing in here may use the `ferrodis` library: the tests judge the program from outside, and
//! a client that shares the server's parser would share its bugs.

// Every test binary compiles this module and uses its own part of it.
#![allow(dead_code)]

pub mod client;
pub mod fake;
pub mod history;
pub mod random;
pub mod script;
pub mod server;
pub mod tmp;
