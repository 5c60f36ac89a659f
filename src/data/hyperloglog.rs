//! The HyperLogLog: an estimate of how many different elements were seen, in the bytes of a string.
//!
//! The bytes are Redis's own, so that values travel by DUMP and replication:
//!
//! ```text
//! "HYLL" | encoding u8 (0 dense, 1 sparse) | 3 unused | cached estimate u64 LE | registers
//!
//! dense:  16384 registers of 6 bits each, lowest bits first, in 12288 bytes
//! sparse: runs of registers with the same value, 16384 in all
//!   00llllll            l+1 registers at 0
//!   01llllll l8         l+1 registers at 0
//!   1vvvvvll            l+1 registers at v+1
//! ```
//!
//! The highest bit of the cached estimate says that it is out of date. The hash is Austin Appleby's
//! MurmurHash64A; the estimator is that of Otmar Ertl, "New cardinality estimation algorithms for
//! HyperLogLog sketches" (arXiv:1702.01284).
//!
//! This file must not know keys or replies. Nothing about the runs of a sparse value from outside
//! may be trusted: each walk over them checks that they end where the registers do.

use crate::base::rng::Rng;

/// How many registers there are; the lowest bits of a hash choose one.
pub const REGISTERS: usize = 1 << INDEX_BITS;

const INDEX_BITS: u32 = 14;
/// The bits of a hash whose lowest set one is counted, and so the largest count less one.
const COUNTED_BITS: usize = 64 - INDEX_BITS as usize;
/// The bits of a dense register.
const REGISTER_BITS: usize = 6;
const REGISTER_MAX: u8 = (1 << REGISTER_BITS) - 1;

const MAGIC: &[u8; 4] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const HEADER: usize = 16;
const DENSE_LEN: usize = HEADER + REGISTERS * REGISTER_BITS / 8;

const ZERO_RUN_MAX: usize = 64;
const VALUE_RUN_MAX: usize = 4;
/// The largest value of a register in a sparse HyperLogLog.
const VALUE_MAX: u8 = 32;

/// Runs that are looked at after a change for two that can be one.
const MERGE_STEPS: usize = 5;

const HASH_SEED: u64 = 0xadc8_3b19;

/// 1 / (2 ln 2).
const ALPHA_INF: f64 = 0.721_347_520_444_481_7;

/// The runs of a sparse value do not describe its registers.
#[derive(Debug, PartialEq, Eq)]
pub struct Corrupt;

/// The bytes of an empty HyperLogLog.
pub fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4] = SPARSE;
    push_zeros(&mut bytes, REGISTERS);
    bytes
}

/// Whether these bytes are a HyperLogLog, as far as can be told without walking over them.
pub fn is_one(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(MAGIC)
        && (bytes[4] == SPARSE || (bytes[4] == DENSE && bytes.len() == DENSE_LEN))
}

/// Whether a HyperLogLog is dense.
pub fn is_dense(bytes: &[u8]) -> bool {
    bytes[4] == DENSE
}

/// The estimate that is kept beside the registers, if it is up to date.
pub fn cached(bytes: &[u8]) -> Option<u64> {
    let estimate = u64::from_le_bytes(*bytes[8..].first_chunk()?);
    (estimate >> 63 == 0).then_some(estimate)
}

/// Keeps an estimate.
pub fn set_cached(bytes: &mut [u8], estimate: u64) {
    bytes[8..HEADER].copy_from_slice(&estimate.to_le_bytes());
}

/// Marks the kept estimate as out of date.
pub fn forget_cached(bytes: &mut [u8]) {
    bytes[HEADER - 1] |= 0x80;
}

/// MurmurHash64A.
fn hash(element: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mix = |word: u64| {
        let word = word.wrapping_mul(M);
        (word ^ (word >> 47)).wrapping_mul(M)
    };
    let mut hash = HASH_SEED ^ (element.len() as u64).wrapping_mul(M);
    let (words, rest) = element.as_chunks();
    for word in words {
        hash = (hash ^ mix(u64::from_le_bytes(*word))).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 47)).wrapping_mul(M);
    hash ^ (hash >> 47)
}

/// The register that an element belongs to, and the value which that must at least have: the place
/// of the lowest set bit among those that did not choose the register, counted from 1.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = hash(element);
    let index = hash as usize % REGISTERS;
    let counted = (hash >> INDEX_BITS) | (1 << COUNTED_BITS);
    (index, counted.trailing_zeros() as u8 + 1)
}

/// Adds an element; whether a register changed. A sparse value that would be longer than
/// `sparse_max` bytes becomes dense.
pub fn add(bytes: &mut Vec<u8>, element: &[u8], sparse_max: usize) -> Result<bool, Corrupt> {
    let (index, value) = place(element);
    raise(bytes, index, value, sparse_max)
}

/// Gives a register at least this value; whether that changed it.
fn raise(bytes: &mut Vec<u8>, index: usize, value: u8, sparse_max: usize) -> Result<bool, Corrupt> {
    if is_dense(bytes) {
        return Ok(dense_raise(&mut bytes[HEADER..], index, value));
    }
    if value <= VALUE_MAX {
        match sparse_raise(bytes, index, value, sparse_max)? {
            Raised::No => return Ok(false),
            Raised::Yes => return Ok(true),
            Raised::NoRoom => {}
        }
    }
    to_dense(bytes)?;
    Ok(dense_raise(&mut bytes[HEADER..], index, value))
}

/// Where a dense register lies: the byte of its lowest bit, and that bit.
fn dense_place(index: usize) -> (usize, usize) {
    let bit = index * REGISTER_BITS;
    (bit / 8, bit % 8)
}

fn dense_get(registers: &[u8], index: usize) -> u8 {
    let (byte, shift) = dense_place(index);
    let next = registers.get(byte + 1).copied().unwrap_or(0);
    let word = u16::from_le_bytes([registers[byte], next]);
    (word >> shift) as u8 & REGISTER_MAX
}

fn dense_set(registers: &mut [u8], index: usize, value: u8) {
    let (byte, shift) = dense_place(index);
    let mask = u16::from(REGISTER_MAX) << shift;
    let [low, high] = (u16::from(value) << shift).to_le_bytes();
    let [low_mask, high_mask] = mask.to_le_bytes();
    registers[byte] = (registers[byte] & !low_mask) | low;
    if let Some(next) = registers.get_mut(byte + 1) {
        *next = (*next & !high_mask) | high;
    }
}

fn dense_raise(registers: &mut [u8], index: usize, value: u8) -> bool {
    let higher = value > dense_get(registers, index);
    if higher {
        dense_set(registers, index, value);
    }
    higher
}

/// Registers in a row that have the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The value of the registers.
    pub value: u8,
    /// How many there are.
    pub len: usize,
    /// How many bytes say so: 1 or 2.
    size: usize,
}

impl Run {
    /// Whether it is one of those for many zeros.
    pub fn is_long(&self) -> bool {
        self.size == 2
    }

    /// The run at the start of `bytes`. A second byte that is missing counts as 0.
    fn read(bytes: &[u8]) -> Option<Run> {
        let first = *bytes.first()?;
        let low = usize::from(first & 0x3f);
        Some(match first >> 6 {
            0 => Run { value: 0, len: low + 1, size: 1 },
            1 => {
                let second = usize::from(bytes.get(1).copied().unwrap_or(0));
                Run { value: 0, len: (low << 8 | second) + 1, size: 2 }
            }
            _ => Run { value: (first >> 2 & 0x1f) + 1, len: low % 4 + 1, size: 1 },
        })
    }
}

/// A byte that stands for up to four registers at this value.
fn value_run(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

fn push_zeros(out: &mut Vec<u8>, len: usize) {
    let coded = len - 1;
    if len > ZERO_RUN_MAX {
        out.push(0x40 | (coded >> 8) as u8);
    }
    out.push(coded as u8);
}

/// The runs of a sparse HyperLogLog, as they stand there, right or not.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let run = Run::read(bytes.get(at..)?)?;
        at += run.size;
        Some(run)
    })
}

/// Hands the first register and the run of each run to `visit`, if they are right to the end.
fn checked_runs(bytes: &[u8], mut visit: impl FnMut(usize, Run)) -> Result<(), Corrupt> {
    let mut first = 0;
    for run in runs(bytes) {
        if first + run.len > REGISTERS {
            return Err(Corrupt);
        }
        visit(first, run);
        first += run.len;
    }
    if first == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

/// Makes a HyperLogLog dense; whether it was sparse.
pub fn to_dense(bytes: &mut Vec<u8>) -> Result<bool, Corrupt> {
    if is_dense(bytes) {
        return Ok(false);
    }
    let mut dense = vec![0; DENSE_LEN];
    let (header, registers) = dense.split_at_mut(HEADER);
    header.copy_from_slice(&bytes[..HEADER]);
    header[4] = DENSE;
    checked_runs(bytes, |first, run| {
        if run.value > 0 {
            (first..first + run.len).for_each(|i| dense_set(registers, i, run.value));
        }
    })?;
    *bytes = dense;
    Ok(true)
}

/// What became of a try to raise a sparse register.
enum Raised {
    No,
    Yes,
    /// The value must become dense first.
    NoRoom,
}

/// Gives a register of a sparse value at least `value`, which is at most [`VALUE_MAX`].
fn sparse_raise(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max: usize,
) -> Result<Raised, Corrupt> {
    let (mut at, mut before, mut first) = (HEADER, HEADER, 0);
    let run = loop {
        let run = bytes.get(at..).and_then(Run::read).ok_or(Corrupt)?;
        if index < first + run.len {
            break run;
        }
        before = at;
        at += run.size;
        first += run.len;
    };
    if run.value >= value {
        return Ok(Raised::No);
    }
    let parts = split_run(run, index - first, value);
    let end = (at + run.size).min(bytes.len());
    if parts.len() > run.size && bytes.len() + parts.len() - run.size > sparse_max {
        return Ok(Raised::NoRoom);
    }
    bytes.splice(at..end, parts);
    merge_runs(bytes, before);
    forget_cached(bytes);
    Ok(Raised::Yes)
}

/// A run whose register number `offset` has got a higher value.
fn split_run(run: Run, offset: usize, value: u8) -> Vec<u8> {
    let mut parts = Vec::with_capacity(5);
    let push_rest = |parts: &mut Vec<u8>, len: usize| match (len, run.value) {
        (0, _) => {}
        (_, 0) => push_zeros(parts, len),
        (_, old) => parts.push(value_run(old, len)),
    };
    push_rest(&mut parts, offset);
    parts.push(value_run(value, 1));
    push_rest(&mut parts, run.len - offset - 1);
    parts
}

/// Makes one of two neighbours with the same value, among the first few runs from `at` on.
fn merge_runs(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..MERGE_STEPS {
        let Some(run) = bytes.get(at..).and_then(Run::read) else { return };
        let next = bytes.get(at + run.size..).and_then(Run::read);
        match next {
            Some(next)
                if run.value > 0
                    && next.value == run.value
                    && run.len + next.len <= VALUE_RUN_MAX =>
            {
                bytes[at] = value_run(run.value, run.len + next.len);
                bytes.remove(at + 1);
            }
            _ => at += run.size,
        }
    }
}

/// All registers of one or more HyperLogLogs, the highest value of each.
pub struct Registers(Box<[u8; REGISTERS]>);

impl Default for Registers {
    fn default() -> Self {
        Registers(Box::new([0; REGISTERS]))
    }
}

impl Registers {
    /// Takes over what is higher in this HyperLogLog.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<(), Corrupt> {
        let raise = |register: &mut u8, value: u8| *register = (*register).max(value);
        if is_dense(bytes) {
            let values = (0..REGISTERS).map(|i| dense_get(&bytes[HEADER..], i));
            self.0.iter_mut().zip(values).for_each(|(register, value)| raise(register, value));
            return Ok(());
        }
        checked_runs(bytes, |first, run| {
            if run.value > 0 {
                self.0[first..first + run.len].iter_mut().for_each(|r| raise(r, run.value));
            }
        })
    }

    /// The values.
    pub fn values(&self) -> &[u8] {
        &self.0[..]
    }

    /// How many different elements were added, about.
    pub fn estimate(&self) -> u64 {
        let mut histogram = [0; 64];
        self.0.iter().for_each(|value| histogram[usize::from(value & REGISTER_MAX)] += 1);
        estimate(&histogram)
    }

    /// Gives the registers of a HyperLogLog at least these values; a sparse one that would be
    /// longer than `sparse_max` bytes becomes dense.
    pub fn store(&self, bytes: &mut Vec<u8>, sparse_max: usize) -> Result<(), Corrupt> {
        for (index, &value) in self.0.iter().enumerate().filter(|(_, value)| **value > 0) {
            raise(bytes, index, value, sparse_max)?;
        }
        forget_cached(bytes);
        Ok(())
    }
}

/// How many different elements a HyperLogLog has seen, about, by its registers.
pub fn count(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut histogram = [0; 64];
    if is_dense(bytes) {
        for index in 0..REGISTERS {
            histogram[usize::from(dense_get(&bytes[HEADER..], index))] += 1;
        }
    } else {
        checked_runs(bytes, |_, run| histogram[usize::from(run.value)] += run.len as u32)?;
    }
    Ok(estimate(&histogram))
}

/// The estimate from how many registers have each value.
fn estimate(histogram: &[u32; 64]) -> u64 {
    let m = REGISTERS as f64;
    let highest = f64::from(histogram[COUNTED_BITS + 1]);
    let mut z = m * tau((m - highest) / m);
    for &registers in histogram[1..=COUNTED_BITS].iter().rev() {
        z += f64::from(registers);
        z *= 0.5;
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    (ALPHA_INF * m * m / z).round() as u64
}

/// The correction for registers at zero.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The correction for registers at their highest value.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// Counts that the self test looks at the estimate after; the last one ends it.
const CHECKPOINTS: [u64; 6] = [1, 10, 100, 1000, 10_000, 100_000];

/// Tries registers and estimates out with random numbers; the error says what was wrong.
pub fn self_test(sparse_max: usize) -> Result<(), String> {
    let mut rng = Rng::from_os();
    let mut registers = vec![0; DENSE_LEN - HEADER];
    let values: Vec<u8> = (0..REGISTERS).map(|_| rng.next_u64() as u8 & REGISTER_MAX).collect();
    for (index, &value) in values.iter().enumerate() {
        dense_set(&mut registers, index, value);
    }
    for (index, &value) in values.iter().enumerate() {
        let found = dense_get(&registers, index);
        if found != value {
            return Err(format!("Register {index} should be {value} but is {found}"));
        }
    }
    let (mut sparse, mut dense) = (empty(), empty());
    let corrupt = |_| "a value made here is corrupt".to_owned();
    to_dense(&mut dense).map_err(corrupt)?;
    let salt = rng.next_u64();
    let mut added = 0;
    for checkpoint in CHECKPOINTS {
        for number in added..checkpoint {
            let element = (number ^ salt).to_le_bytes();
            add(&mut sparse, &element, sparse_max).map_err(corrupt)?;
            add(&mut dense, &element, sparse_max).map_err(corrupt)?;
        }
        added = checkpoint;
        let estimate = count(&dense).map_err(corrupt)?;
        if count(&sparse) != Ok(estimate) {
            return Err("dense/sparse disagree".to_owned());
        }
        // Six times the standard error, and one collision among ten.
        let allowed = (1.04 / (REGISTERS as f64).sqrt() * 6.0 * added as f64).ceil() as u64;
        let off = estimate.abs_diff(added);
        if off > allowed {
            return Err(format!("Too big error. card:{added} abserr:{off}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPARSE_MAX: usize = 3000;

    fn of(elements: impl Iterator<Item = u64>) -> Vec<u8> {
        let mut bytes = empty();
        for element in elements {
            add(&mut bytes, &element.to_le_bytes(), SPARSE_MAX).unwrap();
        }
        bytes
    }

    /// The values were read off a Redis 7.0 server.
    #[test]
    fn the_bytes_are_redis_s() {
        let mut bytes = empty();
        assert_eq!(bytes, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
        assert_eq!((cached(&bytes), count(&bytes)), (Some(0), Ok(0)));
        for element in ["a", "b", "c", "d", "e", "f", "g"] {
            assert_eq!(add(&mut bytes, element.as_bytes(), SPARSE_MAX), Ok(true));
        }
        assert_eq!(add(&mut bytes, b"a", SPARSE_MAX), Ok(false));
        assert_eq!((cached(&bytes), count(&bytes)), (None, Ok(7)));
        let registers = b"Fm\x80V\x0c\x80D<\x848\x80P\xb1\x84I\x8c\x80Bm\x80BZ";
        assert_eq!(bytes[..HEADER], *b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80");
        assert_eq!(bytes[HEADER..], registers[..]);
    }

    #[test]
    fn sparse_and_dense_agree() {
        let mut rng = Rng::seeded(3);
        let (mut sparse, mut dense) = (empty(), empty());
        to_dense(&mut dense).unwrap();
        for n in 1..=3000u64 {
            let element = rng.next_u64().to_le_bytes();
            let changed = add(&mut dense, &element, SPARSE_MAX);
            assert_eq!(add(&mut sparse, &element, usize::MAX), changed);
            if n % 100 == 0 {
                let mut copy = sparse.clone();
                assert_eq!(to_dense(&mut copy), Ok(!is_dense(&sparse)));
                assert_eq!(copy[HEADER..], dense[HEADER..]);
                let estimate = count(&sparse).unwrap();
                assert_eq!(count(&dense), Ok(estimate));
                assert!(estimate.abs_diff(n) * 20 <= n + 20, "{estimate} for {n}");
            }
        }
    }

    #[test]
    fn a_long_sparse_value_becomes_dense() {
        let few = of(0..200);
        assert!(!is_dense(&few) && is_one(&few));
        let many = of(0..3000);
        assert!(is_dense(&many) && is_one(&many) && many.len() == DENSE_LEN);
    }

    #[test]
    fn a_merge_counts_the_union() {
        let parts = [of(0..1500), of(1000..2500), of(5000..5010)];
        let mut registers = Registers::default();
        parts.iter().for_each(|part| registers.merge(part).unwrap());
        let mut merged = empty();
        registers.store(&mut merged, SPARSE_MAX).unwrap();
        let whole = of((0..2500).chain(5000..5010));
        assert_eq!(count(&merged), count(&whole));
        assert_eq!(registers.estimate(), count(&whole).unwrap());
        let mut again = Registers::default();
        again.merge(&merged).unwrap();
        assert_eq!(again.values(), registers.values());
    }

    #[test]
    fn the_self_test_passes() {
        assert_eq!(self_test(SPARSE_MAX), Ok(()));
    }

    #[test]
    fn broken_values_do_no_harm() {
        let mut rng = Rng::seeded(9);
        let good = of(0..300);
        for _ in 0..2000 {
            let mut bytes = good.clone();
            let at = HEADER + rng.next_u64() as usize % (bytes.len() - HEADER);
            bytes[at] = rng.next_u64() as u8;
            if rng.next_u64().is_multiple_of(4) {
                bytes.truncate(at);
            }
            let verdict = count(&bytes).is_ok();
            assert_eq!(Registers::default().merge(&bytes).is_ok(), verdict);
            for element in 0..20u64 {
                let _ = add(&mut bytes, &element.to_le_bytes(), SPARSE_MAX);
            }
        }
        assert_eq!(count(&good[..HEADER]), Err(Corrupt));
        let mut bytes = good[..HEADER].to_vec();
        assert_eq!(add(&mut bytes, b"x", SPARSE_MAX), Err(Corrupt));
        for bad in [&b"HYLL"[..], b"hyll\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff", &[0; DENSE_LEN]] {
            assert!(!is_one(bad));
        }
        let mut dense = good;
        to_dense(&mut dense).unwrap();
        assert!(is_one(&dense) && !is_one(&dense[1..]));
        dense.push(0);
        assert!(!is_one(&dense));
    }
}
