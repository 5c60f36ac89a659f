//! The public face: starting a server inside a program, and the command line's `main`.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use crate::service::{self, Running};
use crate::state::config::{self, Startup, Stop};

pub use crate::base::sys::CountingAllocator;

/// The version of this program, as opposed to that of the Redis whose behaviour it has.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How a server is to be started: the parameters of redis.conf, by their names.
#[derive(Debug, Clone, Default)]
pub struct Config {
    args: Vec<Vec<u8>>,
}

impl Config {
    /// The defaults: port 6379, the current directory, nothing saved unless asked for.
    pub fn new() -> Self {
        Config::default()
    }

    /// Sets any parameter, as `--name value` does on the command line.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.args.push(format!("--{name}").into_bytes());
        self.args.push(value.as_bytes().to_vec());
        self
    }

    /// The TCP port; 0 lets the operating system choose one.
    pub fn port(self, port: u16) -> Self {
        if port == 0 {
            self.set("port", "0").set_any_port()
        } else {
            self.set("port", &port.to_string())
        }
    }

    /// Marks the port as the operating system's choice; `port 0` alone turns TCP off, as in Redis.
    fn set_any_port(mut self) -> Self {
        self.args.push(ANY_PORT.to_vec());
        self
    }
}

/// Stands among the arguments for "choose a port"; no parameter can have this name.
const ANY_PORT: &[u8] = b"\0any-port";

/// Why a server did not start.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A running server; dropping it stops it.
pub struct Server {
    running: Running,
}

impl Server {
    /// Starts a server in threads of its own and returns once it accepts connections.
    ///
    /// # Errors
    /// A parameter that does not exist or has a wrong value, a port that is taken, a data file that
    /// cannot be loaded.
    pub fn start(config: Config) -> Result<Server, StartError> {
        let any_port = config.args.iter().any(|arg| arg == ANY_PORT);
        let mut args = vec![b"ferrodis".to_vec()];
        args.extend(config.args.into_iter().filter(|arg| arg != ANY_PORT));
        let startup = match config::parse_args(&args, &mut io::empty()) {
            Ok(startup) => startup,
            Err(Stop::Error(message)) => return Err(StartError(message)),
            Err(_) => return Err(StartError("not a parameter of a server".to_owned())),
        };
        let running = service::start(startup, any_port, service::no_gauge)
            .map_err(|e| StartError(e.to_string()))?;
        running.load().map_err(|e| StartError(e.to_string()))?;
        Ok(Server { running })
    }

    /// The address to connect to from this machine.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port()))
    }

    /// The TCP port; 0 when there is none.
    pub fn port(&self) -> u16 {
        self.running.port()
    }

    /// Stops the server: connections are cut, nothing is saved. The same as dropping it.
    pub fn stop(self) {}
}

/// The program: runs until SHUTDOWN or a signal and returns the exit code.
pub fn run(args: &[Vec<u8>], memory_gauge: fn() -> u64) -> i32 {
    let startup = match config::parse_args(args, &mut io::stdin()) {
        Ok(startup) => startup,
        Err(Stop::Version) => {
            println!("{}", version_line());
            return 0;
        }
        Err(Stop::Help) => {
            print!("{}", help());
            return 0;
        }
        Err(Stop::Error(message)) => {
            eprintln!("{message}");
            return 1;
        }
    };
    serve(startup, memory_gauge)
}

fn serve(startup: Startup, memory_gauge: fn() -> u64) -> i32 {
    let signals = match service::signals::block() {
        Ok(signals) => signals,
        Err(e) => {
            eprintln!("Cannot handle signals: {e}");
            return 1;
        }
    };
    let running = match service::start(startup, false, memory_gauge) {
        Ok(running) => running,
        Err(e) => {
            eprintln!("{e}");
            return 1;
        }
    };
    // Watched while the file is loaded too, which may take long.
    service::signals::watch(signals, running.engine());
    if running.load().is_err() && !running.engine().server.has_ended() {
        return 1;
    }
    while !running.engine().server.wait_for_end(Duration::from_secs(3600)) {}
    running.finish()
}

fn version_line() -> String {
    format!(
        "Redis server v={} sha=00000000:0 malloc=libc bits=64 build=ferrodis-{VERSION}",
        config::REDIS_VERSION
    )
}

/// The parameters that are accepted, for the sake of existing configuration files, and change
/// nothing: name and reason.
pub fn parameters_without_effect() -> &'static [(&'static str, &'static str)] {
    config::NO_EFFECT
}

fn help() -> String {
    let mut text = HELP.to_owned();
    let lists = [
        ("Parameters that are accepted and change nothing:", config::NO_EFFECT),
        ("Directives of configuration files that are passed over:", config::IGNORED_DIRECTIVES),
    ];
    for (title, list) in lists {
        text.push_str(&format!("\n{title}\n"));
        for (name, reason) in list {
            text.push_str(&format!("       {name}: {reason}\n"));
        }
    }
    text
}

const HELP: &str = "\
Usage: ferrodis [/path/to/redis.conf] [options] [-]
       ferrodis - (read the configuration from standard input)
       ferrodis -v or --version
       ferrodis -h or --help

Each parameter of redis.conf is an option: --name value [value ...]

Examples:
       ferrodis --port 7777
       ferrodis --port 7777 --replicaof 127.0.0.1 8888
       ferrodis /etc/redis.conf --loglevel verbose
       echo 'maxclients 128' | ferrodis -
";
