//! Listening sockets and the thread that accepts connections.
//!
//! Invariant: no error of accepting ends the loop; without file descriptors it waits a moment and
//! goes on.

use std::fs;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::lock::{Lock, rank};
use crate::base::logger::Level;
use crate::base::sys::{self, Interest, POLL_IN, wait_for};
use crate::base::wake::Waker;
use crate::engine::session::Role;
use crate::engine::{Engine, Session};
use crate::resp::error::Error;
use crate::resp::out::Out;
use crate::service::attendants::Attendants;
use crate::service::{Threads, connection};
use crate::state::Server;
use crate::state::clients::{Stream, reserve_sockets};
use crate::state::config::Settings;

/// One listening socket.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn fd(&self) -> i32 {
        match self {
            Listener::Tcp(l) => l.as_raw_fd(),
            Listener::Unix(l) => l.as_raw_fd(),
        }
    }

    /// Stops listening at once, even while the accepting thread waits for this socket, which keeps
    /// it open.
    fn close(self) {
        if let Listener::Tcp(listener) = self {
            let _ = TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(l) => l.accept().map(|(s, _)| Stream::Tcp(s)),
            Listener::Unix(l) => l.accept().map(|(s, _)| Stream::Unix(s)),
        }
    }
}

/// The listening sockets of a server.
pub struct Listeners {
    sockets: Lock<Vec<Listener>>,
    bell: Waker,
    unix_path: String,
}

impl Listeners {
    /// Binds the addresses of the configuration.
    pub fn bind(server: &Server, any_port: bool) -> io::Result<Self> {
        let settings = server.config.get();
        raise_limits(server, &settings);
        let mut sockets = Vec::new();
        if any_port || settings.port != 0 {
            sockets = bind_tcp(server, &settings, settings.port)?;
        }
        if !settings.unixsocket.is_empty() {
            sockets.push(bind_unix(&settings)?);
        }
        if sockets.is_empty() {
            return Err(io::Error::other("Configured to not listen anywhere, exiting."));
        }
        let unix_path = settings.unixsocket.clone();
        let sockets = Lock::new(rank::ADMIN + 6, sockets);
        Ok(Listeners { sockets, bell: Waker::new()?, unix_path })
    }

    /// Listens where `settings` says instead of where it does now; whether that worked. If not,
    /// nothing has changed.
    fn rebind(&self, server: &Server, settings: &Settings) -> bool {
        let old = server.config.get();
        let in_use = server.port.load(Ordering::Relaxed) as u16;
        let port = if settings.port == old.port { in_use } else { settings.port };
        let mut sockets = self.sockets.lock();
        let (mut tcp, unix): (Vec<_>, Vec<_>) =
            sockets.drain(..).partition(|socket| matches!(socket, Listener::Tcp(_)));
        if port == in_use {
            // An address can be bound again only when nobody listens there.
            tcp.drain(..).for_each(Listener::close);
        }
        let bound = if port == 0 { Ok(Vec::new()) } else { bind_tcp(server, settings, port) };
        let works = bound.is_ok();
        tcp = match bound {
            Ok(bound) => {
                tcp.into_iter().for_each(Listener::close);
                bound
            }
            Err(_) if tcp.is_empty() => bind_tcp(server, &old, in_use).unwrap_or_default(),
            Err(_) => tcp,
        };
        server.port.store(u64::from(if works { port } else { in_use }), Ordering::Relaxed);
        sockets.extend(tcp);
        sockets.extend(unix);
        self.bell.wake();
        works
    }

    /// Says that connections are welcome.
    pub fn announce(&self, server: &Server) {
        for socket in self.sockets.lock().iter() {
            let message = match socket {
                Listener::Tcp(_) => "Ready to accept connections tcp",
                Listener::Unix(_) => "Ready to accept connections unix",
            };
            server.logger.notice(message);
        }
    }

    /// Makes the accepting thread look whether the server has ended.
    pub fn stop(&self) {
        self.bell.wake();
        self.remove_socket_file();
    }

    /// Removes the Unix socket's file.
    pub fn remove_socket_file(&self) {
        if !self.unix_path.is_empty() {
            let _ = fs::remove_file(&self.unix_path);
        }
    }
}

/// Lets CONFIG SET change where the server listens.
pub fn install(engine: &Arc<Engine>, listeners: &Arc<Listeners>) {
    // Weak, because the server holds the closure and would otherwise hold itself.
    let (weak, listeners) = (Arc::downgrade(engine), Arc::clone(listeners));
    engine.server.set_rebinder(Box::new(move |settings| {
        weak.upgrade().is_some_and(|engine| listeners.rebind(&engine.server, settings))
    }));
}

fn raise_limits(server: &Server, settings: &Settings) {
    if let Err((limit, fits)) = reserve_sockets(settings.maxclients) {
        server.logger.warning(&format!(
            "You requested maxclients of {}, but only {limit} files may be open. maxclients has \
             been reduced to {fits}.",
            settings.maxclients
        ));
        server.config.update(|settings| settings.maxclients = fits);
    }
}

/// Binds all addresses. An address with a `-` in front may be missing on this machine.
fn bind_tcp(server: &Server, settings: &Settings, port: u16) -> io::Result<Vec<Listener>> {
    let mut bound: Vec<Listener> = Vec::new();
    let mut port = port;
    let both = settings.bind.iter().any(|a| a.trim_start_matches('-') == "::*");
    for address in &settings.bind {
        let (address, optional) = match address.strip_prefix('-') {
            Some(rest) => (rest, true),
            None => (address.as_str(), false),
        };
        // std's socket for all IPv6 addresses takes IPv4 connections too, so the two wildcards
        // share one.
        let result = match address {
            "*" if both => {
                TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))
            }
            "*" => TcpListener::bind(("0.0.0.0", port)),
            "::*" if !bound.is_empty() => continue,
            "::*" => TcpListener::bind(("::", port)),
            address => TcpListener::bind((address, port)),
        };
        match result {
            Ok(socket) => {
                port = socket.local_addr()?.port();
                sys::set_backlog(socket.as_raw_fd(), settings.tcp_backlog as i32)?;
                socket.set_nonblocking(true)?;
                bound.push(Listener::Tcp(socket));
            }
            Err(e) if optional && e.kind() != ErrorKind::AddrInUse => {}
            Err(e) => {
                let message = format!(
                    "Could not create server TCP listening socket {address}:{port}: bind: {e}"
                );
                server.logger.warning(&message);
                let message = format!("Failed listening on port {port} ({e}), aborting.");
                return Err(io::Error::new(e.kind(), message));
            }
        }
    }
    server.port.store(u64::from(port), Ordering::Relaxed);
    Ok(bound)
}

fn bind_unix(settings: &Settings) -> io::Result<Listener> {
    let path = &settings.unixsocket;
    let _ = fs::remove_file(path);
    // The mask keeps the socket closed to others until its mode is set.
    let mask = sys::set_umask(0o777);
    let socket = UnixListener::bind(path);
    sys::set_umask(mask);
    let socket = socket.map_err(|e| {
        io::Error::new(e.kind(), format!("Failed opening Unix socket {path}: bind: {e}"))
    })?;
    let mode = if settings.unixsocketperm == 0 { 0o777 & !mask } else { settings.unixsocketperm };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.set_nonblocking(true)?;
    Ok(Listener::Unix(socket))
}

/// Accepts connections until the server ends.
pub fn run(
    engine: &Arc<Engine>,
    listeners: &Listeners,
    threads: &Arc<Threads>,
    attendants: &Arc<Attendants>,
) {
    loop {
        let mut list: Vec<Interest> = {
            let sockets = listeners.sockets.lock();
            sockets.iter().map(|socket| Interest::new(socket.fd(), POLL_IN)).collect()
        };
        list.push(Interest::new(listeners.bell.fd(), POLL_IN));
        wait_for(&mut list, Some(Duration::from_secs(1)));
        if engine.server.has_ended() {
            listeners.sockets.lock().clear();
            return;
        }
        listeners.bell.clear();
        let ready = |socket: &&Listener| {
            list.iter().any(|interest| interest.fd == socket.fd() && interest.happened != 0)
        };
        let sockets = listeners.sockets.lock();
        let mut accepted = Vec::new();
        for socket in sockets.iter().filter(ready) {
            accept_all(engine, socket, &mut accepted);
        }
        drop(sockets);
        for stream in accepted {
            welcome(engine, stream, &listeners.unix_path, threads, attendants);
        }
    }
}

/// Accepts at most this many connections of one socket before the others have their turn.
const ACCEPT_BATCH: usize = 1000;

fn accept_all(engine: &Arc<Engine>, socket: &Listener, accepted: &mut Vec<Stream>) {
    for _ in 0..ACCEPT_BATCH {
        match socket.accept() {
            Ok(stream) => accepted.push(stream),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {
            }
            Err(e) => {
                let message = format!("Error accepting a client connection: {e}");
                engine.server.logger.log(Level::Warning, &message);
                std::thread::sleep(Duration::from_millis(20));
                return;
            }
        }
    }
}

/// Greets a connection or sends it away.
fn welcome(
    engine: &Arc<Engine>,
    stream: Stream,
    unix_path: &str,
    threads: &Arc<Threads>,
    attendants: &Arc<Attendants>,
) {
    let server = &engine.server;
    let settings = server.config.get();
    if let Some(refusal) = refusal(server, &settings, &stream) {
        server.stats.refused.fetch_add(1, Ordering::Relaxed);
        let mut out = Out::new();
        out.error(&refusal);
        for chunk in out.chunks() {
            let _ = sys::send_nowait(stream.fd(), &[IoSlice::new(chunk)]);
        }
        return;
    }
    if prepare(&stream, &settings).is_err() {
        return;
    }
    server.stats.connections.fetch_add(1, Ordering::Relaxed);
    let handle = server.clients.add(stream, unix_path, 0);
    let id = handle.id;
    // Decided here and not in its thread: a password that is set from now on is for later
    // connections.
    let mut session = Session::new(handle, Role::Client);
    session.forget_user(&server.acl);
    let engine = Arc::clone(engine);
    let spawned = threads.spawn("client", {
        let (engine, attendants) = (Arc::clone(&engine), Arc::clone(attendants));
        move || connection::serve(&engine, &attendants, session)
    });
    if let Err(e) = spawned {
        engine.server.clients.remove(id);
        let message = format!("Cannot start a thread for a client connection: {e}");
        engine.server.logger.log(Level::Warning, &message);
    }
}

fn prepare(stream: &Stream, settings: &Settings) -> io::Result<()> {
    match stream {
        Stream::Tcp(tcp) => {
            tcp.set_nonblocking(false)?;
            tcp.set_nodelay(true)?;
            if settings.tcp_keepalive > 0 {
                // Systems have a highest number of seconds. Beyond it a client is served without.
                let _ = sys::set_keepalive(tcp.as_raw_fd(), settings.tcp_keepalive);
            }
            Ok(())
        }
        Stream::Unix(unix) => unix.set_nonblocking(false),
    }
}

fn refusal(server: &Server, settings: &Settings, stream: &Stream) -> Option<Error> {
    if server.clients.count() >= settings.maxclients {
        return Some(Error::MAX_CLIENTS);
    }
    let open = settings.protected_mode && server.acl.default_user().needs_no_password();
    match stream {
        Stream::Tcp(tcp) if open && !is_loopback(tcp) => Some(Error::PROTECTED_MODE),
        _ => None,
    }
}

fn is_loopback(tcp: &TcpStream) -> bool {
    tcp.peer_addr().is_ok_and(|addr| addr.ip().to_canonical().is_loopback())
}
