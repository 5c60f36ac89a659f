//! L0: what knows nothing of Redis's data or clients: bytes, numbers, hashes, clocks, locks, log
//! lines and the system calls that std does not offer.
//!
//! Invariant: nothing here imports another layer, and `sys` is the only file of the crate with
//! `unsafe`.

pub mod clock;
pub mod crc64;
pub mod double;
pub mod glob;
pub mod grisu;
pub mod hash;
pub mod lock;
pub mod logger;
pub mod longdouble;
pub mod lzf;
pub mod num;
pub mod pipeline;
pub mod process;
pub mod quote;
pub mod rng;
pub mod search;
pub mod sha1;
pub mod sha256;
pub mod small;
pub mod sys;
pub mod table;
pub mod wake;
