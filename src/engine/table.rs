//! All commands of a server, found by name.

use crate::engine::categories;
use crate::engine::spec::Command;
use crate::state::acl::{Catalog, Named};
use crate::state::config::Rename;

/// A command or subcommand in the table.
#[derive(Debug)]
pub struct Known {
    /// Its index in the table and in the statistics.
    pub id: usize,
    /// Its definition.
    pub command: &'static Command,
    /// `config|get` for a subcommand.
    pub full_name: String,
    /// The name by which clients call it, if they can at all (`rename-command`).
    called: Option<String>,
    /// Ids of its subcommands, by lower-case name.
    pub subcommands: Vec<(&'static str, usize)>,
    /// The command that it is a subcommand of.
    pub parent: Option<usize>,
}

/// All commands.
#[derive(Debug)]
pub struct Table {
    all: Vec<Known>,
    /// The id of a command, at its name's [`place`] or behind it. One in four places is taken at
    /// most, so a lookup looks at hardly more than one name.
    by_name: Vec<Option<u16>>,
}

impl Known {
    /// The name by which clients call it; none for what they cannot call.
    fn name(&self) -> &str {
        self.called.as_deref().unwrap_or_default()
    }
}

/// Where the search for a name begins, in a table of a power of two of places. It need not
/// withstand anybody's choice of names, because clients add none.
fn place(name: &[u8], places: usize) -> usize {
    // The bit apart from which letters in both cases agree is set in all bytes.
    let mix = |hash: u32, &byte: &u8| (hash ^ u32::from(byte | 0x20)).wrapping_mul(0x0100_0193);
    let hash = name.iter().fold(name.len() as u32, mix);
    (hash ^ (hash >> 15)) as usize & (places - 1)
}

/// Whether two names differ only in their letters' cases. For what is as short as a name this takes
/// half the time of what the standard library has.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || a.eq_ignore_ascii_case(b))
}

impl Table {
    /// A table of these commands and their subcommands. Names are unique; a test makes sure.
    pub fn new(groups: &[&'static [Command]]) -> Self {
        let count: usize = groups.iter().map(|group| group.len()).sum();
        let places = (count * 4).next_power_of_two();
        let mut table = Table { all: Vec::new(), by_name: vec![None; places] };
        for command in groups.iter().copied().flatten() {
            let id = table.add(command, command.name.to_owned(), None);
            table.enter(id);
            for sub in command.subcommands {
                let full_name = format!("{}|{}", command.name, sub.name);
                let sub_id = table.add(sub, full_name, Some(id));
                table.all[id].subcommands.push((sub.name, sub_id));
            }
        }
        table
    }

    fn add(
        &mut self,
        command: &'static Command,
        full_name: String,
        parent: Option<usize>,
    ) -> usize {
        let id = self.all.len();
        let (called, subcommands) = (Some(command.name.to_owned()), Vec::new());
        self.all.push(Known { id, command, full_name, called, subcommands, parent });
        id
    }

    /// Gives commands other names, one after another, or none. What they are called in rules of
    /// users, statistics and the log of slow commands stays.
    ///
    /// # Errors
    /// The place of a line that cannot be meant, and why.
    pub fn rename(&mut self, renames: &[Rename]) -> Result<(), String> {
        for Rename { from, to, place } in renames {
            let complain = |why: &str| format!("{place}{why}");
            let known =
                self.find(from).ok_or_else(|| complain("No such command in rename-command"))?;
            let id = known.id;
            if self.find(to).is_some_and(|other| other.id != id) {
                return Err(complain("Target command name already exists"));
            }
            let to = (!to.is_empty()).then(|| String::from_utf8_lossy(to).into_owned());
            self.all[id].called = to;
            self.by_name.fill(None);
            let ids: Vec<usize> = self.commands().map(|known| known.id).collect();
            ids.into_iter().for_each(|id| self.enter(id));
        }
        Ok(())
    }

    /// Has the command found by the name by which it is called.
    fn enter(&mut self, id: usize) {
        let mask = self.by_name.len() - 1;
        let mut at = place(self.all[id].name().as_bytes(), self.by_name.len());
        while self.by_name[at].is_some() {
            at = (at + 1) & mask;
        }
        self.by_name[at] = u16::try_from(id).ok();
    }

    /// The command of that name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<&Known> {
        let mask = self.by_name.len() - 1;
        let mut at = place(name, self.by_name.len());
        loop {
            let known = &self.all[usize::from(self.by_name[at]?)];
            if is_same(name, known.name().as_bytes()) {
                return Some(known);
            }
            at = (at + 1) & mask;
        }
    }

    /// The subcommand of that name, in any case.
    pub fn find_sub(&self, parent: &Known, name: &[u8]) -> Option<&Known> {
        let named = |(sub, _): &&(&str, usize)| name.eq_ignore_ascii_case(sub.as_bytes());
        parent.subcommands.iter().find(named).map(|&(_, id)| &self.all[id])
    }

    /// The command or subcommand of a full name such as `config|get`, in any case.
    pub fn find_full(&self, full_name: &[u8]) -> Option<&Known> {
        let mut words = full_name.splitn(2, |&c| c == b'|');
        let known = self.find(words.next()?)?;
        match words.next() {
            Some(sub) => self.find_sub(known, sub),
            None => Some(known),
        }
    }

    /// The command with that id.
    pub fn get(&self, id: usize) -> &Known {
        &self.all[id]
    }

    /// All commands and subcommands, in the order of their definition.
    pub fn all(&self) -> &[Known] {
        &self.all
    }

    /// All commands that clients can call, without the subcommands.
    pub fn commands(&self) -> impl Iterator<Item = &Known> {
        self.all.iter().filter(|known| known.parent.is_none() && known.called.is_some())
    }

    /// Those and their subcommands.
    pub fn callable(&self) -> impl Iterator<Item = &Known> {
        self.commands()
            .flat_map(|known| self.all[known.id..].iter().take(1 + known.subcommands.len()))
    }
}

/// As rules of users see it.
impl Catalog for Table {
    fn count(&self) -> usize {
        self.all.len()
    }

    fn find(&self, full_name: &[u8]) -> Option<Named<'_>> {
        // By the name that it has always had.
        let known =
            self.all.iter().find(|k| full_name.eq_ignore_ascii_case(k.full_name.as_bytes()))?;
        Some(Named {
            id: known.id,
            full_name: &known.full_name,
            is_sub: known.parent.is_some(),
            subs: subs_of(known),
        })
    }

    fn category(&self, name: &[u8]) -> Option<Vec<usize>> {
        let category = categories::named(name)?;
        let members = self.all.iter().filter(|known| categories::is_in(known.command, category));
        Some(members.flat_map(|known| std::iter::once(known.id).chain(subs_of(known))).collect())
    }
}

/// The ids of a command's subcommands, which follow right behind its own.
fn subs_of(known: &Known) -> std::ops::Range<usize> {
    known.id + 1..known.id + 1 + known.subcommands.len()
}
