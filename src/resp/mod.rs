//! The wire protocol: requests in, replies out, and the texts of errors.
//!
//! Knows RESP2, RESP3 and the inline form; must not know keys, values, clients or sockets. Bytes
//! come in as slices and leave as chunks, so every part can be tested without a connection.
//!
//! Invariants: the parser looks at each byte a bounded number of times however the input is cut,
//! reserves nothing for what has only been announced, and never reads past the buffer it is given;
//! the writer never emits a CR or LF inside a status or error line.

pub mod error;
pub mod out;
pub mod request;
