//! `oom-score-adj`: how readily the operating system ends this process when memory is used up.
//!
//! The score belongs to the process. What it was before we changed it is kept, so that it can be
//! given back.

use std::fs;
use std::io;

use crate::base::lock::{Lock, rank};
use crate::state::config::{OomScoreAdj, Settings};

const FILE: &str = "/proc/self/oom_score_adj";

/// What the operating system takes.
const BOUNDS: (i32, i32) = (-1000, 1000);

/// The score before it was changed, while it is.
pub struct OomScore(Lock<Option<i32>>);

impl Default for OomScore {
    fn default() -> Self {
        OomScore(Lock::new(rank::LEAF + 91, None))
    }
}

impl OomScore {
    /// Sets the score that the parameters want of a primary or a replica. The third of their
    /// values is for child processes, of which there are none.
    ///
    /// # Errors
    /// The operating system does not allow it, or has no such thing.
    pub fn apply(&self, settings: &Settings, is_replica: bool) -> io::Result<()> {
        let mut before = self.0.lock();
        let adjusts = settings.oom_score_adj != OomScoreAdj::No;
        let base = match *before {
            Some(base) => base,
            None if adjusts => {
                fs::read_to_string(FILE)?.trim().parse().map_err(io::Error::other)?
            }
            None => return Ok(()),
        };
        let wanted = settings.oom_score_adj_values[usize::from(is_replica)];
        let score = match settings.oom_score_adj {
            OomScoreAdj::No => base,
            OomScoreAdj::Relative => base.saturating_add(wanted),
            OomScoreAdj::Absolute => wanted,
        };
        fs::write(FILE, score.clamp(BOUNDS.0, BOUNDS.1).to_string())?;
        *before = adjusts.then_some(base);
        Ok(())
    }
}
