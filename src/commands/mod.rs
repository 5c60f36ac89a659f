//! L6: the commands, one file per group: the table of definitions first, the handlers below.
//!
//! A command file never uses another command file; what two need belongs to a layer below.

mod acl;
mod bitmaps;
mod client;
mod command;
mod config;
mod connection;
mod counters;
mod databases;
mod debug;
mod dump;
mod expiry;
mod hash_expiry;
mod hash_random;
mod hashes;
mod hyperloglog;
mod info;
mod keys;
mod latency;
mod lcs;
mod list_moves;
mod lists;
mod memory;
mod migrate;
mod monitor;
mod object;
mod persistence;
mod pubsub;
mod ranges;
mod replication;
mod scan;
mod set_algebra;
mod sets;
mod slowlog;
mod sort;
mod streams;
mod strings;
mod transactions;
mod zsets;

use crate::engine::Command;

/// Every command of the server.
pub const ALL: &[&[Command]] = &[
    acl::COMMANDS,
    bitmaps::COMMANDS,
    client::COMMANDS,
    command::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    counters::COMMANDS,
    databases::COMMANDS,
    debug::COMMANDS,
    dump::COMMANDS,
    expiry::COMMANDS,
    hash_expiry::COMMANDS,
    hash_random::COMMANDS,
    hashes::COMMANDS,
    hyperloglog::COMMANDS,
    info::COMMANDS,
    keys::COMMANDS,
    latency::COMMANDS,
    lcs::COMMANDS,
    list_moves::COMMANDS,
    lists::COMMANDS,
    memory::COMMANDS,
    migrate::COMMANDS,
    monitor::COMMANDS,
    object::COMMANDS,
    persistence::COMMANDS,
    pubsub::COMMANDS,
    ranges::COMMANDS,
    replication::COMMANDS,
    scan::COMMANDS,
    set_algebra::COMMANDS,
    sets::COMMANDS,
    slowlog::COMMANDS,
    sort::COMMANDS,
    streams::GROUPS,
    streams::INFO,
    streams::PENDING,
    streams::RANGES,
    streams::READS,
    streams::WRITES,
    strings::COMMANDS,
    transactions::COMMANDS,
    zsets::COMMANDS,
    zsets::algebra::COMMANDS,
    zsets::geo::COMMANDS,
    zsets::pops::COMMANDS,
    zsets::ranges::COMMANDS,
];
