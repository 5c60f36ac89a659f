//! L5: what a command is and how one is executed, without naming any.
//!
//! Must not know single commands: it asks their definitions. A request's path:
//! [`dispatch::execute`] looks it up, [`gate`] refuses what may not run now, the shards of its keys
//! are locked, the handler runs and writes its reply, and its effect goes to the log before the
//! shards are let go.

pub mod apart;
pub mod args;
pub mod blocking;
pub mod categories;
pub mod client_line;
pub mod ctx;
pub mod delivery;
pub mod digest;
pub mod dispatch;
pub mod divergence;
pub mod effects;
pub mod evict;
pub mod expire;
pub mod gate;
pub mod info;
pub mod lazyfree;
pub mod load;
pub mod monitor;
pub mod permissions;
pub mod pieces;
pub mod pubsub;
pub mod replay;
pub mod rewrite;
pub mod scan;
pub mod session;
pub mod shutdown;
pub mod spec;
pub mod syntax;
pub mod table;
pub mod transaction;

use std::sync::Arc;

use crate::resp::error::Error;
use crate::state::Server;
use crate::store::WrongType;

pub use args::Args;
pub use blocking::Block;
pub use ctx::{Ctx, Reply};
pub use session::Session;
pub use spec::{Command, Group, KeySpec};

/// A server together with the commands that it knows.
pub struct Engine {
    /// The server.
    pub server: Arc<Server>,
    /// The commands.
    pub table: table::Table,
    /// The clients that wait in blocking commands.
    pub blocked: blocking::Blocked,
    /// What eviction remembers.
    pub evictor: evict::Evictor,
}

impl From<WrongType> for Error {
    fn from(_: WrongType) -> Self {
        Error::WRONG_TYPE
    }
}
