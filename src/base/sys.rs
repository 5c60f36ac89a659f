//! What std does not offer, declared by hand: the only file of the crate with `unsafe`.
//!
//! Linux and the other Unix systems with the same constants; each wrapper is safe to call with any
//! arguments.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_int;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// glibc's `msghdr`.
#[repr(C)]
struct Message<'a> {
    name: *const u8,
    name_len: u32,
    pieces: *const IoSlice<'a>,
    piece_count: usize,
    control: *const u8,
    control_len: usize,
    flags: c_int,
}

#[repr(C)]
struct RLimit {
    current: u64,
    maximum: u64,
}

#[repr(C)]
#[derive(Default)]
struct Timeval {
    seconds: i64,
    micros: i64,
}

#[repr(C)]
#[derive(Default)]
struct Rusage {
    user: Timeval,
    system: Timeval,
    rest: [i64; 14],
}

/// Room for glibc's `sigset_t` (1,024 bits).
type SigSet = [u64; 16];

unsafe extern "C" {
    fn send(fd: c_int, buf: *const u8, len: usize, flags: c_int) -> isize;
    fn sendmsg(fd: c_int, message: *const Message, flags: c_int) -> isize;
    fn poll(fds: *mut Interest, count: u64, timeout_ms: c_int) -> c_int;
    fn listen(fd: c_int, backlog: c_int) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_int, len: u32) -> c_int;
    fn getrlimit(resource: c_int, limit: *mut RLimit) -> c_int;
    fn setrlimit(resource: c_int, limit: *const RLimit) -> c_int;
    fn getrusage(who: c_int, usage: *mut Rusage) -> c_int;
    fn sigemptyset(set: *mut SigSet) -> c_int;
    fn sigaddset(set: *mut SigSet, signal: c_int) -> c_int;
    fn pthread_sigmask(how: c_int, set: *const SigSet, old: *mut SigSet) -> c_int;
    fn sigwait(set: *const SigSet, signal: *mut c_int) -> c_int;
    fn malloc_trim(pad: usize) -> c_int;
    fn umask(mask: u32) -> u32;
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn bind(fd: c_int, address: *const u8, len: u32) -> c_int;
    fn connect(fd: c_int, address: *const u8, len: u32) -> c_int;
}

const MSG_DONTWAIT: c_int = 0x40;
const MSG_NOSIGNAL: c_int = 0x4000;
const AF_INET: c_int = 2;
const AF_INET6: c_int = 10;
const SOCK_STREAM: c_int = 1;
const SOCK_CLOEXEC: c_int = 0x8_0000;
const SOL_SOCKET: c_int = 1;
const SO_KEEPALIVE: c_int = 9;
const IPPROTO_TCP: c_int = 6;
const TCP_KEEPIDLE: c_int = 4;
const TCP_KEEPINTVL: c_int = 5;
const TCP_KEEPCNT: c_int = 6;
const RLIMIT_NOFILE: c_int = 7;
const SIG_BLOCK: c_int = 0;

/// Pieces that are sent at once: so many take no memory of the kernel's (`UIO_FASTIOV`).
pub const PIECES_MAX: usize = 8;

/// The interrupt signal (Ctrl-C).
pub const SIGINT: i32 = 2;
/// The polite request to end.
pub const SIGTERM: i32 = 15;
/// A file has reached the size that the operating system allows. Where the signal is blocked the
/// write fails instead.
pub const SIGXFSZ: i32 = 25;

/// Readable, or an end of file to read.
pub const POLL_IN: i16 = 0x001;
/// Writable.
pub const POLL_OUT: i16 = 0x004;
/// An error or hang-up; always reported.
pub const POLL_ERR_HUP: i16 = 0x008 | 0x010 | 0x020;
/// The peer has closed its sending side.
pub const POLL_RDHUP: i16 = 0x2000;

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends what the socket takes at once of some pieces, up to [`PIECES_MAX`]; `WouldBlock` when it
/// takes nothing.
pub fn send_nowait(fd: RawFd, pieces: &[IoSlice]) -> io::Result<usize> {
    let flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    let sent = if let [bytes] = pieces {
        // SAFETY: the pointer and length are those of a live slice, which `send` only reads.
        unsafe { send(fd, bytes.as_ptr(), bytes.len(), flags) }
    } else {
        let message = Message {
            name: ptr::null(),
            name_len: 0,
            pieces: pieces.as_ptr(),
            piece_count: pieces.len().min(PIECES_MAX),
            control: ptr::null(),
            control_len: 0,
            flags: 0,
        };
        // SAFETY: the message lives, `IoSlice` is an `iovec` by its documentation, and the pieces
        // are live slices, which `sendmsg` only reads; there is no name and no control data.
        unsafe { sendmsg(fd, &message, flags) }
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// One descriptor to wait for, and what happened to it: the layout is that of `struct pollfd`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Interest {
    /// The descriptor.
    pub fd: RawFd,
    /// Wanted events (`POLL_*`).
    pub wanted: i16,
    /// Events that happened; filled by [`wait_for`].
    pub happened: i16,
}

impl Interest {
    /// Waits for `wanted` on `fd`.
    pub fn new(fd: RawFd, wanted: i16) -> Self {
        Interest { fd, wanted, happened: 0 }
    }
}

/// Waits until one of the descriptors has an event, or the time is over (`None`: for ever). Returns
/// how many have one; an interrupted wait counts as none.
pub fn wait_for(list: &mut [Interest], timeout: Option<Duration>) -> usize {
    // Rounded up: a wait of half a millisecond must not become a busy loop of zero ones.
    let timeout_ms = timeout
        .map_or(-1, |t| c_int::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX));
    // SAFETY: `list` is a live array of `list.len()` structs with the layout of `struct pollfd`.
    let ready = unsafe { poll(list.as_mut_ptr(), list.len() as u64, timeout_ms) };
    usize::try_from(ready).unwrap_or_else(|_| {
        list.iter_mut().for_each(|interest| interest.happened = 0);
        0
    })
}

/// Connects from a local address, with a port that the operating system chooses.
pub fn connect_from(local: IpAddr, remote: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let family = if remote.is_ipv4() { AF_INET } else { AF_INET6 };
    // SAFETY: `socket` takes three integers and touches no memory of ours.
    let fd = unsafe { socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    check(fd.min(0))?;
    // SAFETY: the descriptor has just been made, so that nobody else owns it.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let (local, len) = raw_address(SocketAddr::new(local, 0));
    // SAFETY: the address is a live array that is no shorter than the length says.
    check(unsafe { bind(stream.as_raw_fd(), local.as_ptr(), len) })?;
    // On Linux this bounds the time that connecting takes, too.
    stream.set_write_timeout(Some(timeout))?;
    let (remote, len) = raw_address(remote);
    // SAFETY: as above.
    check(unsafe { connect(stream.as_raw_fd(), remote.as_ptr(), len) })?;
    stream.set_write_timeout(None)?;
    Ok(stream)
}

/// An address with the layout of `struct sockaddr_in` or `struct sockaddr_in6`, and its length.
fn raw_address(address: SocketAddr) -> ([u8; 28], u32) {
    let mut raw = [0; 28];
    raw[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            raw[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
            raw[4..8].copy_from_slice(&v4.ip().octets());
            (raw, 16)
        }
        SocketAddr::V6(v6) => {
            raw[..2].copy_from_slice(&(AF_INET6 as u16).to_ne_bytes());
            raw[8..24].copy_from_slice(&v6.ip().octets());
            raw[24..].copy_from_slice(&v6.scope_id().to_ne_bytes());
            (raw, 28)
        }
    }
}

/// Sets the accept backlog of a listening socket.
pub fn set_backlog(fd: RawFd, backlog: i32) -> io::Result<()> {
    // SAFETY: `listen` takes two integers and touches no memory of ours.
    check(unsafe { listen(fd, backlog) })
}

/// Turns TCP keep-alive on: the first probe after `seconds`, two more at a third of it.
pub fn set_keepalive(fd: RawFd, seconds: u32) -> io::Result<()> {
    let seconds = c_int::try_from(seconds).unwrap_or(c_int::MAX);
    let options = [
        (SOL_SOCKET, SO_KEEPALIVE, 1),
        (IPPROTO_TCP, TCP_KEEPIDLE, seconds),
        (IPPROTO_TCP, TCP_KEEPINTVL, (seconds / 3).max(1)),
        (IPPROTO_TCP, TCP_KEEPCNT, 3),
    ];
    for (level, name, value) in options {
        // SAFETY: the value pointer is to a live `c_int` and the length says so.
        check(unsafe { setsockopt(fd, level, name, &raw const value, size_of::<c_int>() as u32) })?;
    }
    Ok(())
}

/// Raises the soft limit of open files to at least `wanted` where the hard limit allows it; returns
/// the limit in force.
pub fn raise_open_files(wanted: u64) -> u64 {
    let mut limit = RLimit { current: 0, maximum: 0 };
    // SAFETY: `limit` is a live struct with the layout of `struct rlimit` on 64-bit systems.
    if unsafe { getrlimit(RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 1024;
    }
    if limit.current < wanted {
        // A privileged process may raise the hard limit too.
        let attempts =
            [(wanted, limit.maximum.max(wanted)), (wanted.min(limit.maximum), limit.maximum)];
        for (current, maximum) in attempts {
            let raised = RLimit { current, maximum };
            // SAFETY: as above; `setrlimit` only reads the struct.
            if unsafe { setrlimit(RLIMIT_NOFILE, &raw const raised) } == 0 {
                return current;
            }
        }
    }
    limit.current
}

/// CPU time used so far, as (user, system), of this process or of its ended children.
pub fn cpu_times(children: bool) -> (Duration, Duration) {
    let mut usage = Rusage::default();
    // SAFETY: `usage` is a live struct with the layout of `struct rusage` on 64-bit systems.
    if unsafe { getrusage(if children { -1 } else { 0 }, &raw mut usage) } != 0 {
        return (Duration::ZERO, Duration::ZERO);
    }
    let duration = |t: &Timeval| Duration::new(t.seconds as u64, t.micros as u32 * 1000);
    (duration(&usage.user), duration(&usage.system))
}

/// Signals that are delivered to [`Signals::wait`] instead of ending the process.
#[derive(Debug)]
pub struct Signals(SigSet);

impl Signals {
    /// Blocks the signals for this thread and those it spawns from now on: call it before any other
    /// thread exists.
    pub fn block(signals: &[i32]) -> io::Result<Signals> {
        let mut set: SigSet = [0; 16];
        // SAFETY: `set` has the size of `sigset_t` and lives across the calls, which write only to
        // it.
        unsafe {
            sigemptyset(&raw mut set);
            for &signal in signals {
                sigaddset(&raw mut set, signal);
            }
            if pthread_sigmask(SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::other("cannot block signals"));
            }
        }
        Ok(Signals(set))
    }

    /// Waits for the next of the signals and returns its number.
    pub fn wait(&self) -> i32 {
        let mut signal: c_int = 0;
        loop {
            // SAFETY: both pointers are to live values of the right types.
            if unsafe { sigwait(&raw const self.0, &raw mut signal) } == 0 {
                return signal;
            }
        }
    }
}

/// Gives free heap pages back to the operating system; whether any were.
pub fn release_free_memory() -> bool {
    // SAFETY: `malloc_trim` takes an integer and only works on the allocator's own free memory.
    unsafe { malloc_trim(0) == 1 }
}

/// Sets the file mode creation mask of the process and returns the one before.
pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: `umask` takes and returns an integer and cannot fail.
    unsafe { umask(mask) }
}

/// Counters that threads share by turns, each on a cache line of its own.
const LANES: usize = 16;

#[repr(align(64))]
struct Lane(AtomicI64);

/// The system's allocator, counting the bytes in use.
///
/// The counters are the process's and not a server's, as the heap is: `#[global_allocator]` needs a
/// static.
pub struct CountingAllocator {
    lanes: [Lane; LANES],
}

thread_local! {
    static LANE: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
}

static NEXT_LANE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

impl CountingAllocator {
    /// An allocator that has given out nothing yet.
    pub const fn new() -> Self {
        CountingAllocator { lanes: [const { Lane(AtomicI64::new(0)) }; LANES] }
    }

    /// Bytes in use, as asked for (without the allocator's own overhead).
    pub fn used(&self) -> u64 {
        let total: i64 = self.lanes.iter().map(|lane| lane.0.load(Ordering::Relaxed)).sum();
        u64::try_from(total).unwrap_or(0)
    }

    fn count(&self, bytes: i64) {
        // A thread that is ending may have lost its thread-local already; lane 0 is always there.
        let lane = LANE.try_with(|lane| {
            if lane.get() == usize::MAX {
                lane.set(NEXT_LANE.fetch_add(1, Ordering::Relaxed) % LANES);
            }
            lane.get()
        });
        self.lanes[lane.unwrap_or(0)].0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Default for CountingAllocator {
    fn default() -> Self {
        Self::new()
    }
}

/// The size that a block of `size` bytes is given: a power of two, or one of the seven between it
/// and the next.
///
/// What grows by little is so moved once in a while and not each time, and a block that keeps its
/// size need not go through the system's allocator, whose lock the threads share. Small blocks and
/// large ones are taken as they are: of the ones there are too many, the others grow by factors.
pub fn class_of(size: usize) -> usize {
    if !(256..=16 * 1024).contains(&size) {
        return size;
    }
    size.next_multiple_of(size.next_power_of_two() / 16)
}

/// The layout of a block as it is asked of the system: valid, as the class of a size that a layout
/// allows is far below what is forbidden.
fn classed(layout: Layout) -> Layout {
    Layout::from_size_align(class_of(layout.size()), layout.align()).unwrap_or(layout)
}

// SAFETY: every call goes to the system allocator with the caller's own arguments, but for a size
// that is never smaller and the same function of the caller's in all calls for one block; counting
// touches no memory that is handed out.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let layout = classed(layout);
        self.count(layout.size() as i64);
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let layout = classed(layout);
        self.count(layout.size() as i64);
        // SAFETY: the caller keeps `GlobalAlloc::alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let layout = classed(layout);
        self.count(-(layout.size() as i64));
        // SAFETY: `block` came from `System` with this layout, as all blocks of this allocator do.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (layout, new_size) = (classed(layout), class_of(new_size));
        if layout.size() == new_size {
            return block;
        }
        self.count(new_size as i64 - layout.size() as i64);
        // SAFETY: as for `dealloc`; the new size is the caller's, under `GlobalAlloc::realloc`'s
        // contract, or a little more.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_enough_and_wastes_an_eighth_at_most() {
        for size in 1..200_000 {
            let class = class_of(size);
            assert!(class >= size && class <= size + size / 8, "{size}: {class}");
            assert_eq!(class_of(class), class);
        }
        assert_eq!((class_of(255), class_of(1 << 20)), (255, 1 << 20));
        assert_eq!((class_of(8180), class_of(8192), class_of(8193)), (8192, 8192, 9216));
    }
}
