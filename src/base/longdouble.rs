//! The 80-bit extended floats of x87, in software.
//!
//! Redis on x86-64 computes `INCRBYFLOAT` and `HINCRBYFLOAT` in C's `long double`. Only in the same
//! format are the sums equal to the last digit, so this file reads, adds and prints it: 64 bits of
//! mantissa, exponents to 2^16383, rounding to nearest with ties to even. It knows nothing of the
//! commands; a refused text is `None`.
//!
//! Invariant: a finite value is `mantissa * 2^exponent` with the mantissa's top bit set, unless the
//! exponent is the lowest one (zero and the subnormal numbers).

use super::num::{self, BinaryFormat, Decimal, FloatShape};
use std::cmp::Ordering;
use std::ops::Add;

/// Texts of this length or more are refused, as they do not fit the buffer Redis parses them in.
const TEXT_LIMIT: usize = 5 * 1024;

/// How many digits after the point `to_human` rounds to.
const HUMAN_DECIMALS: usize = 17;

const FORMAT: BinaryFormat = BinaryFormat { bits: 64, min_exponent: -16445, max_exponent: 16320 };

/// A number in x87 extended format. Comparing is of the representation: `0` is not `-0`, and NaN
/// equals itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    magnitude: Magnitude,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magnitude {
    /// The mantissa and the exponent.
    Finite(u64, i32),
    Infinite,
    NotANumber,
}

impl LongDouble {
    fn new(negative: bool, magnitude: Magnitude) -> LongDouble {
        LongDouble { negative, magnitude }
    }

    /// Parses a text as `strtold` does, if it takes the whole of it: the grammar of
    /// [`num::parse_f64`], infinities included. Refused are texts of 5,120 bytes and more, NaN, and
    /// nonzero numbers that round to infinity or zero (a subnormal result is accepted).
    pub fn parse(b: &[u8]) -> Option<LongDouble> {
        if b.len() >= TEXT_LIMIT {
            return None;
        }
        let (negative, shape) = num::scan_float(b)?;
        let magnitude = match shape {
            FloatShape::Infinite => Magnitude::Infinite,
            FloatShape::Decimal(decimal) if decimal.digits.is_empty() => Magnitude::ZERO,
            FloatShape::Decimal(decimal) => decimal_magnitude(&decimal)?,
            FloatShape::Hex(hex) if hex.mantissa == 0 => Magnitude::ZERO,
            FloatShape::Hex(hex) => nonzero(hex.mantissa, hex.exponent, hex.sticky)?,
        };
        Some(LongDouble::new(negative, magnitude))
    }

    /// The value of `v`, which is always exact.
    pub fn from_i64(v: i64) -> LongDouble {
        let magnitude = Magnitude::rounded(u128::from(v.unsigned_abs()), 0, false);
        LongDouble::new(v < 0, magnitude)
    }

    /// Whether this is not a number, which only adding infinities can make.
    pub fn is_nan(&self) -> bool {
        self.magnitude == Magnitude::NotANumber
    }

    /// Whether this is an infinity of either sign.
    pub fn is_infinite(&self) -> bool {
        self.magnitude == Magnitude::Infinite
    }

    /// The number as Redis shows it to people: rounded to 17 decimals (`%.17Lf`, ties to even by
    /// the exact value), without trailing zeros or a trailing point, and `0` for `-0`.
    pub fn to_human(self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.negative {
            out.push(b'-');
        }
        match self.magnitude {
            Magnitude::NotANumber => return b"nan".to_vec(),
            Magnitude::Infinite => out.extend_from_slice(b"inf"),
            Magnitude::Finite(mantissa, exponent) => match u32::try_from(exponent) {
                Ok(exponent) => {
                    let mut whole = Natural::from(u128::from(mantissa));
                    whole.shift_left(exponent as usize);
                    out.extend_from_slice(whole.into_decimal().as_bytes());
                }
                Err(_) => push_fixed(&mut out, mantissa, exponent.unsigned_abs()),
            },
        }
        if out == b"-0" {
            out.remove(0);
        }
        out
    }
}

impl Add for LongDouble {
    type Output = LongDouble;

    /// The sum, rounded once. Opposite infinities make NaN; a sum of exactly zero is positive
    /// unless both numbers are negative zeros.
    fn add(self, other: LongDouble) -> LongDouble {
        use Magnitude::{Finite, Infinite, NotANumber};
        match (self.magnitude, other.magnitude) {
            (NotANumber, _) => self,
            (_, NotANumber) => other,
            (Infinite, Infinite) if self.negative != other.negative => {
                LongDouble::new(false, NotANumber)
            }
            (Infinite, _) => self,
            (_, Infinite) => other,
            (Finite(a, i), Finite(b, j)) if (i, a) >= (j, b) => {
                add_ordered(self.negative, (a, i), other.negative, (b, j))
            }
            (Finite(a, i), Finite(b, j)) => {
                add_ordered(other.negative, (b, j), self.negative, (a, i))
            }
        }
    }
}

impl Magnitude {
    const ZERO: Magnitude = Magnitude::Finite(0, FORMAT.min_exponent as i32);

    fn rounded(mantissa: u128, exponent: i64, sticky: bool) -> Magnitude {
        match FORMAT.round(mantissa, exponent, sticky) {
            Some((mantissa, exponent)) => Magnitude::Finite(mantissa, exponent),
            None => Magnitude::Infinite,
        }
    }
}

/// Rounds a number that must become neither zero nor infinite.
fn nonzero(mantissa: u128, exponent: i64, sticky: bool) -> Option<Magnitude> {
    let magnitude = Magnitude::rounded(mantissa, exponent, sticky);
    (magnitude != Magnitude::ZERO && magnitude != Magnitude::Infinite).then_some(magnitude)
}

/// Adds two finite numbers, given as sign, mantissa and exponent; the first must have the larger
/// magnitude.
fn add_ordered(
    negative: bool,
    large: (u64, i32),
    other_sign: bool,
    small: (u64, i32),
) -> LongDouble {
    // Two bits stay free above for the carry, and 62 below. If even those are not enough for all
    // bits of the smaller number, then it is so much smaller that at most one leading bit can
    // cancel, and what is cut off only breaks ties.
    const SPARE: u32 = 62;
    let top = u128::from(large.0) << SPARE;
    let full = u128::from(small.0) << SPARE;
    let distance = large.1.abs_diff(small.1);
    let aligned = full.checked_shr(distance).unwrap_or(0);
    let sticky = full.trailing_zeros() < distance && full != 0;
    let sum = if negative == other_sign {
        top + aligned
    } else {
        // The part cut off is subtracted too: borrow one, and what remains of it is sticky again.
        top - aligned - u128::from(sticky)
    };
    let magnitude = Magnitude::rounded(sum, i64::from(large.1) - i64::from(SPARE), sticky);
    let negative = if sum == 0 { negative && other_sign } else { negative };
    LongDouble::new(negative, magnitude)
}

/// Appends `mantissa / 2^shift`, rounded and trimmed as [`LongDouble::to_human`] says.
fn push_fixed(out: &mut Vec<u8>, mantissa: u64, shift: u32) {
    let scale = 10u128.pow(HUMAN_DECIMALS as u32);
    let scaled = num::round_shift(u128::from(mantissa) * scale, u64::from(shift), false);
    let (whole, fraction) = (scaled / scale, scaled % scale);
    out.extend_from_slice(whole.to_string().as_bytes());
    if fraction != 0 {
        let digits = format!("{fraction:0width$}", width = HUMAN_DECIMALS);
        out.push(b'.');
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
}

/// The value of a nonzero decimal, correctly rounded; `None` when out of range.
fn decimal_magnitude(decimal: &Decimal) -> Option<Magnitude> {
    // The first digit's power of ten tells hopeless exponents apart before any work is done: the
    // largest number is below 10^4933, and half the smallest above 10^-4951.
    let leading = decimal.exponent + decimal.digits.len() as i64;
    if !(-4950..=4933).contains(&leading) {
        return None;
    }
    let exponent = decimal.exponent;
    let power = exponent.unsigned_abs() as usize;
    let mut digits = Natural::from_decimal(&decimal.digits);
    // 10^n is 5^n * 2^n, and the powers of two go straight into the exponent.
    if exponent >= 0 {
        digits.multiply_by_power_of_five(power);
        let (mantissa, dropped, sticky) = digits.leading_bits();
        nonzero(mantissa, exponent + dropped, sticky)
    } else {
        let mut divisor = Natural::from(1);
        divisor.multiply_by_power_of_five(power);
        let (mantissa, scale, sticky) = digits.divide(divisor);
        nonzero(mantissa, exponent + scale, sticky)
    }
}

/// A natural number of any size: base 2^32, the lowest limb first, the highest not zero.
struct Natural {
    limbs: Vec<u32>,
}

impl From<u128> for Natural {
    fn from(value: u128) -> Natural {
        let limbs = (0..4).map(|i| (value >> (32 * i)) as u32).collect();
        let mut natural = Natural { limbs };
        natural.trim();
        natural
    }
}

impl Natural {
    fn from_decimal(digits: &[u8]) -> Natural {
        let mut natural = Natural { limbs: Vec::with_capacity(digits.len() / 9 + 1) };
        for chunk in digits.chunks(9) {
            let value = chunk.iter().fold(0, |value, c| value * 10 + u32::from(c - b'0'));
            natural.multiply_add(10u32.pow(chunk.len() as u32), value);
        }
        natural
    }

    fn into_decimal(mut self) -> String {
        const CHUNK: u64 = 1_000_000_000;
        let mut chunks = Vec::new();
        while !self.limbs.is_empty() {
            let mut rest = 0;
            for limb in self.limbs.iter_mut().rev() {
                let value = rest << 32 | u64::from(*limb);
                *limb = (value / CHUNK) as u32;
                rest = value % CHUNK;
            }
            self.trim();
            chunks.push(rest);
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.iter().rev() {
            text.push_str(&format!("{chunk:09}"));
        }
        text
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }

    fn bit_len(&self) -> usize {
        let top = self.limbs.last().map_or(0, |limb| limb.leading_zeros() as usize);
        self.limbs.len() * 32 - top
    }

    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for limb in &mut self.limbs {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.limbs.push(carry as u32);
        }
    }

    fn multiply_by_power_of_five(&mut self, power: usize) {
        // 5^13 is the largest power that fits a limb.
        for _ in 0..power / 13 {
            self.multiply_add(5u32.pow(13), 0);
        }
        self.multiply_add(5u32.pow((power % 13) as u32), 0);
    }

    fn shift_left(&mut self, bits: usize) {
        if self.limbs.is_empty() {
            return;
        }
        self.multiply_add(1 << (bits % 32), 0);
        self.limbs.splice(..0, std::iter::repeat_n(0, bits / 32));
    }

    /// The highest bits, 97 or more if there are as many: the number is `bits * 2^dropped`, or
    /// slightly more if the last value is true.
    fn leading_bits(&self) -> (u128, i64, bool) {
        let cut = self.limbs.len().saturating_sub(4);
        let bits = self.limbs[cut..].iter().rev().fold(0, |bits, l| bits << 32 | u128::from(*l));
        (bits, cut as i64 * 32, self.limbs[..cut].iter().any(|limb| *limb != 0))
    }

    /// Divides by a divisor that is not zero: the quotient is `bits * 2^scale`, or slightly more if
    /// the last value is true, and has 67 or 68 bits. One bit at a time, as no more are needed.
    fn divide(mut self, mut divisor: Natural) -> (u128, i64, bool) {
        const STEPS: i64 = 68;
        let (own, other) = (self.bit_len(), divisor.bit_len());
        self.shift_left(other.saturating_sub(own));
        divisor.shift_left(own.saturating_sub(other));
        let mut quotient = 0;
        for _ in 0..STEPS {
            quotient <<= 1;
            if self.compare(&divisor) != Ordering::Less {
                self.subtract(&divisor);
                quotient |= 1;
            }
            self.multiply_add(2, 0);
        }
        (quotient, own as i64 - other as i64 - (STEPS - 1), !self.limbs.is_empty())
    }

    fn compare(&self, other: &Natural) -> Ordering {
        let by_len = self.limbs.len().cmp(&other.limbs.len());
        by_len.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }

    /// Subtracts a number that is not larger.
    fn subtract(&mut self, other: &Natural) {
        let mut borrow = false;
        for (i, limb) in self.limbs.iter_mut().enumerate() {
            let (difference, below) =
                limb.overflowing_sub(other.limbs.get(i).copied().unwrap_or(0));
            let (difference, further) = difference.overflowing_sub(u32::from(borrow));
            *limb = difference;
            borrow = below || further;
        }
        self.trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In each: `a`, `b`, and what `SET k a` and `INCRBYFLOAT k b` gave on a Redis 7.0 server.
    const SUMS: &str = "
        3.0 1.1 4.1; 10.5 0.1 10.6; 5.0e3 2.0e2 5200; 0.1 0.2 0.3; 1 -1 0; -0 -0 0; 1e-18 0 0
        5e-18 0 0; 15e-18 0 0.00000000000000002; 0x1p-18 0 0.00000381469726562; -4e-18 0 0
        1e18 0.3 1000000000000000000.3125; 9223372036854775807 1 9223372036854775808
        18446744073709551615 0.5 18446744073709551616
        18446744073709551615 1.5 18446744073709551616
        18446744073709551616 1 18446744073709551616
        18446744073709551616 1.0000000001 18446744073709551618
        18446744073709551616 -0.5 18446744073709551616
        18446744073709551616 -0.50000001 18446744073709551615
        0x1p64 -0x1.0000000000000002p-1 18446744073709551615
        17179869184.0000001 0 17179869184.00000010058283806; 0x1p-16445 0x1p-16445 0
        3 3e-4951 3; +1.5 .5 2; 1. 0X1.8P3 13
        99999999999999999.99999 0.00001 100000000000000000; 0.000000000000000005 0 0
        0x1p-57 0 0.00000000000000001; 0x3p-57 0 0.00000000000000002
        -333147.932880407238625511 -733311387.113511971814781580 -733644535.04639237909577787
        -9833976260.07 561489707124.10756900720031716 551655730864.03756898641586304
        201183162164.786364418553457 -864684141.25039 200318478023.53597442805767059
        091242508.1415790072768 0106204.281108681 91348712.42268768828216707
        738955733796.8361394556388 -34532524874.7317914420 704423208922.10434800386428833
        -172.75845297e13 -87.88826694e-4 -1727584529700000.0087890625
        022.05376652e11 77.60950978e6 2205454261509.77999997138977051
        -029.45155682e8 -06.97146148e6 -2952127143.47999999998137355
        513.08130768e22 -77.61475934e-3 5130813076799999999737856
        -0xe4a66af.1f5daaca69963fep-12 0x6cb1e2e99fb92a3cp-12 1912180351506156.221923828125
        -0x1951117a.ad4fbd7fdcd4943p11 0x36809473d8976ae5bp-15 1916758104423810.870361328125
        0x22464cec.d440aa1a73af0e9p-2 -0x19efa726615861b10p-21 -14258402336112.98352527618408203
        0x2a1a724f.e51e4b4cdcf5c8p-18 0x74f4a09e9172e536p-45 242219.6309893649854672
    ";

    fn parse(text: &str) -> LongDouble {
        LongDouble::parse(text.as_bytes()).unwrap_or_else(|| panic!("refused: {text}"))
    }

    fn human(number: LongDouble) -> String {
        String::from_utf8(number.to_human()).unwrap()
    }

    #[test]
    fn sums_are_those_of_redis() {
        for sum in SUMS.split([';', '\n']).filter(|sum| !sum.trim().is_empty()) {
            let fields: Vec<&str> = sum.split_whitespace().collect();
            let (a, b) = (parse(fields[0]), parse(fields[1]));
            assert_eq!(human(a + b), fields[2], "{} + {}", fields[0], fields[1]);
            assert_eq!(a + b, b + a);
        }
    }

    #[test]
    fn the_largest_numbers_have_all_their_digits() {
        let text = human(parse("1e4932"));
        assert_eq!(text.len(), 4933);
        assert!(text.starts_with("100000000000000000000601894938796389132383777425453311477378"));
        assert_eq!(parse(&text), parse("1e4932"));
        let largest = parse("0x1.fffffffffffffffep16383");
        assert_eq!(parse("1.18973149535723176502e4932"), largest);
        assert!((largest + largest).is_infinite());
        assert!((largest + parse("0x1p16319")).is_infinite());
        assert_eq!(largest + parse("0x1p16318"), largest);
    }

    #[test]
    fn the_smallest_numbers_are_kept() {
        let smallest = parse("0x1p-16445");
        assert_eq!(parse("1.9e-4951"), smallest);
        assert_eq!(parse("0x1.8p-16446"), smallest);
        assert_eq!(smallest + smallest, parse("0x1p-16444"));
        let below_normal = parse("0x0.fffffffffffffffep-16382");
        assert_eq!(below_normal + smallest, parse("0x1p-16382"));
        assert_eq!(parse("0x1p-16382") + parse("-0x1p-16445"), below_normal);
        assert_eq!(human(smallest), "0");
    }

    #[test]
    fn texts_out_of_range_or_grammar_are_refused() {
        let bad = "| 1|1 |nan|-nan|nan(1)|infi|+-1|.|e1|1e|1e+|1_0|1\0|0x|0x.p1|0x1p|1e4933|\
            -1e4933|1.189731495357231765086e4932|0x1.ffffffffffffffffp16383|1e-4951|1.8e-4951|\
            0x1p-16446|1e99999999999999999999|1e-99999999999999999999|0x1p99999999999999999999";
        for text in bad.split('|') {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn long_texts_end_where_the_buffer_of_redis_does() {
        let zeros = "0".repeat(TEXT_LIMIT - 2);
        assert_eq!(parse(&format!("{zeros}1")), LongDouble::from_i64(1));
        assert_eq!(LongDouble::parse(format!("{zeros}01").as_bytes()), None);
        assert_eq!(human(parse(&format!("0.{}1e4001", "0".repeat(4000)))), "1");
        assert_eq!(parse(&"9".repeat(4932)), parse("1e4932"));
        // Halfway between two neighbours, and a last digit that breaks the tie.
        let tie = format!("18446744073709551617.{}", "0".repeat(5000));
        assert_eq!(human(parse(&tie)), "18446744073709551616");
        assert_eq!(human(parse(&format!("{tie}1"))), "18446744073709551618");
    }

    #[test]
    fn integers_are_exact() {
        for v in [0, 1, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(human(LongDouble::from_i64(v)), v.to_string());
            assert_eq!(LongDouble::from_i64(v), parse(&v.to_string()));
        }
    }

    #[test]
    fn infinities_and_nan() {
        let (plus, minus) = (parse("+INF"), parse("-infinity"));
        assert!(plus.is_infinite() && minus.is_infinite() && !plus.is_nan());
        assert!((plus + minus).is_nan() && !(plus + minus).is_infinite());
        assert_eq!(plus + plus, plus);
        assert_eq!(parse("1") + minus, minus);
        assert_eq!(human(minus), "-inf");
        assert!((plus + minus + parse("1")).is_nan());
    }

    #[test]
    fn zero_has_a_sign_that_people_do_not_see() {
        let (zero, negative) = (parse("0"), parse("-0"));
        assert_ne!(zero, negative);
        assert_eq!(negative + negative, negative);
        assert_eq!(zero + negative, zero);
        assert_eq!(parse("-1") + parse("1"), zero);
        assert_eq!(human(negative), "0");
        assert_eq!(human(parse("-1e-30")), "0");
        assert_eq!(parse("0e99999999999999999999"), zero);
    }
}
