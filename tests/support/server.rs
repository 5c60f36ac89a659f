//! Starts the program under test, or a real redis-server, and makes sure that it ends.
//!
//! The program is the crate's binary, or what the environment variable `FERRODIS_TEST_SERVER`
//! names (a path, or a name in PATH): with `redis-server` there, the tests themselves are tested.

use super::client::{Client, PATIENCE, RecvError, Value};
use super::tmp::TempDir;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Ports are taken from here: above the well-known ones and below the range from which Linux
/// takes the local ports of outgoing connections, which would collide at random.
const FIRST_PORT: u16 = 20_000;
const PORT_COUNT: u16 = 12_000;

/// The name of a configuration file in the directory in which a server is started.
const CONF: &str = "redis.conf";

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// A TCP port on which nobody listens now. Test processes that run side by side start their
/// search at different places.
///
/// It asks by connecting. Who listens for a moment to find out may leave a listener behind: a
/// process that another test starts at that moment has inherited it, until its `exec`.
pub fn free_port() -> u16 {
    let offset = std::process::id().wrapping_mul(379) as u16;
    for _ in 0..PORT_COUNT {
        let step = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + offset.wrapping_add(step) % PORT_COUNT;
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            return port;
        }
    }
    panic!("no free port");
}

/// A running server process, killed on drop.
pub struct Server {
    child: Child,
    program: OsString,
    flags: Vec<String>,
    port: u16,
    /// Holds the log, and `cwd` with nothing but what the server puts there.
    home: TempDir,
}

/// Starts real redis-servers, for the ignored tests that use one as the oracle.
pub struct RealRedis;

impl RealRedis {
    /// redis-server from PATH without persistence and with DEBUG allowed, then `flags`.
    pub fn start(flags: &[&str]) -> Server {
        let mut all = vec!["--save", "", "--enable-debug-command", "yes"];
        all.extend_from_slice(flags);
        Server::start_program("redis-server".into(), None, &all)
    }
}

impl Server {
    /// Starts the program under test with `--port <free port>` and `flags`, and waits until it
    /// answers PING.
    pub fn start(flags: &[&str]) -> Server {
        Server::start_program(Server::program(), None, flags)
    }

    /// As [`Server::start`], with a configuration file that says `text`: [`Server::conf`].
    pub fn start_with_conf(text: &str, flags: &[&str]) -> Server {
        Server::start_program(Server::program(), Some(text), flags)
    }

    /// As [`Server::start`], on a given port.
    pub fn start_on(port: u16, flags: &[&str]) -> Server {
        let mut server = Server::spawn(Server::program(), port, None, flags);
        if !server.answers() {
            panic!("no server on port {port}; its log:\n{}", server.log());
        }
        server
    }

    /// Starts the program and does not wait for anything.
    pub fn start_unready(flags: &[&str]) -> Server {
        Server::spawn(Server::program(), free_port(), None, flags)
    }

    fn program() -> OsString {
        std::env::var_os("FERRODIS_TEST_SERVER")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_ferrodis").into())
    }

    fn start_program(program: OsString, conf: Option<&str>, flags: &[&str]) -> Server {
        // Between the search for a free port and the start somebody else may take the port.
        for _ in 0..3 {
            let mut server = Server::spawn(program.clone(), free_port(), conf, flags);
            if server.answers() {
                return server;
            }
            let log = server.log();
            if !log.contains("in use") {
                panic!("{program:?} {flags:?} did not start; its log:\n{log}");
            }
        }
        panic!("{program:?} found no free port");
    }

    fn spawn(program: OsString, port: u16, conf: Option<&str>, flags: &[&str]) -> Server {
        let home = TempDir::new("ferrodis-server");
        fs::create_dir(home.path().join("cwd")).expect("a working directory can be made");
        if let Some(text) = conf {
            fs::write(home.path().join("cwd").join(CONF), text).expect("a file can be written");
        }
        let flags: Vec<String> = flags.iter().map(|f| f.to_string()).collect();
        Server {
            child: spawn_child(&program, port, &flags, home.path()),
            program,
            flags,
            port,
            home,
        }
    }

    /// Starts the process again: same port, flags and working directory. The old one must have
    /// ended.
    pub fn relaunch(&mut self) {
        assert!(self.exited().is_some(), "the old process still runs");
        self.child = spawn_child(&self.program, self.port, &self.flags, self.home.path());
        if !self.answers() {
            panic!("no relaunch on {}; the log:\n{}", self.port, self.log());
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory in which the server was started.
    pub fn cwd(&self) -> PathBuf {
        self.home.path().join("cwd")
    }

    /// The configuration file of [`Server::start_with_conf`].
    pub fn conf(&self) -> PathBuf {
        self.cwd().join(CONF)
    }

    /// The names of the entries of [`Server::cwd`].
    pub fn cwd_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cwd()).expect("the working directory can be listed");
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// All that the server wrote to stdout and stderr so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.home.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.addr())
    }

    /// Sends SIGTERM. It needs the `kill` program, std having no such call.
    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("kill can be run").success(), "kill -{name}");
    }

    /// Has a client end the server without saving, and asserts that it ends well.
    pub fn shut_down(&mut self, mut client: Client) {
        client.send(&["SHUTDOWN", "NOSAVE"]);
        client.expect_closed();
        let status = self.wait_exit(PATIENCE).expect("it ends");
        assert!(status.success(), "{status}");
    }

    /// Ends the process with SIGKILL and waits for that.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How the process ended, or `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be asked")
    }

    /// Waits for the end of the process; `None` when it still runs after `timeout`.
    pub fn wait_exit(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            let status = self.exited();
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the server answers PING with anything but LOADING; `false` when the process
    /// ends first or time runs out.
    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.exited().is_some() {
                return false;
            }
            let stream = TcpStream::connect(self.addr());
            // Whoever answers on this port, it must not be in place of a process that has ended.
            if stream.is_ok_and(|s| answers_ping(Client::over(s))) && self.exited().is_none() {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn answers_ping(mut client: Client) -> bool {
    let sent = client.try_send_raw(b"*1\r\n$4\r\nPING\r\n");
    match sent.map(|()| client.recv_timeout(Duration::from_secs(2))) {
        Ok(Ok(Value::Error(text))) => !text.starts_with(b"LOADING"),
        Ok(Ok(_)) => true,
        Ok(Err(RecvError::Protocol(what))) => panic!("reply to PING: {what}"),
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Like the course's tester: a stdin that stays open and silent, an inherited environment.
fn spawn_child(program: &OsString, port: u16, flags: &[String], home: &Path) -> Child {
    let log = append_to(&home.join("log")).expect("a log file can be made");
    let also_log = log.try_clone().expect("a file handle can be doubled");
    let cwd = home.join("cwd");
    Command::new(program)
        .args(cwd.join(CONF).exists().then_some(CONF))
        .arg("--port")
        .arg(port.to_string())
        .args(flags)
        .current_dir(cwd)
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(also_log)
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {program:?}: {e}"))
}

fn append_to(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}
