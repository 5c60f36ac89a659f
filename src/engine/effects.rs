//! What a command's execution means for the log, where that is not the command itself.

/// Commands that go to the log instead of the one that was sent.
#[derive(Debug, Default)]
pub struct Effects {
    /// `None`: the command as it was sent, if it changed anything.
    instead: Option<Vec<Vec<Vec<u8>>>>,
}

impl Effects {
    /// This command goes to the log instead.
    pub fn replace(&mut self, argv: &[&[u8]]) {
        self.instead = Some(vec![argv.iter().map(|arg| arg.to_vec()).collect()]);
    }

    /// These commands go to the log instead.
    pub fn replace_all(&mut self, commands: Vec<Vec<Vec<u8>>>) {
        self.instead = Some(commands);
    }

    /// Takes what goes to the log instead, if anything was said.
    pub fn take(&mut self) -> Option<Vec<Vec<Vec<u8>>>> {
        self.instead.take()
    }
}
