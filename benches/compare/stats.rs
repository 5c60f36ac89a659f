//! Figures out of measurements: percentiles, medians and ratios of adjacent runs.

/// The value below or at which `part` (0.0 to 1.0) of the sorted values lie.
pub fn percentile(sorted: &[u64], part: f64) -> u64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0)
}

/// The middle value, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// How one server compares to another over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// The server compared with, by its place among all of them.
    pub against: usize,
}

/// Which of two measured values wins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Better {
    More,
    Less,
}

/// The first server against the best of the others: that with the lowest median of the ratios per
/// round. `rounds` has one value per server in each round. A ratio above 1 is a win.
pub fn against_best(rounds: &[Vec<f64>], better: Better) -> Option<Ratio> {
    let servers = rounds.iter().map(Vec::len).min()?;
    let against = |other: usize| {
        let ratios: Vec<f64> = rounds
            .iter()
            .map(|values| match better {
                Better::More => values[0] / values[other],
                Better::Less => values[other] / values[0],
            })
            .collect();
        Ratio {
            median: median(&ratios),
            min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            max: ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            against: other,
        }
    };
    (1..servers).map(against).min_by(|a, b| a.median.total_cmp(&b.median))
}

/// The median over the rounds of what each server measured.
pub fn medians(rounds: &[Vec<f64>]) -> Vec<f64> {
    let servers = rounds.iter().map(Vec::len).min().unwrap_or(0);
    (0..servers)
        .map(|server| median(&rounds.iter().map(|values| values[server]).collect::<Vec<_>>()))
        .collect()
}
