//! The parameters whose syntax no other parameter shares: readers, printers and rewriters.
//!
//! Each has three functions named after it: `<name>` prints, `set_<name>` reads, `<name>_lines`
//! rewrites.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::base::num;

use super::kinds::{Bytes, Line, Source};
use super::settings::{
    ClientMemory, NORMAL, OutputLimit, PUBSUB, REPLICA, SavePoint, Settings, ShutdownOn,
};
use super::values::{format_size, leading_int, parse_choice, quoted, size_of_text, store, word};
use crate::store::EventClasses;

const WRONG_NUMBER: &str = "wrong number of arguments";

fn forced(value: Bytes) -> Line {
    Line { value, forced: true }
}

fn is_one_empty(args: &[Bytes]) -> bool {
    matches!(args, [only] if only.is_empty())
}

/// The operating system's text of an error, without the number that Rust adds to it.
pub fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

// ---- dir

/// The system's `ENOENT`.
const NO_SUCH_FILE: i32 = 2;

pub fn dir(settings: &Settings) -> Bytes {
    settings.dir.as_os_str().as_bytes().to_vec()
}

/// Redis changes its working directory. Several servers can live in this process, so the path is
/// kept instead: as given if it is absolute, else resolved against the one before.
pub fn set_dir(settings: &mut Settings, args: &[Bytes], _: Source) -> Result<(), String> {
    let [given] = args else {
        return Err(WRONG_NUMBER.to_owned());
    };
    let end = given.iter().position(|&byte| byte == 0).unwrap_or(given.len());
    let given = PathBuf::from(std::ffi::OsString::from_vec(given[..end].to_vec()));
    settings.dir = resolve_dir(&settings.dir, &given).map_err(|error| os_text(&error))?;
    Ok(())
}

fn resolve_dir(base: &Path, given: &Path) -> io::Result<PathBuf> {
    if given.as_os_str().is_empty() {
        // Joining it would give the base, but no directory has an empty name.
        return Err(io::Error::from_raw_os_error(NO_SUCH_FILE));
    }
    let path = base.join(given);
    // A dot behind the path asks for what entering the directory asks for.
    fs::metadata(path.join("."))?;
    if given.is_absolute() { Ok(path) } else { fs::canonicalize(path) }
}

pub fn dir_lines(settings: &Settings) -> Vec<Line> {
    vec![forced(quoted(settings.dir.as_os_str().as_bytes()))]
}

// ---- save

pub fn save(settings: &Settings) -> Bytes {
    let points: Vec<String> = settings.save.iter().map(save_point).collect();
    points.join(" ").into()
}

fn save_point(point: &SavePoint) -> String {
    format!("{} {}", point.seconds, point.changes)
}

pub fn set_save(settings: &mut Settings, args: &[Bytes], source: Source) -> Result<(), String> {
    let clears = is_one_empty(args);
    let args = if clears { &[] } else { args };
    let mut points = Vec::new();
    for pair in args.chunks(2) {
        points.push(read_save_point(pair).ok_or_else(|| "Invalid save parameters".to_owned())?);
    }
    if clears || source == Source::Command {
        settings.save.clear();
    }
    settings.save.extend(points);
    Ok(())
}

fn read_save_point(pair: &[Bytes]) -> Option<SavePoint> {
    let [seconds, changes] = pair else {
        return None;
    };
    let seconds = leading_int(seconds, 10).filter(|&seconds| seconds >= 1)?;
    let changes = leading_int(changes, 10)?;
    Some(SavePoint {
        seconds: u64::try_from(seconds).ok()?,
        // Redis keeps the changes in 32 bits.
        changes: u64::from(u32::try_from(i32::try_from(changes).ok()?).ok()?),
    })
}

pub fn save_lines(settings: &Settings) -> Vec<Line> {
    if settings.save.is_empty() {
        // Without this line a Redis that reads the file would take its own default points.
        return vec![forced(quoted(b""))];
    }
    settings.save.iter().map(|point| forced(save_point(point).into())).collect()
}

// ---- client-output-buffer-limit

/// Names of the classes as CONFIG GET shows them, by index.
const CLASSES: [(usize, &str, &str); 3] =
    [(NORMAL, "normal", "normal"), (REPLICA, "slave", "replica"), (PUBSUB, "pubsub", "pubsub")];

pub fn output_limits(settings: &Settings) -> Bytes {
    let parts: Vec<String> = CLASSES
        .iter()
        .map(|&(class, shown, _)| {
            let limit = settings.output_limits[class];
            format!("{shown} {} {} {}", limit.hard, limit.soft, limit.soft_seconds)
        })
        .collect();
    parts.join(" ").into()
}

pub fn set_output_limits(settings: &mut Settings, args: &[Bytes], _: Source) -> Result<(), String> {
    let groups = args.chunks_exact(4);
    if !groups.remainder().is_empty() {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    for group in groups {
        let class = class_of(&group[0]).ok_or_else(|| {
            "Invalid client class specified in buffer limit configuration.".to_owned()
        })?;
        settings.output_limits[class] = read_limit(group).ok_or_else(|| {
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.".to_owned()
        })?;
    }
    Ok(())
}

fn class_of(name: &[u8]) -> Option<usize> {
    CLASSES
        .iter()
        .find(|(_, old, new)| {
            name.eq_ignore_ascii_case(old.as_bytes()) || name.eq_ignore_ascii_case(new.as_bytes())
        })
        .map(|&(class, ..)| class)
}

fn read_limit(group: &[Bytes]) -> Option<OutputLimit> {
    let seconds = i32::try_from(leading_int(&group[3], 10)?).ok()?;
    Some(OutputLimit {
        hard: size_of_text(&group[1])?,
        soft: size_of_text(&group[2])?,
        soft_seconds: u64::try_from(seconds).ok()?,
    })
}

pub fn output_limits_lines(settings: &Settings) -> Vec<Line> {
    let defaults = Settings::default();
    CLASSES
        .iter()
        .map(|&(class, _, written)| {
            let limit = settings.output_limits[class];
            let (hard, soft) = (format_size(limit.hard), format_size(limit.soft));
            Line {
                value: format!("{written} {hard} {soft} {}", limit.soft_seconds).into(),
                forced: limit != defaults.output_limits[class],
            }
        })
        .collect()
}

// ---- notify-keyspace-events

pub fn notify(settings: &Settings) -> Bytes {
    settings.notify_keyspace_events.letters().into()
}

pub fn set_notify(settings: &mut Settings, args: &[Bytes], _: Source) -> Result<(), String> {
    let [letters] = args else {
        return Err(WRONG_NUMBER.to_owned());
    };
    settings.notify_keyspace_events = EventClasses::parse(letters)
        .ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned())?;
    Ok(())
}

pub fn notify_lines(settings: &Settings) -> Vec<Line> {
    let set = settings.notify_keyspace_events;
    let value = quoted(set.letters().as_bytes());
    vec![Line { value, forced: set != EventClasses::NONE }]
}

// ---- maxmemory-clients

pub fn client_memory(settings: &Settings) -> Bytes {
    match settings.maxmemory_clients {
        ClientMemory::Bytes(bytes) => bytes.to_string().into(),
        ClientMemory::Percent(percent) => format!("{percent}%").into(),
    }
}

pub fn set_client_memory(settings: &mut Settings, args: &[Bytes], _: Source) -> Result<(), String> {
    let [text] = args else {
        return Err(WRONG_NUMBER.to_owned());
    };
    settings.maxmemory_clients = match text.strip_suffix(b"%") {
        Some(percent) => {
            let percent = num::parse_i64(percent)
                .ok_or_else(|| "argument must be a memory or percent value".to_owned())?;
            let percent = u8::try_from(percent).ok().filter(|percent| *percent <= 100);
            ClientMemory::Percent(
                percent
                    .ok_or_else(|| "percentage argument must be less or equal to 100".to_owned())?,
            )
        }
        None => {
            let bytes = size_of_text(text)
                .ok_or_else(|| "argument must be a memory or percent value".to_owned())?;
            ClientMemory::Bytes(bytes)
        }
    };
    Ok(())
}

pub fn client_memory_lines(settings: &Settings) -> Vec<Line> {
    let forced = settings.maxmemory_clients != ClientMemory::Bytes(0);
    vec![Line { value: client_memory(settings), forced }]
}

// ---- bind

/// Addresses that one `bind` may have.
const MAX_ADDRESSES: usize = 16;

pub fn bind(settings: &Settings) -> Bytes {
    settings.bind.join(" ").into()
}

pub fn set_bind(settings: &mut Settings, args: &[Bytes], _: Source) -> Result<(), String> {
    if args.len() > MAX_ADDRESSES {
        return Err("Too many bind addresses specified.".to_owned());
    }
    let args = if is_one_empty(args) { &[] } else { args };
    let mut addresses = Vec::with_capacity(args.len());
    for arg in args {
        let mut address = String::new();
        store(&mut address, arg.clone())?;
        addresses.push(address);
    }
    settings.bind = addresses;
    Ok(())
}

pub fn bind_lines(settings: &Settings) -> Vec<Line> {
    if settings.bind == Settings::default().bind {
        return Vec::new();
    }
    if settings.bind.is_empty() {
        return vec![forced(quoted(b""))];
    }
    let words: Vec<Bytes> = settings.bind.iter().map(|address| word(address)).collect();
    vec![forced(words.join(&b' '))]
}

// ---- replicaof

pub fn replicaof(settings: &Settings) -> Bytes {
    match &settings.replicaof {
        Some((host, port)) => format!("{host} {port}").into(),
        None => Bytes::new(),
    }
}

pub fn set_replicaof(settings: &mut Settings, args: &[Bytes], _: Source) -> Result<(), String> {
    let [host, port] = args else {
        return Err(WRONG_NUMBER.to_owned());
    };
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        settings.replicaof = None;
        return Ok(());
    }
    let port = leading_int(port, 10)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| "Invalid master port".to_owned())?;
    let mut name = String::new();
    store(&mut name, host.clone())?;
    settings.replicaof = Some((name, port));
    Ok(())
}

pub fn replicaof_lines(settings: &Settings) -> Vec<Line> {
    let Some((host, port)) = &settings.replicaof else {
        return Vec::new();
    };
    let mut value = word(host);
    value.extend_from_slice(format!(" {port}").as_bytes());
    vec![forced(value)]
}

// ---- latency-tracking-info-percentiles

pub fn percentiles(settings: &Settings) -> Bytes {
    let parts: Vec<String> =
        settings.latency_tracking_info_percentiles.iter().map(|&value| percentile(value)).collect();
    parts.join(" ").into()
}

/// At most six decimals, without trailing zeros.
fn percentile(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub fn set_percentiles(settings: &mut Settings, args: &[Bytes], _: Source) -> Result<(), String> {
    let args = if is_one_empty(args) { &[] } else { args };
    let mut values = Vec::with_capacity(args.len());
    for arg in args {
        let value = num::parse_f64(arg)
            .ok_or_else(|| "Invalid latency-tracking-info-percentiles parameters".to_owned())?;
        if !(0.0..=100.0).contains(&value) {
            return Err("latency-tracking-info-percentiles parameters should sit between \
                        [0.0,100.0]"
                .to_owned());
        }
        values.push(value);
    }
    settings.latency_tracking_info_percentiles = values;
    Ok(())
}

pub fn percentiles_lines(settings: &Settings) -> Vec<Line> {
    if settings.latency_tracking_info_percentiles.is_empty() {
        return vec![forced(quoted(b""))];
    }
    vec![forced(percentiles(settings))]
}

// ---- shutdown-on-sigint, shutdown-on-sigterm

const SHUTDOWN_NAMES: &[&str] = &["default", "save", "nosave", "now", "force"];

/// How the options of a signal are shown.
pub fn shutdown_on(options: ShutdownOn) -> Bytes {
    let set = [options.save, options.nosave, options.now, options.force];
    let names: Vec<&str> = SHUTDOWN_NAMES[1..]
        .iter()
        .zip(set)
        .filter(|&(_, is_set)| is_set)
        .map(|(name, _)| *name)
        .collect();
    if names.is_empty() { SHUTDOWN_NAMES[0].into() } else { names.join(" ").into() }
}

/// Reads the options of a signal.
pub fn read_shutdown_on(args: &[Bytes]) -> Result<ShutdownOn, String> {
    let mut options = ShutdownOn::default();
    if args.is_empty() {
        parse_choice(b"", SHUTDOWN_NAMES)?;
    }
    for arg in args {
        match SHUTDOWN_NAMES[parse_choice(arg, SHUTDOWN_NAMES)?] {
            "save" => options.save = true,
            "nosave" => options.nosave = true,
            "now" => options.now = true,
            "force" => options.force = true,
            _ => {}
        }
    }
    if options.save && options.nosave {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".to_owned());
    }
    Ok(options)
}

/// The line of a signal's options.
pub fn shutdown_on_lines(options: ShutdownOn) -> Vec<Line> {
    vec![Line { value: shutdown_on(options), forced: options != ShutdownOn::default() }]
}

// ---- oom-score-adj-values

/// What each of the values may be.
const OOM_VALUE: std::ops::RangeInclusive<i64> = -2000..=2000;

pub fn oom_values(settings: &Settings) -> Bytes {
    settings.oom_score_adj_values.map(|value| value.to_string()).join(" ").into()
}

pub fn set_oom_values(settings: &mut Settings, args: &[Bytes], _: Source) -> Result<(), String> {
    if args.len() != settings.oom_score_adj_values.len() {
        return Err(WRONG_NUMBER.to_owned());
    }
    for (value, arg) in settings.oom_score_adj_values.iter_mut().zip(args) {
        let number = leading_int(arg, 10).filter(|number| OOM_VALUE.contains(number));
        *value = number.map(|number| number as i32).ok_or_else(|| {
            "Invalid oom-score-adj-values, elements must be between -2000 and 2000.".to_owned()
        })?;
    }
    Ok(())
}

pub fn oom_values_lines(settings: &Settings) -> Vec<Line> {
    let value = oom_values(settings);
    let forced = value != oom_values(&Settings::default());
    vec![Line { value, forced }]
}

// ---- proc-title-template

/// What a title may be made of.
const TITLE_PARTS: &[&str] =
    &["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];

/// Stores a template of a process's title, if each name between braces is known.
pub fn store_title_template(place: &mut String, template: Bytes) -> Result<(), String> {
    let invalid = || "template format is invalid or contains unknown variables".to_owned();
    let text = String::from_utf8_lossy(&template).into_owned();
    let mut rest = text.as_str();
    while let Some((_, behind)) = rest.split_once('{') {
        let (name, after) = behind.split_once('}').ok_or_else(invalid)?;
        if !TITLE_PARTS.contains(&name) {
            return Err(invalid());
        }
        rest = after;
    }
    store(place, template)
}
