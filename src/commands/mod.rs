//! L6: the commands, one file per group: the table of definitions first, the handlers below.
//!
//! A command file never uses another command file; what two need belongs to a layer below.

mod client;
mod command;
mod config;
mod connection;
mod counters;
mod databases;
mod debug;
mod dump;
mod expiry;
mod info;
mod keys;
mod latency;
mod lcs;
mod memory;
mod monitor;
mod object;
mod persistence;
mod ranges;
mod replication;
mod scan;
mod slowlog;
mod streams;
mod strings;
mod transactions;

use crate::engine::Command;

/// Every command of the server.
pub const ALL: &[&[Command]] = &[
    client::COMMANDS,
    command::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    counters::COMMANDS,
    databases::COMMANDS,
    debug::COMMANDS,
    dump::COMMANDS,
    expiry::COMMANDS,
    info::COMMANDS,
    keys::COMMANDS,
    latency::COMMANDS,
    lcs::COMMANDS,
    memory::COMMANDS,
    monitor::COMMANDS,
    object::COMMANDS,
    persistence::COMMANDS,
    ranges::COMMANDS,
    replication::COMMANDS,
    scan::COMMANDS,
    slowlog::COMMANDS,
    streams::GROUPS,
    streams::INFO,
    streams::PENDING,
    streams::RANGES,
    streams::READS,
    streams::WRITES,
    strings::COMMANDS,
    transactions::COMMANDS,
];
