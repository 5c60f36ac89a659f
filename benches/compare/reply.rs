//! Counts replies (RESP2) in a stream that comes in arbitrary pieces, without keeping them.
//!
//! An error, a null or a malformed byte is a failure: a benchmark must not measure those.

/// What is still to come of the reply that was cut off.
#[derive(Default)]
pub struct Scanner {
    /// A line that has not ended yet.
    line: Vec<u8>,
    /// Bytes of a bulk string, with its line end, that have not come yet.
    bulk: usize,
    /// Values of the current reply that have not begun yet.
    values: u64,
    /// Whether a missing value ("$-1") is as good as any.
    pub nulls_pass: bool,
    /// Values seen, an array and its elements each counting as one.
    pub seen: u64,
}

impl Scanner {
    /// The number of replies that end within these bytes, or the first error among them.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<u64, String> {
        let mut replies = 0;
        while !bytes.is_empty() {
            if self.bulk > 0 {
                let here = self.bulk.min(bytes.len());
                self.bulk -= here;
                bytes = &bytes[here..];
            } else {
                let end = bytes.iter().position(|&b| b == b'\n').map_or(bytes.len(), |at| at + 1);
                let (line, rest) = bytes.split_at(end);
                bytes = rest;
                if self.line.is_empty() && line.ends_with(b"\n") {
                    self.take_line(line)?;
                } else {
                    self.line.extend_from_slice(line);
                    if !line.ends_with(b"\n") {
                        break;
                    }
                    let line = std::mem::take(&mut self.line);
                    self.take_line(&line)?;
                }
            }
            if self.values == 0 && self.bulk == 0 {
                replies += 1;
            }
        }
        Ok(replies)
    }

    /// Takes the line with which a value begins.
    fn take_line(&mut self, line: &[u8]) -> Result<(), String> {
        let shown = || String::from_utf8_lossy(line).trim_end().to_owned();
        self.values = self.values.max(1) - 1;
        self.seen += 1;
        match (line[0], number(&line[1..])) {
            (b'+', _) | (b':', Some(_)) => {}
            (b'-', _) => return Err(shown()[1..].to_owned()),
            (b'$', Some(size @ 0..)) => self.bulk = size as usize + 2,
            (b'*', Some(count @ 0..)) => self.values += count as u64,
            (b'$' | b'*', Some(-1)) if self.nulls_pass => {}
            (b'$' | b'*', Some(-1)) => return Err("a null, where data should be".to_owned()),
            _ => return Err(format!("a malformed reply: {}", shown())),
        }
        Ok(())
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.trim_end().parse().ok()
}
