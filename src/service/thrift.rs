//! Gives free memory back to the operating system once the server is calm.
//!
//! The allocator keeps what is freed, in an arena for each of some threads, and gives little of it
//! back by itself: a server whose keys were deleted would go on taking the memory of its best days.
//! To give it back takes some milliseconds per 100 MB, for which an arena is locked, so that is
//! done only where hardly anybody asks for anything.

use std::sync::atomic::Ordering;

use crate::base::logger::Level;
use crate::base::{process, sys};
use crate::state::Server;

/// It is calm where no more commands than these come in a second,
const FEW: u64 = 10;
/// for so many seconds in a row.
const CALM: u32 = 3;
/// Less is not worth the effort.
const WORTHWHILE: u64 = 16 * 1024 * 1024;

/// What is known from one second to the next.
#[derive(Default)]
pub(super) struct Thrift {
    /// Commands that were executed so far, by the counter that RESETSTAT may set back.
    commands: u64,
    /// Seconds of calm in a row.
    calm: u32,
    /// Bytes that are resident and not in use, but could not be given back.
    kept: u64,
}

impl Thrift {
    /// To be called once a second.
    pub(super) fn look(&mut self, server: &Server) {
        let [commands, ..] = server.stats.totals();
        let is_busy = commands.saturating_sub(self.commands) > FEW
            || server.has_background_job()
            || server.persistence.loading.load(Ordering::Relaxed);
        self.commands = commands;
        self.calm = if is_busy { 0 } else { self.calm + 1 };
        if self.calm < CALM {
            return;
        }
        // Where nobody counts the bytes in use, the heap is none of our business.
        let (used, resident) = (server.used_memory(), process::resident_memory());
        if used == 0 {
            return;
        }
        let free = resident.saturating_sub(used);
        self.kept = self.kept.min(free);
        if free - self.kept >= WORTHWHILE {
            sys::release_free_memory();
            let resident_now = process::resident_memory();
            self.kept = resident_now.saturating_sub(used);
            let given = resident.saturating_sub(resident_now) / 1024;
            let message = format!("Gave {given} kB of free memory back to the system");
            server.logger.log(Level::Verbose, &message);
        }
    }
}
