//! Ferrodis: a Redis-compatible server with nothing but the standard library.
//!
//! The layers, each of which uses only those above it in this list: `base`, `resp` and `data`,
//! `store`, `log` and `rdb`, `state`, `engine`, `commands`, `service`. ARCHITECTURE.md follows one
//! SET through them.
//!
//! As a library it starts servers inside another program, a test for instance:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! let server = ferrodis::Server::start(ferrodis::Config::new().port(0)).unwrap();
//! let mut client = TcpStream::connect(server.addr()).unwrap();
//! client.write_all(b"SET greeting hello\r\nGET greeting\r\n").unwrap();
//! let mut replies = [0; 16];
//! client.read_exact(&mut replies).unwrap();
//! assert_eq!(&replies, b"+OK\r\n$5\r\nhello\r\n");
//! // Dropping the server stops it and frees its port.
//! ```

mod base;
mod commands;
mod data;
mod engine;
mod log;
mod rdb;
mod resp;
mod service;
mod state;
mod store;

pub mod embed;

pub use embed::{Config, Server};
