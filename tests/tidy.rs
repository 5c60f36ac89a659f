//! Rules of the house that the compiler does not check: which layer may use which, where `unsafe`
//! and threads may stand, how files look, and that nothing is depended on.
//!
//! Reads the sources as text. Each test collects all violations before it fails, so that one run
//! shows everything there is to mend.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const MAX_COLUMNS: usize = 100;
const MAX_LINES: usize = 1000;

/// The layers and their ranks. A module uses only modules of lower ranks, so two of the same rank
/// do not know each other. The files `main`, `lib` and `embed` are above all of them.
const LAYERS: [(&str, u8); 10] = [
    ("base", 0),
    ("resp", 1),
    ("data", 1),
    ("store", 2),
    ("log", 3),
    ("rdb", 3),
    ("state", 4),
    ("engine", 5),
    ("commands", 6),
    ("service", 7),
];

/// The files above the layers.
const TOP_FILES: [&str; 3] = ["main.rs", "lib.rs", "embed.rs"];

const UNSAFE_FILE: &str = "src/base/sys.rs";

/// Files with statics that belong to a thread or the process and to no server: the lock ranks that
/// a thread holds, and the allocator with its counters.
const STATIC_FILES: [&str; 3] = ["src/base/lock.rs", UNSAFE_FILE, "src/main.rs"];

/// Files that may write to the standard streams: the command line's answers, and log lines.
const PRINTING_FILES: [&str; 2] = ["src/embed.rs", "src/base/logger.rs"];

/// One source file.
struct Source {
    /// From the repository's root, with slashes.
    name: String,
    text: String,
    /// The text with comments and the insides of literals blanked, line by line.
    code: Vec<String>,
    /// The number of lines before the unit tests at the end of the file.
    tests_start: usize,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Source {
        let name = path.strip_prefix(root).expect("a path below the root").to_string_lossy();
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let code: Vec<String> = blank_text(&text).lines().map(str::to_owned).collect();
        // With a body: `mod tests;` stands among the other modules of a folder.
        let marker =
            code.windows(2).position(|two| two[0] == "#[cfg(test)]" && two[1].ends_with('{'));
        let all_tests = name.ends_with("/tests.rs") || name.ends_with("/testing.rs");
        let tests_start = if all_tests { 0 } else { marker.unwrap_or(code.len()) };
        Source { name: name.into_owned(), text, code, tests_start }
    }

    /// The code lines and their numbers, counted from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().enumerate().map(|(i, line)| (i + 1, line.as_str()))
    }

    /// As [`Source::code`], without the unit tests.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().take(self.tests_start)
    }

    /// The folder or file below `src`: `engine` for `src/engine/spec.rs`.
    fn layer(&self) -> &str {
        let below = self.name.strip_prefix("src/").unwrap_or(&self.name);
        below.split('/').next().unwrap_or(below)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// All Rust files below these folders of the repository, sorted.
fn sources(folders: &[&str]) -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    for folder in folders {
        rust_files(&root.join(folder), &mut paths);
    }
    paths.sort();
    assert!(!paths.is_empty(), "no source below {folders:?}");
    paths.iter().map(|path| Source::read(&root, path)).collect()
}

fn report(rule: &str, violations: &[String]) {
    let list = violations.join("\n  ");
    assert!(violations.is_empty(), "{rule}; {} places:\n  {list}", violations.len());
}

/// What the blanking is inside of.
enum Inside {
    Code,
    LineComment,
    /// Block comments nest.
    BlockComment(usize),
    Text,
    /// A raw string that ends with `"` and so many `#`.
    Raw(usize),
}

/// Replaces comments and the insides of string and character literals by blanks, keeping lines.
fn blank_text(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut inside = Inside::Code;
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let (next, used, shown) = match inside {
            Inside::Code => in_code(rest, out.chars().last()),
            Inside::LineComment if rest[0] == '\n' => (Inside::Code, 1, false),
            Inside::LineComment => (Inside::LineComment, 1, false),
            Inside::BlockComment(depth) => in_block_comment(rest, depth),
            Inside::Text if rest[0] == '\\' => (Inside::Text, 2, false),
            Inside::Text if rest[0] == '"' => (Inside::Code, 1, true),
            Inside::Text => (Inside::Text, 1, false),
            Inside::Raw(hashes) => {
                let end =
                    rest[0] == '"' && rest.iter().skip(1).take_while(is_hash).count() >= hashes;
                if end { (Inside::Code, 1 + hashes, true) } else { (inside, 1, false) }
            }
        };
        for &c in rest.iter().take(used) {
            out.push(if shown || c == '\n' { c } else { ' ' });
        }
        inside = next;
        at += used;
    }
    out
}

fn is_hash(c: &&char) -> bool {
    **c == '#'
}

/// What follows, how many characters belong to it, and whether they are shown.
fn in_code(rest: &[char], before: Option<char>) -> (Inside, usize, bool) {
    let at = |i: usize| rest.get(i).copied().unwrap_or(' ');
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match (at(0), at(1)) {
        ('/', '/') => (Inside::LineComment, 2, false),
        ('/', '*') => (Inside::BlockComment(1), 2, false),
        ('"', _) => (Inside::Text, 1, true),
        ('r', '"' | '#') if !in_word || before == Some('b') => {
            let hashes = rest[1..].iter().take_while(is_hash).count();
            match at(1 + hashes) {
                '"' => (Inside::Raw(hashes), 2 + hashes, true),
                _ => (Inside::Code, 1, true),
            }
        }
        // A character literal; a lifetime has no closing quote so near.
        ('\'', '\\') => {
            let end = rest.iter().skip(3).position(|&c| c == '\'').unwrap_or(0);
            (Inside::Code, end + 4, false)
        }
        ('\'', _) if at(2) == '\'' => (Inside::Code, 3, false),
        _ => (Inside::Code, 1, true),
    }
}

fn in_block_comment(rest: &[char], depth: usize) -> (Inside, usize, bool) {
    match (rest[0], rest.get(1)) {
        ('*', Some('/')) if depth == 1 => (Inside::Code, 2, false),
        ('*', Some('/')) => (Inside::BlockComment(depth - 1), 2, false),
        ('/', Some('*')) => (Inside::BlockComment(depth + 1), 2, false),
        _ => (Inside::BlockComment(depth), 1, false),
    }
}

/// The words of a code line: identifiers and numbers.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The names that follow `path` in a line, as `base` follows `crate::` in `crate::base::num`. Of
/// `crate::{base, resp}` both are given.
fn names_after<'a>(line: &'a str, path: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(path)
        .filter(|(at, _)| {
            !line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        })
        .flat_map(move |(at, _)| {
            let rest = &line[at + path.len()..];
            let list = rest.strip_prefix('{').map(|list| list.split('}').next().unwrap_or(list));
            list.unwrap_or(rest).split(',').take(if list.is_some() { usize::MAX } else { 1 })
        })
        .filter_map(|item| words(item).next())
}

fn rank(layer: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == layer).map(|(_, rank)| *rank)
}

#[test]
fn layers_use_only_those_below_them() {
    let mut violations = Vec::new();
    for source in sources(&["src"]) {
        let layer = source.layer();
        if TOP_FILES.contains(&layer) {
            continue;
        }
        let Some(own) = rank(layer) else {
            violations.push(format!("{}: {layer} is no layer that this test knows", source.name));
            continue;
        };
        for (number, line) in source.code() {
            for used in names_after(line, "crate::") {
                if used != layer && rank(used).is_none_or(|theirs| theirs >= own) {
                    violations.push(format!("{}:{number}: {layer} uses {used}", source.name));
                }
            }
        }
    }
    report(
        "a layer uses only lower layers (base < resp, data < store < log, rdb < ...)",
        &violations,
    );
}

/// `super::super::...` must not leave the layer, or the check above would see nothing.
#[test]
fn no_layer_is_left_by_super() {
    let mut violations = Vec::new();
    for source in sources(&["src"]) {
        // The depth of the file's module below the crate: 2 for `src/engine/spec.rs`.
        let parts = source.name.trim_start_matches("src/").trim_end_matches("/mod.rs");
        let depth = parts.split('/').count();
        for (number, line) in source.shipped() {
            let ups = line.matches("super::").count();
            let visibility = line.contains("(super)") || line.contains("(in super");
            if ups >= depth && !visibility {
                violations.push(format!("{}:{number}: {}", source.name, line.trim()));
            }
        }
    }
    report("modules of other layers are named from `crate::`", &violations);
}

#[test]
fn command_files_do_not_know_each_other() {
    let mut violations = Vec::new();
    for source in sources(&["src/commands"]) {
        // A group of several files is a folder; its files may use each other.
        let below = source.name.trim_start_matches("src/commands/");
        let own = below.split(['/', '.']).next().unwrap_or(below);
        if own == "mod" {
            continue;
        }
        for (number, line) in source.code() {
            let flat = !below.contains('/');
            let up = if flat { "super::" } else { "super::super::" };
            let through_super =
                if source.tests_start >= number { names_after(line, up).next() } else { None };
            let others = names_after(line, "crate::commands::").chain(through_super);
            for used in others.filter(|used| *used != own) {
                violations.push(format!("{}:{number}: uses {used}", source.name));
            }
        }
    }
    report("a command file never uses another command file", &violations);
}

#[test]
fn only_service_starts_threads() {
    let mut violations = Vec::new();
    for source in sources(&["src"]) {
        // A pipeline's thread ends before the call does.
        if source.layer() == "service" || source.name == "src/base/pipeline.rs" {
            continue;
        }
        for (number, line) in source.shipped() {
            if ["thread::spawn", "thread::Builder", "thread::scope"]
                .iter()
                .any(|s| line.contains(s))
            {
                violations.push(format!("{}:{number}: {}", source.name, line.trim()));
            }
        }
    }
    report("only the service layer starts threads", &violations);
}

#[test]
fn unsafe_stands_in_one_file_and_says_why() {
    let mut violations = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in source.code() {
            let place = format!("{}:{number}", source.name);
            let wrong_file = source.name != UNSAFE_FILE;
            if wrong_file && words(line).any(|w| w == "unsafe" || w == "unsafe_code") {
                violations.push(format!("{place}: unsafe outside {UNSAFE_FILE}"));
            }
            let needs_reason = line.contains("unsafe {") || line.contains("unsafe impl");
            let mut above = lines[..number - 1].iter().rev().map(|l| l.trim());
            let reason = above.by_ref().take_while(|l| l.starts_with("//"));
            if needs_reason && !reason.into_iter().any(|l| l.starts_with("// SAFETY: ")) {
                violations.push(format!("{place}: no `// SAFETY:` above it"));
            }
        }
    }
    report("unsafe code stands in one file, each block with its reason", &violations);
}

/// Several servers live in one process, so no state is a static.
#[test]
fn statics_hold_no_state() {
    let holders = ["Atomic", "Mutex", "RwLock", "Lock<", "Cell", "OnceLock", "mut "];
    let mut violations = Vec::new();
    for source in sources(&["src"]) {
        if STATIC_FILES.contains(&source.name.as_str()) {
            continue;
        }
        for (number, line) in source.shipped() {
            let item = line.trim_start().trim_start_matches("pub ").strip_prefix("static ");
            if item.is_some_and(|item| holders.iter().any(|h| item.contains(h))) {
                violations.push(format!("{}:{number}: {}", source.name, line.trim()));
            }
        }
    }
    report("a static holds no state", &violations);
}

#[test]
fn files_open_with_what_they_are() {
    let opens = |source: &Source| source.text.starts_with("//! ");
    let violations: Vec<String> = sources(&["src", "tests", "benches"])
        .iter()
        .filter(|source| !opens(source))
        .map(|source| source.name.clone())
        .collect();
    report("a file opens with `//!` and what it is", &violations);
}

#[test]
fn lines_and_files_are_short() {
    let mut violations = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        for (i, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS {
                violations.push(format!("{}:{}: {columns} columns", source.name, i + 1));
            }
        }
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            violations.push(format!("{}: {lines} lines", source.name));
        }
    }
    let rule = format!("lines have up to {MAX_COLUMNS} columns, files up to {MAX_LINES} lines");
    report(&rule, &violations);
}

#[test]
fn nothing_is_left_to_do() {
    // Put together here, so that this file does not find itself.
    let calls = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!"));
    let prints = ["print", "println", "eprint", "eprintln"].map(|name| format!("{name}!"));
    let marks = [["FIX", "ME"], ["TO", "DO"], ["XX", "X"]].map(|halves| halves.concat());
    let mut violations = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        let prints_allowed = PRINTING_FILES.contains(&source.name.as_str());
        let shipped = source.name.starts_with("src/") && !prints_allowed;
        for (number, line) in source.code() {
            let calls_it = |call: &String| {
                line.match_indices(call.as_str())
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            let left = calls.iter().find(|call| calls_it(call));
            let print = prints.iter().find(|call| shipped && calls_it(call));
            for what in left.into_iter().chain(print) {
                violations.push(format!("{}:{number}: {what}", source.name));
            }
        }
        for (i, line) in source.text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| words(line).any(|w| w == mark.as_str())) {
                violations.push(format!("{}:{}: {mark}", source.name, i + 1));
            }
        }
    }
    report("no marks of unfinished work, no stray printing", &violations);
}

#[test]
fn nothing_is_depended_on() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect(name);
    let manifest = read("Cargo.toml");
    let sections = manifest.lines().map(str::trim).filter(|l| l.starts_with('['));
    let wrong: Vec<String> =
        sections.filter(|l| l.contains("dependencies")).map(str::to_owned).collect();
    report("Cargo.toml has no section of dependencies", &wrong);
    let lock = read("Cargo.lock");
    let packages: Vec<&str> = lock.lines().filter(|l| l.starts_with("name = ")).collect();
    assert_eq!(packages, ["name = \"ferrodis\""], "the packages of Cargo.lock");
    assert!(!root().join("build.rs").exists(), "the build runs no script");
}

/// The names of commands and subcommands in the sources: what stands in quotes as the first
/// argument of a builder, `Command::new("get", get)` or one of a file's own.
fn defined_commands() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in sources(&["src/commands"]) {
        for line in source.text.lines() {
            let Some((builder, arguments)) = line.split_once("(\"") else { continue };
            let is_row = builder.ends_with(|c: char| c.is_alphanumeric());
            if let Some(name) = arguments.split('"').next().filter(|_| is_row) {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn scripts_belong_to_groups_and_commands() {
    let commands = defined_commands();
    let mut violations = Vec::new();
    let scripts = root().join("tests/scripts");
    for group in fs::read_dir(&scripts).expect("the scripts can be listed") {
        let group = group.expect("a directory entry");
        let name = group.file_name().to_string_lossy().into_owned();
        if !group.path().is_dir() {
            violations.push(format!("tests/scripts/{name}: not in a group's folder"));
            continue;
        }
        for script in fs::read_dir(group.path()).expect("a group can be listed") {
            let path = script.expect("a directory entry").path();
            let command = path.file_stem().expect("a name").to_string_lossy().into_owned();
            // The first word of `config-get` is the command; further ones name a part of it.
            let first = command.split(['-', '_']).next().unwrap_or(&command);
            if !commands.contains(&command) && !commands.contains(first) {
                violations.push(format!("tests/scripts/{name}/{command}.txt: no such command"));
            }
        }
    }
    report("a script stands in its group's folder under its command's name", &violations);
}

/// The reader of the sources itself.
#[test]
fn comments_and_literals_are_blanked() {
    let cases = [
        ("a // b", "a     "),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"x // y\") // z", "f(\"      \")     "),
        ("'\"' + b'\\'' + \"a\\\"b\"", "    + b     + \"    \""),
        ("r#\"a\"b\"# c", "r#\"   \"# c"),
        ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
        ("'\\u{41}' x", "         x"),
        ("attr r", "attr r"),
    ];
    for (text, blanked) in cases {
        assert_eq!(blank_text(text), blanked, "{text}");
    }
    let names: Vec<&str> = names_after("use crate::{base, resp::out};", "crate::").collect();
    assert_eq!(names, ["base", "resp"]);
    let names: Vec<&str> = names_after("crate::data::f(crate::store::G)", "crate::").collect();
    assert_eq!(names, ["data", "store"]);
}

/// A parameter whose value nothing reads must be among those that are said to change nothing.
#[test]
fn a_parameter_has_an_effect_or_is_said_to_have_none() {
    let sources = sources(&["src"]);
    let settings = sources.iter().find(|source| source.name == "src/state/config/settings.rs");
    let fields: Vec<&str> = settings
        .expect("the file with the settings")
        .code()
        .skip_while(|(_, line)| !line.starts_with("pub struct Settings {"))
        .skip(1)
        .take_while(|(_, line)| *line != "}")
        .filter_map(|(_, line)| line.trim().strip_prefix("pub ")?.split(':').next())
        .collect();
    assert!(fields.contains(&"maxmemory"), "the fields are found");
    // Who only translates between values and texts does not count.
    let texts = ["settings", "table", "special"].map(|n| format!("src/state/config/{n}.rs"));
    let read: BTreeSet<&str> = sources
        .iter()
        .filter(|source| !texts.contains(&source.name))
        .flat_map(Source::shipped)
        .flat_map(|(_, line)| line.split('.').skip(1).filter_map(|rest| words(rest).next()))
        .collect();
    let without: BTreeSet<String> = ferrodis::embed::parameters_without_effect()
        .iter()
        .map(|(name, _)| name.replace('-', "_"))
        .collect();
    let violations: Vec<String> = fields
        .iter()
        .filter(|field| !read.contains(*field) && !without.contains(**field))
        .map(|field| (*field).to_owned())
        .collect();
    report("a parameter is read somewhere, or said to have no effect", &violations);
}
