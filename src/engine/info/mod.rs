//! The text of INFO: fields of what the server knows of itself, by sections, in Redis's order and
//! names.
//!
//! Only what is true is told. A field about something that does not exist here (scripts, forks, a
//! cluster) is 0 where monitoring programs read it; one that would have to be invented is left out.

mod memory;
mod persistence;
mod replication;
mod server;
mod stats;

use std::fmt::{Display, Write};

use crate::base::clock;
use crate::engine::Engine;
use crate::state::config::Settings;
use crate::store::totals::Totals;

/// What a section is made from.
pub struct Facts<'a> {
    engine: &'a Engine,
    settings: &'a Settings,
    keys: &'a Totals,
    now_ms: i64,
}

/// Writes the fields of a section.
pub struct Fields(String);

impl Fields {
    /// One line.
    fn add(&mut self, name: impl Display, value: impl Display) {
        // Writing into a `String` cannot fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    /// A size, and the same for people.
    fn add_size(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add(format_args!("{name}_human"), for_people(bytes));
    }

    /// Fields of what there is none of.
    fn add_zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.add(name, 0));
    }
}

struct Section {
    name: &'static str,
    title: &'static str,
    /// Whether it is shown when none is asked for.
    usual: bool,
    /// Whether it looks at the keys.
    needs_keys: bool,
    write: fn(&Facts, &mut Fields),
}

const fn section(
    name: &'static str,
    title: &'static str,
    write: fn(&Facts, &mut Fields),
) -> Section {
    Section { name, title, usual: true, needs_keys: false, write }
}

impl Section {
    const fn unusual(mut self) -> Self {
        self.usual = false;
        self
    }

    const fn with_keys(mut self) -> Self {
        self.needs_keys = true;
        self
    }
}

const SECTIONS: &[Section] = &[
    section("server", "Server", server::server),
    section("clients", "Clients", server::clients),
    section("memory", "Memory", memory::memory).with_keys(),
    section("persistence", "Persistence", persistence::persistence),
    section("stats", "Stats", stats::stats).with_keys(),
    section("replication", "Replication", replication::replication),
    section("cpu", "CPU", server::cpu),
    section("modules", "Modules", |_, _| ()),
    section("commandstats", "Commandstats", stats::commands).unusual(),
    section("errorstats", "Errorstats", stats::errors),
    section("latencystats", "Latencystats", stats::latencies).unusual(),
    section("cluster", "Cluster", |_, fields| fields.add("cluster_enabled", 0)),
    section("keyspace", "Keyspace", stats::keyspace).with_keys(),
];

/// The sections that somebody asked for.
pub struct Choice(Vec<&'static Section>);

impl Choice {
    /// The sections of these names, in any case; unknown ones are none, and no name means the usual
    /// ones.
    pub fn new(names: &[&[u8]]) -> Self {
        let asked =
            |word: &str| names.iter().any(|name| name.eq_ignore_ascii_case(word.as_bytes()));
        let all = asked("all") || asked("everything");
        let usual = names.is_empty() || asked("default");
        let chosen = |s: &&Section| all || (usual && s.usual) || asked(s.name);
        Choice(SECTIONS.iter().filter(chosen).collect())
    }

    /// Whether the totals of the keyspace are needed.
    pub fn needs_keys(&self) -> bool {
        self.0.iter().any(|section| section.needs_keys)
    }

    /// The text.
    pub fn text(&self, engine: &Engine, settings: &Settings, keys: &Totals) -> String {
        let facts = Facts { engine, settings, keys, now_ms: clock::unix_ms() };
        let mut fields = Fields(String::new());
        for (i, section) in self.0.iter().enumerate() {
            let gap = if i > 0 { "\r\n" } else { "" };
            let _ = write!(fields.0, "{gap}# {}\r\n", section.title);
            (section.write)(&facts, &mut fields);
        }
        fields.0
    }
}

/// A size with a unit, two decimals.
fn for_people(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let power = (bytes.ilog2() / 10) as usize;
    format!("{:.2}{}", bytes as f64 / 1024f64.powi(power as i32), UNITS[power - 1])
}

/// Seconds with six decimals, as Redis shows processor time.
fn micros(duration: std::time::Duration) -> String {
    format!("{}.{:06}", duration.as_secs(), duration.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (916_344, "894.87K"),
            (1 << 20, "1.00M"),
            (25_276_502_016, "23.54G"),
            (u64::MAX, "16.00E"),
        ] {
            assert_eq!(for_people(bytes), text);
        }
    }

    #[test]
    fn sections_are_chosen() {
        let titles = |names: &[&[u8]]| -> Vec<&str> {
            Choice::new(names).0.iter().map(|section| section.name).collect()
        };
        assert_eq!(titles(&[]), titles(&[b"DEFAULT"]));
        assert_eq!(titles(&[b"keyspace", b"nope", b"CPU", b"cpu"]), ["cpu", "keyspace"]);
        assert_eq!(titles(&[b"all"]).len(), SECTIONS.len());
        assert!(titles(&[b"nope"]).is_empty() && !titles(&[]).contains(&"commandstats"));
    }
}
