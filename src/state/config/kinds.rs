//! What a parameter is: its name, its rights, and the kind of its value.
//!
//! Knows the kinds (yes/no, integer, memory size, one of some names, ...), not the single
//! parameters: those are in the table.

use super::settings::Settings;
use super::values::{
    format_size, parse_choice, parse_int, parse_octal, parse_size, parse_yes_no, quoted, yes_no,
};

/// An argument or a value as bytes: passwords need not be UTF-8.
pub type Bytes = Vec<u8>;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A line of a configuration file or of the command line; lines of `save` add up.
    Startup,
    /// CONFIG SET, which always replaces.
    Command,
}

/// One line for CONFIG REWRITE.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// What stands behind the parameter's name, quoted where needed.
    pub value: Bytes,
    /// Whether the line must be in the file even if the parameter was not there before.
    pub forced: bool,
}

/// How values of one kind are read and written.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `yes` or `no`.
    Flag { get: fn(&Settings) -> bool, set: fn(&mut Settings, bool) },
    /// A decimal integer in a range.
    Int { min: i64, max: i64, get: fn(&Settings) -> i64, set: fn(&mut Settings, i64) },
    /// A size such as `100`, `1k` (1000) or `1kb` (1024), in a range.
    Memory { min: u64, max: u64, get: fn(&Settings) -> u64, set: fn(&mut Settings, u64) },
    /// An octal number up to a maximum.
    Octal { max: u32, get: fn(&Settings) -> u32, set: fn(&mut Settings, u32) },
    /// One of some names, known by its index; case does not matter.
    Choice {
        names: &'static [&'static str],
        get: fn(&Settings) -> usize,
        set: fn(&mut Settings, usize),
    },
    /// Text. `optional`: empty means "not set", and an unset one is not in a rewritten file.
    Text {
        optional: bool,
        get: fn(&Settings) -> &[u8],
        set: fn(&mut Settings, Bytes) -> Result<(), String>,
    },
    /// Anything else.
    Special {
        get: fn(&Settings) -> Bytes,
        set: fn(&mut Settings, &[Bytes], Source) -> Result<(), String>,
        lines: fn(&Settings) -> Vec<Line>,
    },
}

/// One parameter of the table.
#[derive(Clone, Copy)]
pub struct Param {
    /// Its name, in lower case.
    pub name: &'static str,
    /// Its name of older versions.
    pub alias: Option<&'static str>,
    /// How its values are read and written.
    pub kind: Kind,
    /// Only configuration files and the command line can set it.
    pub is_immutable: bool,
    /// CONFIG SET needs the permission of `enable-protected-configs`.
    pub is_protected: bool,
    /// Its value must not show in logs.
    pub is_sensitive: bool,
    /// Found by its exact name only: meant for tests.
    pub is_hidden: bool,
    /// It takes any number of arguments, or one that holds them separated by spaces.
    pub is_multi: bool,
    /// CONFIG SET is refused while the data set is loading.
    pub denies_loading: bool,
    /// The only value of those that Redis has which is accepted here, and what is said of the
    /// others.
    pub only: Option<(&'static str, &'static str)>,
}

const fn param(name: &'static str, kind: Kind) -> Param {
    Param {
        name,
        alias: None,
        kind,
        is_immutable: false,
        is_protected: false,
        is_sensitive: false,
        is_hidden: false,
        is_multi: false,
        denies_loading: false,
        only: None,
    }
}

/// A yes/no parameter.
pub const fn flag(
    name: &'static str,
    get: fn(&Settings) -> bool,
    set: fn(&mut Settings, bool),
) -> Param {
    param(name, Kind::Flag { get, set })
}

/// A yes/no parameter that can only be `no`, for the reason in `why`.
pub const fn never(name: &'static str, why: &'static str) -> Param {
    flag(name, |_| false, |_, _| ()).only("no", why)
}

/// An integer parameter from `min` to `max`.
pub const fn int(
    name: &'static str,
    (min, max): (i64, i64),
    get: fn(&Settings) -> i64,
    set: fn(&mut Settings, i64),
) -> Param {
    param(name, Kind::Int { min, max, get, set })
}

/// A size from `min` to `max` bytes.
pub const fn memory(
    name: &'static str,
    (min, max): (u64, u64),
    get: fn(&Settings) -> u64,
    set: fn(&mut Settings, u64),
) -> Param {
    param(name, Kind::Memory { min, max, get, set })
}

/// An octal number from 0 to `max`.
pub const fn octal(
    name: &'static str,
    max: u32,
    get: fn(&Settings) -> u32,
    set: fn(&mut Settings, u32),
) -> Param {
    param(name, Kind::Octal { max, get, set })
}

/// One of `names`.
pub const fn choice(
    name: &'static str,
    names: &'static [&'static str],
    get: fn(&Settings) -> usize,
    set: fn(&mut Settings, usize),
) -> Param {
    param(name, Kind::Choice { names, get, set })
}

/// Text that is always set, though perhaps to nothing.
pub const fn text(
    name: &'static str,
    get: fn(&Settings) -> &[u8],
    set: fn(&mut Settings, Bytes) -> Result<(), String>,
) -> Param {
    param(name, Kind::Text { optional: false, get, set })
}

/// Text that is not set when it is empty.
pub const fn optional(
    name: &'static str,
    get: fn(&Settings) -> &[u8],
    set: fn(&mut Settings, Bytes) -> Result<(), String>,
) -> Param {
    param(name, Kind::Text { optional: true, get, set })
}

/// A parameter with a syntax of its own.
pub const fn special(
    name: &'static str,
    get: fn(&Settings) -> Bytes,
    set: fn(&mut Settings, &[Bytes], Source) -> Result<(), String>,
    lines: fn(&Settings) -> Vec<Line>,
) -> Param {
    param(name, Kind::Special { get, set, lines })
}

impl Param {
    /// Adds the name of older versions.
    pub const fn alias(self, alias: &'static str) -> Param {
        Param { alias: Some(alias), ..self }
    }

    /// Makes it settable at start only.
    pub const fn immutable(self) -> Param {
        Param { is_immutable: true, ..self }
    }

    /// Puts it behind `enable-protected-configs`.
    pub const fn protected(self) -> Param {
        Param { is_protected: true, ..self }
    }

    /// Keeps its value out of logs.
    pub const fn sensitive(self) -> Param {
        Param { is_sensitive: true, ..self }
    }

    /// Hides it from patterns.
    pub const fn hidden(self) -> Param {
        Param { is_hidden: true, ..self }
    }

    /// Lets it take several arguments.
    pub const fn multi(self) -> Param {
        Param { is_multi: true, ..self }
    }

    /// Refuses CONFIG SET while loading.
    pub const fn deny_loading(self) -> Param {
        Param { denies_loading: true, ..self }
    }

    /// Accepts `value` alone and answers `why` to the others.
    pub const fn only(self, value: &'static str, why: &'static str) -> Param {
        Param { only: Some((value, why)), ..self }
    }

    /// The value as CONFIG GET shows it.
    pub fn get(&self, settings: &Settings) -> Bytes {
        match self.kind {
            Kind::Flag { get, .. } => yes_no(get(settings)).into(),
            Kind::Int { get, .. } => get(settings).to_string().into(),
            Kind::Memory { get, .. } => get(settings).to_string().into(),
            Kind::Octal { get, .. } => format!("{:o}", get(settings)).into(),
            Kind::Choice { names, get, .. } => names[get(settings)].into(),
            Kind::Text { get, .. } => get(settings).to_vec(),
            Kind::Special { get, .. } => get(settings),
        }
    }

    /// Reads and stores a value. On an error `settings` may be half changed: give it a copy.
    ///
    /// # Errors
    /// Redis's text of what is wrong with the value.
    pub fn set(
        &self,
        settings: &mut Settings,
        args: &[Bytes],
        source: Source,
    ) -> Result<(), String> {
        if let Kind::Special { set, .. } = self.kind {
            return set(settings, args, source);
        }
        let [value] = args else {
            return Err("wrong number of arguments".to_owned());
        };
        match self.kind {
            Kind::Flag { set, .. } => {
                let on = parse_yes_no(value)?;
                self.refuse_unsupported(yes_no(on))?;
                set(settings, on);
            }
            Kind::Int { min, max, set, .. } => set(settings, parse_int(value, min, max)?),
            Kind::Memory { min, max, set, .. } => set(settings, parse_size(value, min, max)?),
            Kind::Octal { max, set, .. } => set(settings, parse_octal(value, max)?),
            Kind::Choice { names, set, .. } => {
                let index = parse_choice(value, names)?;
                self.refuse_unsupported(names[index])?;
                set(settings, index);
            }
            Kind::Text { set, .. } => set(settings, value.clone())?,
            Kind::Special { .. } => {}
        }
        Ok(())
    }

    fn refuse_unsupported(&self, value: &str) -> Result<(), String> {
        match self.only {
            Some((only, why)) if only != value => Err(why.to_owned()),
            _ => Ok(()),
        }
    }

    /// The lines that hold the value in a configuration file; none if it belongs in no file.
    pub fn lines(&self, settings: &Settings, defaults: &Settings) -> Vec<Line> {
        let value = match self.kind {
            Kind::Special { lines, .. } => return lines(settings),
            Kind::Text { optional: true, get, .. } if get(settings).is_empty() => {
                return Vec::new();
            }
            Kind::Text { get, .. } => quoted(get(settings)),
            Kind::Memory { get, .. } => format_size(get(settings)).into(),
            _ => self.get(settings),
        };
        vec![Line { value, forced: self.get(settings) != self.get(defaults) }]
    }
}
