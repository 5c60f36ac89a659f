//! The digits of a double: few enough, and enough to read back the same number (the algorithm
//! Grisu2 of Florian Loitsch's "Printing Floating-Point Numbers Quickly and Accurately with
//! Integers").
//!
//! In all but about a thousandth of cases they are the fewest possible. Redis prints the other ones
//! with more digits than needed, and so does this file, which computes with the same roundings.
//! It knows nothing of how digits are laid out.

/// Bits of a double's fraction.
const FRACTION_BITS: u32 = 52;
/// The bit that a normal double's fraction is understood to have.
const HIDDEN: u64 = 1 << FRACTION_BITS;
/// What is to be subtracted from a double's exponent if the fraction is taken as a whole number.
const BIAS: i32 = 1023 + FRACTION_BITS as i32;

/// The least power of ten in [`POWERS`], and the distance from one to the next.
const FIRST_POWER: i32 = -348;
const POWER_STEP: i32 = 8;

/// The exponents that a number may have after it was multiplied by a power of ten.
const MIN_EXPONENT: i32 = -60;
const MAX_EXPONENT: i32 = -32;

/// Powers of ten as fractions of 64 bits, rounded to nearest; see [`power`] for their exponents.
const POWERS: [u64; 87] = [
    0xfa8fd5a0081c0288,
    0xbaaee17fa23ebf76,
    0x8b16fb203055ac76,
    0xcf42894a5dce35ea,
    0x9a6bb0aa55653b2d,
    0xe61acf033d1a45df,
    0xab70fe17c79ac6ca,
    0xff77b1fcbebcdc4f,
    0xbe5691ef416bd60c,
    0x8dd01fad907ffc3c,
    0xd3515c2831559a83,
    0x9d71ac8fada6c9b5,
    0xea9c227723ee8bcb,
    0xaecc49914078536d,
    0x823c12795db6ce57,
    0xc21094364dfb5637,
    0x9096ea6f3848984f,
    0xd77485cb25823ac7,
    0xa086cfcd97bf97f4,
    0xef340a98172aace5,
    0xb23867fb2a35b28e,
    0x84c8d4dfd2c63f3b,
    0xc5dd44271ad3cdba,
    0x936b9fcebb25c996,
    0xdbac6c247d62a584,
    0xa3ab66580d5fdaf6,
    0xf3e2f893dec3f126,
    0xb5b5ada8aaff80b8,
    0x87625f056c7c4a8b,
    0xc9bcff6034c13053,
    0x964e858c91ba2655,
    0xdff9772470297ebd,
    0xa6dfbd9fb8e5b88f,
    0xf8a95fcf88747d94,
    0xb94470938fa89bcf,
    0x8a08f0f8bf0f156b,
    0xcdb02555653131b6,
    0x993fe2c6d07b7fac,
    0xe45c10c42a2b3b06,
    0xaa242499697392d3,
    0xfd87b5f28300ca0e,
    0xbce5086492111aeb,
    0x8cbccc096f5088cc,
    0xd1b71758e219652c,
    0x9c40000000000000,
    0xe8d4a51000000000,
    0xad78ebc5ac620000,
    0x813f3978f8940984,
    0xc097ce7bc90715b3,
    0x8f7e32ce7bea5c70,
    0xd5d238a4abe98068,
    0x9f4f2726179a2245,
    0xed63a231d4c4fb27,
    0xb0de65388cc8ada8,
    0x83c7088e1aab65db,
    0xc45d1df942711d9a,
    0x924d692ca61be758,
    0xda01ee641a708dea,
    0xa26da3999aef774a,
    0xf209787bb47d6b85,
    0xb454e4a179dd1877,
    0x865b86925b9bc5c2,
    0xc83553c5c8965d3d,
    0x952ab45cfa97a0b3,
    0xde469fbd99a05fe3,
    0xa59bc234db398c25,
    0xf6c69a72a3989f5c,
    0xb7dcbf5354e9bece,
    0x88fcf317f22241e2,
    0xcc20ce9bd35c78a5,
    0x98165af37b2153df,
    0xe2a0b5dc971f303a,
    0xa8d9d1535ce3b396,
    0xfb9b7cd9a4a7443c,
    0xbb764c4ca7a44410,
    0x8bab8eefb6409c1a,
    0xd01fef10a657842c,
    0x9b10a4e5e9913129,
    0xe7109bfba19c0c9d,
    0xac2820d9623bf429,
    0x80444b5e7aa7cf85,
    0xbf21e44003acdd2d,
    0x8e679c2f5e44ff8f,
    0xd433179d9c8cb841,
    0x9e19db92b4e31ba9,
    0xeb96bf6ebadf77d9,
    0xaf87023b9bf0ee6b,
];

/// A number `fraction * 2^exponent`.
#[derive(Clone, Copy)]
struct Float {
    fraction: u64,
    exponent: i32,
}

impl Float {
    /// Shifted until the highest bit is set.
    fn normal(self) -> Float {
        let shift = self.fraction.leading_zeros();
        Float { fraction: self.fraction << shift, exponent: self.exponent - shift as i32 }
    }

    /// The product, rounded to 64 bits.
    fn times(self, other: Float) -> Float {
        let product = u128::from(self.fraction) * u128::from(other.fraction);
        let fraction = ((product + (1 << 63)) >> 64) as u64;
        Float { fraction, exponent: self.exponent + other.exponent + 64 }
    }
}

/// The power of ten number `index`, and which it is.
fn power(index: usize) -> (Float, i32) {
    let tens = FIRST_POWER + index as i32 * POWER_STEP;
    // The whole part of the logarithm: 217706 / 2^16 is log2(10) as near as is needed here.
    let exponent = ((tens * 217_706) >> 16) - 63;
    (Float { fraction: POWERS[index], exponent }, tens)
}

/// A power of ten that brings a number with this exponent into the range where it is cut into
/// digits.
fn power_for(exponent: i32) -> (Float, i32) {
    const LOG_10_OF_2: f64 = 0.301_029_995_663_981_14;
    let guess = (f64::from(-(exponent + POWERS.len() as i32)) * LOG_10_OF_2) as i32;
    let mut index = ((guess - FIRST_POWER) / POWER_STEP) as usize;
    loop {
        let (float, tens) = power(index);
        let reached = exponent + float.exponent + 64;
        if reached < MIN_EXPONENT {
            index += 1;
        } else if reached > MAX_EXPONENT {
            index -= 1;
        } else {
            return (float, tens);
        }
    }
}

/// A positive finite double as a fraction and an exponent.
fn split(value: f64) -> Float {
    let bits = value.to_bits();
    let (fraction, exponent) = (bits & (HIDDEN - 1), (bits >> FRACTION_BITS) as i32 & 0x7ff);
    if exponent == 0 {
        Float { fraction, exponent: 1 - BIAS }
    } else {
        Float { fraction: fraction | HIDDEN, exponent: exponent - BIAS }
    }
}

/// The middles between a number and its neighbours, with one exponent.
fn boundaries(float: Float) -> (Float, Float) {
    let Float { fraction, exponent } = float;
    let upper = Float { fraction: (fraction << 1) + 1, exponent: exponent - 1 }.normal();
    // The neighbour below a power of two is only half as far away.
    let shift = if fraction == HIDDEN { 2 } else { 1 };
    let lower = ((fraction << shift) - 1) << (exponent - shift - upper.exponent);
    (Float { fraction: lower, exponent: upper.exponent }, upper)
}

/// The digits of a positive finite number, and the power of ten that the last one stands for.
pub fn digits(value: f64) -> (Vec<u8>, i32) {
    let float = split(value);
    let (lower, upper) = boundaries(float);
    let (scale, tens) = power_for(upper.exponent);
    let [exact, mut lower, mut upper] = [float.normal(), lower, upper].map(|f| f.times(scale));
    // Each product may be wrong by one in the last place: the interval shrinks by that.
    lower.fraction += 1;
    upper.fraction -= 1;
    let interval = Interval {
        width: upper.fraction - lower.fraction,
        excess: upper.fraction - exact.fraction,
        upper,
    };
    let (digits, exponent) = interval.cut();
    (digits, exponent - tens)
}

/// The numbers that read back as the wanted one.
struct Interval {
    upper: Float,
    /// How far it reaches below its upper end.
    width: u64,
    /// How far the wanted number is below that end.
    excess: u64,
}

impl Interval {
    /// The first digits of its upper end that are enough, the last of them lowered as near to the
    /// wanted number as may be; and the power of ten of the last one.
    fn cut(self) -> (Vec<u8>, i32) {
        let shift = -self.upper.exponent as u32;
        let mut whole = self.upper.fraction >> shift;
        let mask = (1u64 << shift) - 1;
        let mut part = self.upper.fraction & mask;
        let mut digits = Vec::with_capacity(18);
        let mut unit = 1_000_000_000u64;
        for exponent in (0..10).rev() {
            push_digit(&mut digits, whole / unit);
            whole %= unit;
            let rest = (whole << shift) + part;
            if rest <= self.width {
                lower_last(&mut digits, self.width, rest, unit << shift, self.excess);
                return (digits, exponent);
            }
            unit /= 10;
        }
        let (mut width, mut scale, mut exponent) = (self.width, 1u64, 0);
        loop {
            part *= 10;
            width *= 10;
            scale = scale.wrapping_mul(10);
            exponent -= 1;
            push_digit(&mut digits, part >> shift);
            part &= mask;
            if part < width {
                let excess = self.excess.wrapping_mul(scale);
                lower_last(&mut digits, width, part, 1 << shift, excess);
                return (digits, exponent);
            }
        }
    }
}

/// Adds a digit, unless it is a zero before all others.
fn push_digit(digits: &mut Vec<u8>, digit: u64) {
    if digit != 0 || !digits.is_empty() {
        digits.push(b'0' + digit as u8);
    }
}

/// Lowers the last digit while that leads nearer to the wanted number and not out of the interval.
/// `rest` is how far the digits are below the upper end, `unit` what the last digit is worth.
fn lower_last(digits: &mut [u8], width: u64, mut rest: u64, unit: u64, excess: u64) {
    let Some(last) = digits.last_mut() else { return };
    while rest < excess
        && width - rest >= unit
        && (rest + unit < excess || excess - rest > rest + unit - excess)
    {
        *last -= 1;
        rest += unit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn text(value: f64) -> String {
        let (digits, exponent) = digits(value);
        format!("{}e{exponent}", String::from_utf8(digits).unwrap())
    }

    #[test]
    fn digits_are_those_of_redis() {
        let cases = [
            (0.1, "1e-1"),
            (1.0 / 3.0, "3333333333333333e-16"),
            (1.5, "15e-1"),
            (f64::MAX, "17976931348623157e292"),
            (f64::MIN_POSITIVE, "22250738585072014e-324"),
            (5e-324, "5e-324"),
            (2f64.powi(70), "11805916207174113e5"),
            // Not the fewest possible.
            (676475.956435, "6764759564349999e-10"),
            (0.4959708893842458, "49597088938424583e-17"),
            (86.034483557083, "8603448355708301e-14"),
            (5.499881215382655e259, "54998812153826547e243"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn digits_read_back_as_the_same_number() {
        let mut rng = Rng::seeded(8);
        let mut longer = 0;
        for _ in 0..20_000 {
            let value = f64::from_bits(rng.next_u64() >> 1);
            if value == 0.0 || !value.is_finite() {
                continue;
            }
            let text = text(value);
            assert_eq!(text.parse::<f64>(), Ok(value), "{value:e}");
            let fewest = format!("{value:e}").bytes().take_while(|c| *c != b'e').count();
            longer += usize::from(text.find('e').unwrap() + 1 > fewest.max(2));
        }
        assert!(longer < 200, "{longer}");
    }
}
