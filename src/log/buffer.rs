//! The tail of an endless stream of bytes, in blocks, so that growing copies nothing and forgetting
//! frees.

use std::collections::VecDeque;

/// Size of a block; also the grain in which old bytes are forgotten.
pub const BLOCK: usize = 16 * 1024;

/// The bytes from `start` to `end` of a stream.
pub struct Buffer {
    blocks: VecDeque<Vec<u8>>,
    /// Offset of the first byte of the first block.
    start: u64,
    end: u64,
}

impl Buffer {
    /// An empty tail at that offset.
    pub fn starting_at(offset: u64) -> Self {
        Buffer { blocks: VecDeque::new(), start: offset, end: offset }
    }

    /// Offset of the first byte that is still here.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = self.blocks.back().map_or(0, |block| BLOCK - block.len());
            if room == 0 {
                self.blocks.push_back(Vec::with_capacity(BLOCK));
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(block) = self.blocks.back_mut() {
                block.extend_from_slice(now);
            }
            bytes = later;
        }
    }

    /// A copy of the bytes from `position` on, at most `max`; empty outside of the tail.
    pub fn read(&self, position: u64, max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        if position < self.start || position >= self.end {
            return out;
        }
        let skip = (position - self.start) as usize;
        let mut within = skip % BLOCK;
        for block in self.blocks.iter().skip(skip / BLOCK) {
            let bytes = &block[within..];
            let take = bytes.len().min(max - out.len());
            out.extend_from_slice(&bytes[..take]);
            within = 0;
            if out.len() == max {
                break;
            }
        }
        out
    }

    /// Drops whole blocks in front of `offset`.
    pub fn forget_before(&mut self, offset: u64) {
        while self.blocks.len() > 1 && self.start + BLOCK as u64 <= offset {
            self.blocks.pop_front();
            self.start += BLOCK as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_across_blocks_and_forgets() {
        let mut buffer = Buffer::starting_at(7);
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        for piece in bytes.chunks(333) {
            buffer.push(piece);
        }
        assert_eq!(buffer.end(), 100_007);
        assert_eq!(buffer.read(7, usize::MAX), bytes);
        assert_eq!(buffer.read(40_007, 50_000), &bytes[40_000..90_000]);
        buffer.forget_before(50_000);
        assert!(buffer.start() > 7 && buffer.start() <= 50_000);
        assert_eq!(buffer.read(50_007, 3), &bytes[50_000..50_003]);
        assert!(buffer.read(8, 3).is_empty() && buffer.read(100_007, 3).is_empty());
    }
}
