//! Frees what takes long in a thread of its own, after the shards are let go, and counts it for
//! INFO.
//!
//! Must not know why something was removed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::engine::ctx::Ctx;
use crate::state::{Job, Server};

/// Removed things that wait to be freed; freeing them is dropping this.
struct Garbage {
    server: Arc<Server>,
    keys: u64,
    things: Vec<Box<dyn Send>>,
}

impl Drop for Garbage {
    fn drop(&mut self) {
        self.things.clear();
        // In this order: who waits until nothing is pending finds it counted.
        self.server.stats.lazy_freed.fetch_add(self.keys, Ordering::SeqCst);
        self.server.stats.lazy_pending.fetch_sub(self.keys, Ordering::SeqCst);
    }
}

/// Has everything that the command removed so far freed in the background: that many keys.
pub fn free_in_background(ctx: &mut Ctx, keys: u64) {
    let things = ctx.db.held().take_trash();
    if things.is_empty() {
        return;
    }
    ctx.server.stats.lazy_pending.fetch_add(keys, Ordering::Relaxed);
    let garbage = Garbage { server: Arc::clone(ctx.server), keys, things };
    ctx.afterwards(move |server| server.start_job(Job::Free(Box::new(garbage))));
}
