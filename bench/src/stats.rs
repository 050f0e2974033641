//! The statistics of a comparison: medians, quantiles, and ratios paired by round.
//!
//! Ratios are paired because the machine itself drifts (the no-op varies by a tenth from run to
//! run). Two contenders in the same round drift together, so their ratio is steadier than either
//! figure.

use serde::{Deserialize, Serialize};

/// A ratio over several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Median of the rounds' ratios.
    pub median: f64,
    /// The lowest round.
    pub min: f64,
    /// The highest round.
    pub max: f64,
}

/// Returns the value at `quantile` (0 to 1) of `values`, by nearest rank; `None` without values.
pub fn quantile(values: &[f64], quantile: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get(rank(last, quantile)).copied()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank lies between 0 and `last`"
)]
fn rank(last: usize, quantile: f64) -> usize {
    ((last as f64) * quantile.clamp(0.0, 1.0)).round() as usize
}

/// Returns the middle value, or the mean of the middle two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[sorted.len() / 2 - 1], upper))
}

/// Returns the ratio of two contenders that ran in the same rounds. Rounds in which either is
/// missing or zero do not count.
pub fn paired(numerators: &[f64], denominators: &[f64]) -> Option<Ratio> {
    let ratios: Vec<f64> = numerators
        .iter()
        .zip(denominators)
        .filter(|(_, denominator)| **denominator > 0.0)
        .map(|(numerator, denominator)| numerator / denominator)
        .collect();
    Some(Ratio {
        median: median(&ratios)?,
        min: quantile(&ratios, 0.0)?,
        max: quantile(&ratios, 1.0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_value_or_the_mean_of_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn quantile_is_one_of_the_values() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.99), Some(99.0));
        assert_eq!(quantile(&values, 0.0), Some(0.0));
        assert_eq!(quantile(&values, 1.0), Some(100.0));
        assert_eq!(quantile(&[7.0], 0.5), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn paired_ratio_compares_within_each_round() {
        // The machine was half as fast in the second round, for both contenders.
        let ratio = paired(&[50.0, 25.0, 60.0], &[100.0, 50.0, 100.0]).unwrap();
        assert_eq!(
            ratio,
            Ratio {
                median: 0.5,
                min: 0.5,
                max: 0.6
            }
        );
        assert_eq!(paired(&[1.0], &[0.0]), None);
        assert_eq!(paired(&[], &[]), None);
    }
}
