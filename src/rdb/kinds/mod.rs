//! The bodies of values that are no strings, one file per type: how it is written and read.

pub mod hash;
pub mod list;
pub mod set;
pub mod stream;
pub mod zset;
