//! The tail of an endless stream of bytes, in blocks, so that growing copies nothing and forgetting
//! frees.

use std::collections::VecDeque;

/// The largest block; also the grain in which old bytes are forgotten.
const BLOCK_MAX: usize = 16 * 1024;

/// The smallest one.
const BLOCK_MIN: usize = 1024;

/// Blocks that a backlog has, at least: what is kept beyond its size is little beside it.
const BLOCKS_PER_BACKLOG: u64 = 16;

/// The size of blocks beside a backlog of that size.
pub fn block_size(backlog: u64) -> usize {
    let wanted = usize::try_from(backlog / BLOCKS_PER_BACKLOG).unwrap_or(BLOCK_MAX);
    wanted.clamp(BLOCK_MIN, BLOCK_MAX)
}

struct Block {
    /// Offset of the first byte.
    start: u64,
    /// Its capacity is the size of the block.
    bytes: Vec<u8>,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Bytes of memory that a backlog of that size needs at most.
pub fn memory_for(backlog: u64) -> u64 {
    let size = block_size(backlog) as u64;
    // Of whole blocks the first and the last may be used in part, and of the places for blocks a
    // quarter at least is used.
    let blocks = backlog / size + 2;
    blocks.saturating_mul(size + 4 * size_of::<Block>() as u64)
}

/// The bytes from `start` to `end` of a stream.
pub struct Buffer {
    /// They follow each other without a gap.
    blocks: VecDeque<Block>,
    /// Size of the next block.
    block_size: usize,
    end: u64,
    /// Bytes of memory of all blocks, without what the queue takes for its places.
    memory: usize,
}

impl Buffer {
    /// An empty tail at that offset.
    pub fn starting_at(offset: u64, block_size: usize) -> Self {
        Buffer { blocks: VecDeque::new(), block_size, end: offset, memory: 0 }
    }

    /// Makes new blocks of this size.
    pub fn set_block_size(&mut self, block_size: usize) {
        self.block_size = block_size;
    }

    /// Offset of the first byte that is still here.
    pub fn start(&self) -> u64 {
        self.blocks.front().map_or(self.end, |block| block.start)
    }

    /// Offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.memory + self.blocks.capacity() * size_of::<Block>()
    }

    /// Forgets everything and goes on at another offset.
    pub fn restart_at(&mut self, offset: u64) {
        *self = Buffer::starting_at(offset, self.block_size);
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.blocks.back().map_or(0, |b| b.bytes.capacity() - b.bytes.len());
            if room == 0 {
                let block = Block { start: self.end, bytes: Vec::with_capacity(self.block_size) };
                self.memory += block.bytes.capacity();
                self.blocks.push_back(block);
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(block) = self.blocks.back_mut() {
                block.bytes.extend_from_slice(now);
                self.end = block.end();
            }
            bytes = later;
        }
    }

    /// Appends the bytes from `position` on to `out`, until that has `max`; none outside of the
    /// tail.
    pub fn read(&self, position: u64, max: usize, out: &mut Vec<u8>) {
        if position < self.start() || position >= self.end {
            return;
        }
        let first = self.blocks.partition_point(|block| block.end() <= position);
        for block in self.blocks.range(first..) {
            let skip = position.saturating_sub(block.start) as usize;
            let bytes = &block.bytes[skip..];
            let take = bytes.len().min(max - out.len());
            out.extend_from_slice(&bytes[..take]);
            if out.len() == max {
                break;
            }
        }
    }

    /// Drops whole blocks in front of `offset`, but never the last one.
    pub fn forget_before(&mut self, offset: u64) {
        while self.blocks.len() > 1 && self.blocks[0].end() <= offset {
            if let Some(block) = self.blocks.pop_front() {
                self.memory -= block.bytes.capacity();
            }
        }
        if self.blocks.len() * 4 < self.blocks.capacity() {
            self.blocks.shrink_to(self.blocks.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffer: &Buffer, position: u64, max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        buffer.read(position, max, &mut out);
        out
    }

    #[test]
    fn reads_across_blocks_and_forgets() {
        let mut buffer = Buffer::starting_at(7, BLOCK_MAX);
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        for piece in bytes.chunks(333) {
            buffer.push(piece);
            // Blocks of several sizes follow each other.
            buffer.set_block_size(if buffer.end() < 30_000 { BLOCK_MAX } else { BLOCK_MIN });
        }
        assert_eq!(buffer.end(), 100_007);
        assert_eq!(read(&buffer, 7, usize::MAX), bytes);
        assert_eq!(read(&buffer, 40_007, 50_000), &bytes[40_000..90_000]);
        buffer.forget_before(50_000);
        assert!((50_000 - BLOCK_MIN as u64..=50_000).contains(&buffer.start()));
        let places = 4 * buffer.blocks.len() * size_of::<Block>();
        assert!(buffer.memory() <= 100_007 - 50_000 + 2 * BLOCK_MIN + places);
        assert_eq!(read(&buffer, 50_007, 3), &bytes[50_000..50_003]);
        assert!(read(&buffer, 8, 3).is_empty() && read(&buffer, 100_007, 3).is_empty());
    }

    #[test]
    fn counts_the_places_of_many_small_blocks_and_gives_them_back() {
        const BLOCKS: usize = 20_000;
        let mut buffer = Buffer::starting_at(0, BLOCK_MIN);
        let line = [b'x'; BLOCK_MIN];
        for _ in 0..BLOCKS {
            buffer.push(&line);
        }
        assert!(buffer.memory() >= BLOCKS * (BLOCK_MIN + size_of::<Block>()));
        buffer.forget_before(buffer.end() - 10);
        assert!(buffer.memory() as u64 <= memory_for(BLOCK_MIN as u64));
    }
}
