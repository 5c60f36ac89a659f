//! CONFIG.

use crate::engine::Command;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[];
