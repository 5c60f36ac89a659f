//! L6: the commands, one file per group: the table of definitions first, the handlers below.
//!
//! A command file never uses another command file; what two need belongs to a layer below.

mod connection;
mod keys;
mod strings;
mod transactions;

use crate::engine::Command;

/// Every command of the server.
pub const ALL: &[&[Command]] =
    &[connection::COMMANDS, keys::COMMANDS, strings::COMMANDS, transactions::COMMANDS];
