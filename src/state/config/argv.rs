//! The command line, as redis-server takes it: `[file] [--name value ...] [-]`.
//!
//! The arguments become lines of configuration text behind the file's and standard input's, so that
//! they win and that there is one syntax for all three.

use std::io::Read;
use std::path::PathBuf;

use super::files::{absolute, read_all, read_text};
use super::kinds::Bytes;
use super::parse::{self, Declared};
use super::settings::Settings;
use super::special::os_text;
use crate::base::quote;

/// What a server starts with.
#[derive(Clone, Debug, PartialEq)]
pub struct Startup {
    /// The values of all parameters.
    pub settings: Settings,
    /// The absolute path of the configuration file, if there was one.
    pub config_file: Option<PathBuf>,
    /// What the configuration declares besides.
    pub declared: Declared,
}

/// Why no server starts.
#[derive(Debug, PartialEq)]
pub enum Stop {
    /// The version was asked for.
    Version,
    /// The usage was asked for.
    Help,
    /// Something is wrong: the text to print to standard error, without the newline at its end. The
    /// exit status is 1.
    Error(String),
}

/// Reads the command line (its first element is the program) and all that it refers to.
///
/// # Errors
/// Why there is nothing to start.
pub fn parse_args(argv: &[Bytes], stdin: &mut dyn Read) -> Result<Startup, Stop> {
    let mut settings = Settings::default();
    let Some(first) = argv.get(1) else {
        return Ok(Startup { settings, config_file: None, declared: Declared::default() });
    };
    refuse_modes(argv, first)?;
    let config_file = (!first.starts_with(b"-")).then(|| absolute(&settings.dir, first));
    let mut text = match &config_file {
        Some(path) => read_all(path).map_err(Stop::Error)?,
        None => Bytes::new(),
    };
    let (options, from_stdin) = options_text(argv, if config_file.is_some() { 2 } else { 1 });
    if from_stdin {
        read_text(stdin, &mut text).map_err(|error| {
            let why = os_text(&error);
            Stop::Error(format!("Fatal error, can't read config from stdin: {why}"))
        })?;
    }
    // The empty line before the options is Redis's: line numbers in errors count it.
    text.push(b'\n');
    text.extend_from_slice(&options);
    let declared = parse::load(&mut settings, &text).map_err(Stop::Error)?;
    parse::check_log_file(&settings).map_err(Stop::Error)?;
    Ok(Startup { settings, config_file, declared })
}

/// Answers the arguments that ask for something else than a server.
fn refuse_modes(argv: &[Bytes], first: &[u8]) -> Result<(), Stop> {
    match first {
        b"-v" | b"--version" => return Err(Stop::Version),
        b"-h" | b"--help" => return Err(Stop::Help),
        b"--test-memory" | b"--check-system" => {
            let name = String::from_utf8_lossy(first);
            return Err(Stop::Error(format!("{name} is not supported")));
        }
        _ => {}
    }
    if argv[1..].iter().any(|arg| arg == b"--sentinel") {
        return Err(Stop::Error("Sentinel mode is not supported".to_owned()));
    }
    Ok(())
}

/// The arguments from index `start` on as configuration text, and whether a lone `-` (the first or
/// the last argument) asks for standard input.
///
/// `--name` opens a line unless it directly follows another bare `--name`, which then takes it as
/// its value; every other argument is quoted. `--save` may lack its value, which is then empty.
fn options_text(argv: &[Bytes], start: usize) -> (Bytes, bool) {
    let mut text = Bytes::new();
    let mut from_stdin = false;
    let mut may_open_line = true;
    for (at, arg) in argv.iter().enumerate().skip(start) {
        if arg == b"-" && (at == 1 || at + 1 == argv.len()) {
            from_stdin = true;
        } else if may_open_line && arg.starts_with(b"--") {
            if !text.is_empty() {
                text.push(b'\n');
            }
            text.extend_from_slice(&arg[2..]);
            text.push(b' ');
            // "--port 6380" in one argument has its value already.
            may_open_line = quote::split_args(arg).is_none_or(|words| words.len() != 1);
            let next = argv.get(at + 1);
            let lacks_value = next.is_none_or(|next| next.starts_with(b"--"));
            if arg.eq_ignore_ascii_case(b"--save") && lacks_value {
                text.extend_from_slice(b"\"\"");
                may_open_line = true;
            }
        } else {
            quote::repr(&mut text, arg);
            text.push(b' ');
            may_open_line = true;
        }
    }
    (text, from_stdin)
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Permission, SavePoint};
    use super::super::table::PARAMS;
    use super::super::testing::TempDir;
    use super::*;

    fn start_with(stdin: &str, args: &[&str]) -> Result<Startup, Stop> {
        let argv: Vec<Bytes> =
            std::iter::once("ferrodis").chain(args.iter().copied()).map(Bytes::from).collect();
        parse_args(&argv, &mut stdin.as_bytes())
    }

    fn settings(args: &[&str]) -> Settings {
        start_with("", args).unwrap().settings
    }

    fn error(args: &[&str]) -> String {
        match start_with("", args) {
            Err(Stop::Error(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    /// The last lines of a fatal error, behind its fixed head.
    fn fatal(args: &[&str]) -> String {
        let text = error(args);
        text.strip_prefix("\n*** FATAL CONFIG FILE ERROR (Redis 7.2.4) ***\n").unwrap().to_owned()
    }

    fn save(args: &[&str]) -> String {
        let param = PARAMS.iter().find(|param| param.name == "save").unwrap();
        String::from_utf8(param.get(&settings(args))).unwrap()
    }

    #[test]
    fn without_arguments_everything_is_default() {
        let startup = start_with("", &[]).unwrap();
        let settings = Settings::default();
        assert_eq!(startup, Startup { settings, config_file: None, declared: Declared::default() });
        assert!(startup.settings.dir.is_absolute());
    }

    #[test]
    fn options_take_their_values_as_redis_reads_them() {
        assert_eq!(settings(&["--port", "1234"]).port, 1234);
        assert_eq!(settings(&["--port 1234"]).port, 1234);
        assert_eq!(settings(&["--PORT", "1", "--port", "2"]).port, 2);
        let both = settings(&["--port 7", "--enable-debug-command", "local"]);
        assert_eq!((both.port, both.enable_debug_command), (7, Permission::Local));
        let replica = Some(("127.0.0.1".to_owned(), 99));
        assert_eq!(settings(&["--replicaof", "127.0.0.1 99"]).replicaof, replica);
        assert_eq!(settings(&["--replicaof", "127.0.0.1", "99"]).replicaof, replica);
        assert_eq!(
            settings(&["--slaveof", "127.0.0.1", "99", "--replicaof", "no one"]).replicaof,
            None
        );
        assert_eq!(settings(&["--requirepass", "--x y\n"]).requirepass, b"--x y\n");
        assert_eq!(settings(&["--bind", "::1", "127.0.0.1"]).bind, ["::1", "127.0.0.1"]);
        assert!(settings(&["--bind", ""]).bind.is_empty());
        assert!(settings(&["--shutdown-on-sigint", "now force"]).shutdown_on_sigint.force);
    }

    #[test]
    fn save_has_all_the_forms_of_redis() {
        for (args, points) in [
            (&["--save", "--appendonly", "no"][..], ""),
            (&["--save"], ""),
            (&["--save", ""], ""),
            (&["--save", "3600", "1", "300", "100"], "3600 1 300 100"),
            (&["--save", "3600 1 300 100"], "3600 1 300 100"),
            (&["--save", "3600", "1", "--save", "300", "100"], "3600 1 300 100"),
            (&["--save", "3600", "1", "--save", "", "--save", "5", "5"], "5 5"),
        ] {
            assert_eq!(save(args), points, "{args:?}");
        }
    }

    #[test]
    fn file_then_stdin_then_options() {
        let dir = TempDir::new("order");
        let file = dir.write(
            "a.conf",
            "port 1\r\ntimeout 1\n# comment\n\n  hz 1\t\nsave 10 1\nsave 20 2\nsave",
        );
        let startup =
            start_with("timeout 2\nhz 2\nsave 7 7", &[&file, "--hz", "3", "--port", "4", "-"])
                .unwrap();
        let settings = &startup.settings;
        assert_eq!((settings.port, settings.timeout, settings.hz), (4, 2, 3));
        assert_eq!(settings.save.len(), 3);
        assert_eq!(settings.save[2], SavePoint { seconds: 7, changes: 7 });
        assert_eq!(startup.config_file, Some(PathBuf::from(file)));
        assert_eq!(start_with("port 9", &["-", "--timeout", "3"]).unwrap().settings.port, 9);
    }

    /// Arguments, and the message they end in behind its head.
    const FATAL: &[(&[&str], &str)] = &[
        (&["--foo"], "line 2\n>>> 'foo'\nBad directive or wrong number of arguments"),
        (&["-foo"], "line 2\n>>> '\"-foo\"'\nBad directive or wrong number of arguments"),
        (&["--port"], "line 2\n>>> 'port'\nwrong number of arguments"),
        (&["--port", "1", "2"], "line 2\n>>> 'port \"1\" \"2\"'\nwrong number of arguments"),
        (
            &["--port", "1", "-", "--timeout", "4"],
            "line 2\n>>> 'port \"1\" \"-\"'\nwrong number of arguments",
        ),
        (
            &["--port", "abc"],
            "line 2\n>>> 'port \"abc\"'\nargument couldn't be parsed into an integer",
        ),
        (
            &["--port", "--timeout", "3"],
            "line 2\n>>> 'port \"--timeout\" \"3\"'\nwrong number of arguments",
        ),
        (
            &["--port 1", "--save '"],
            "line 3\n>>> 'save ''\nUnbalanced quotes in configuration line",
        ),
        (&["--save", "3600"], "line 2\n>>> 'save \"3600\"'\nInvalid save parameters"),
        (
            &["--unixsocketperm", "8"],
            "line 2\n>>> 'unixsocketperm \"8\"'\nargument couldn't be parsed as an octal number",
        ),
        (
            &["--unixsocketperm", "1000"],
            "line 2\n>>> 'unixsocketperm \"1000\"'\nargument must be between 0 and 777 inclusive",
        ),
        (&["--dir", "/nonexist"], "line 2\n>>> 'dir \"/nonexist\"'\nNo such file or directory"),
        (&["--replicaof", "h 65536"], "line 2\n>>> 'replicaof \"h 65536\"'\nInvalid master port"),
        (
            &["--include", "x", "y"],
            "line 2\n>>> 'include \"x\" \"y\"'\nBad directive or wrong number of arguments",
        ),
        (
            &["--daemonize", "maybe"],
            "line 2\n>>> 'daemonize \"maybe\"'\nargument must be 'yes' or 'no'",
        ),
    ];

    #[test]
    fn errors_look_like_those_of_redis() {
        for &(args, text) in FATAL {
            assert_eq!(
                fatal(args),
                format!("Reading the configuration file, at {text}"),
                "{args:?}"
            );
        }
        assert_eq!(
            fatal(&["--logfile", "/no/log"]),
            "Can't open the log file: No such file or directory"
        );
    }

    #[test]
    fn what_is_not_supported_is_refused_clearly() {
        assert!(error(&["--loadmodule", "a", "b"]).contains("is not supported"));
        for args in [&["--daemonize", "yes"][..], &["--cluster-enabled", "yes"]] {
            assert!(error(args).contains("not supported"), "{args:?}");
        }
        assert_eq!(error(&["--port", "1", "--sentinel"]), "Sentinel mode is not supported");
        assert_eq!(error(&["--test-memory", "5"]), "--test-memory is not supported");
        assert_eq!(start_with("", &["--version"]), Err(Stop::Version));
        assert_eq!(start_with("", &["-h"]), Err(Stop::Help));
    }

    #[test]
    fn users_are_declared_once_and_with_rules_that_can_be_right() {
        let declared = start_with(
            "user bob on +nonesuch (~a\n+get) '(~b' )\nuser al",
            &["-", "--user", "carl", "nopass"],
        );
        let Err(Stop::Error(text)) = declared else { panic!("{declared:?}") };
        assert!(text.ends_with("'(~a': Unmatched parenthesis in acl selector"), "{text}");
        let startup = start_with(
            "user bob on +nonesuch (~a +get) '(~b' )\nuser al",
            &["-", "--user", "carl", "nopass"],
        );
        let words = |user: &Vec<Bytes>| {
            user.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>()
        };
        let users: Vec<Vec<String>> = startup.unwrap().declared.users.iter().map(words).collect();
        assert_eq!(users[0], ["bob", "on", "+nonesuch", "(~a +get)", "(~b )"]);
        assert_eq!(users[1..], [vec!["al".to_owned()], vec!["carl".into(), "nopass".into()]]);
        for (args, text) in [
            (&["--user"][..], "Bad directive or wrong number of arguments"),
            (&["--user", "a", "on", "bad"], "Error in user declaration 'bad': Syntax error"),
            (
                &["--user", "a", "--user", "a"],
                "Error in user declaration 'a': Duplicate user found. A user can only be defined \
                 once in config files",
            ),
        ] {
            let error = fatal(args);
            assert!(error.ends_with(text), "{error}");
        }
    }

    #[test]
    fn includes_are_relative_bounded_and_report_their_own_lines() {
        let dir = TempDir::new("include");
        dir.write("sub.conf", "timeout 5\n");
        dir.write("bad.conf", "\nport x\n");
        dir.write("loop.conf", "include loop.conf\n");
        dir.write("twice.conf", "include twi*.conf\ninclude twi*.conf\n");
        let at = format!("dir {}\n", dir.path().display());
        let run = |line: &str| start_with(&format!("{at}{line}"), &["-"]);
        assert_eq!(run("include sub.conf\nport 3").unwrap().settings.timeout, 5);
        assert_eq!(run("include s?b.conf").unwrap().settings.timeout, 5);
        assert_eq!(run("include none*.conf").unwrap().settings.timeout, 0);
        let Err(Stop::Error(text)) = run("include bad.conf") else { panic!() };
        assert!(
            text.ends_with("at line 2\n>>> 'port x'\nargument couldn't be parsed into an integer")
        );
        let Err(Stop::Error(text)) = run("include gone.conf") else { panic!() };
        assert!(text.starts_with("Fatal error, can't open config file '/"), "{text}");
        for line in ["include loop.conf", "include twice.conf"] {
            let Err(Stop::Error(text)) = run(line) else { panic!() };
            assert!(text.contains("too many include directives"), "{text}");
        }
    }

    #[test]
    fn an_absolute_dir_stays_as_given_and_a_relative_one_is_resolved() {
        let dir = TempDir::new("dir");
        let given = format!("{}/", dir.path().display());
        assert_eq!(settings(&["--dir", &given]).dir.as_os_str(), given.as_str());
        assert_eq!(
            settings(&["--dir", &given, "--dir", "."]).dir,
            dir.path().canonicalize().unwrap()
        );
        dir.write("file", "");
        assert!(error(&["--dir", &format!("{given}file")]).ends_with("\nNot a directory"));
        assert!(error(&["--dir", ""]).ends_with("\nNo such file or directory"));
    }
}
