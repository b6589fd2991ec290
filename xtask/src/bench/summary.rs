//! From samples to figures.

use std::collections::BTreeMap;

use viaduct_figures::{Histogram, Round, Series};

use super::report::Row;

/// The figures of a series; budget and ratio are others' work.
pub(super) fn row(part: &str, series: &Series) -> Row {
    let (mut samples, mut zeroes) = (Histogram::default(), Histogram::default());
    for round in &series.rounds {
        samples.merge(&round.samples);
        zeroes.merge(&round.zeroes);
    }
    let zero = zeroes.median(series.step);
    let net = |share| rounded(samples.quantile(share, series.step) - zero);
    let medians: Vec<f64> = series.rounds.iter().map(|round| net_median(round, series.step)).collect();
    Row {
        part: part.into(),
        name: series.name.clone(),
        place: series.place.clone(),
        unit: series.unit.clone(),
        median: net(0.5),
        lower_quartile: net(0.25),
        upper_quartile: net(0.75),
        mean: rounded(samples.mean_below(0.999) - zero),
        p99: net(0.99),
        spread: rounded(deviation(&medians)),
        samples: samples.len(),
        rounds: series.rounds.len() as u64,
        ratio: None,
        budget: None,
        counts: series.counts.iter().map(|(event, count)| (event.clone(), rounded(*count))).collect(),
    }
}

/// The median of one round, less that of its own zeroes.
fn net_median(round: &Round, step: u64) -> f64 {
    round.samples.median(step) - round.zeroes.median(step)
}

/// The median absolute deviation from the median.
fn deviation(values: &[f64]) -> f64 {
    let middle = median(values.to_vec());
    median(values.iter().map(|value| (value - middle).abs()).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

/// Relates each row on an axis to the first one with its name.
pub(super) fn relate(rows: &mut [Row]) {
    let mut first = BTreeMap::<(String, String), (u64, f64)>::new();
    for row in rows.iter() {
        if let Some(place) = &row.place {
            let found = first.entry((row.name.clone(), place.axis.clone())).or_insert((place.at, row.median));
            if place.at < found.0 {
                *found = (place.at, row.median);
            }
        }
    }
    for row in rows {
        let Some(place) = &row.place else { continue };
        let (_, base) = first[&(row.name.clone(), place.axis.clone())];
        row.ratio = (base > 0.0).then(|| (row.median / base * 1000.0).round() / 1000.0);
    }
}

/// A tenth is more than any clock here can tell.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{report, series};
    use super::*;

    fn round(samples: &[u64], zeroes: &[u64]) -> Round {
        Round { samples: samples.iter().copied().collect(), zeroes: zeroes.iter().copied().collect() }
    }

    #[expect(clippy::float_cmp, reason = "tenths of small numbers, rounded by the code under test")]
    #[test]
    fn figures_are_those_of_all_samples_less_what_nothing_costs() {
        let rounds = vec![round(&[120, 130, 140], &[20, 22]), round(&[121, 131, 900], &[20, 30])];
        let row = row("datapath", &Series { rounds, ..series("x", None, &[]) });
        // All samples: 120 121 130 131 140 900, each on from half before to half behind; all zeroes: 20 20 22 30.
        assert_eq!((row.median, row.lower_quartile, row.upper_quartile), (130.5 - 20.5, 121.0 - 20.5, 140.0 - 20.5));
        // Of the six, none is one of a thousand.
        assert_eq!(row.mean, rounded((120.0 + 121.0 + 130.0 + 131.0 + 140.0 + 900.0) / 6.0 - 20.5));
        // The rounds' own: 130 - 20.5 and 131 - 20.5.
        assert_eq!(row.spread, 0.5);
        assert_eq!((row.samples, row.rounds), (6, 2));
    }

    #[expect(clippy::float_cmp, reason = "exact by construction")]
    #[test]
    fn the_spread_does_not_mind_one_bad_round() {
        assert_eq!(deviation(&[10.0, 11.0, 12.0, 13.0, 5000.0]), 1.0);
        assert_eq!(deviation(&[]), 0.0);
    }

    #[test]
    fn rows_on_an_axis_relate_to_its_beginning() {
        let at = |at, value| series("new", Some(("Services", at)), &[value]);
        let report = report(vec![at(1000, 330), at(1, 300), at(50_000, 450), series("new", None, &[7])]);
        let ratios: Vec<_> = report.rows.iter().map(|row| row.ratio).collect();
        assert_eq!(ratios, [Some(1.1), Some(1.0), Some(1.5), None]);
    }
}
