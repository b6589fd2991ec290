//! From samples to figures.

use std::collections::BTreeMap;

use viaduct_figures::{Histogram, Round, Series};

use super::report::Row;

/// So many parts of a unit are told apart in ratios.
const RATIO_PARTS: f64 = 1000.0;

/// The figures of `series`: a row for each, and another one for each that is compared with one of the others. Budgets and growth
/// are others' work.
pub(super) fn rows(part: &str, series: &[Series]) -> Vec<Row> {
    let rows = series.iter().flat_map(|one| {
        let name = one.beside.as_ref();
        let is_beside = |other: &&Series| Some(&other.name) == name && other.place == one.place && other.unit == one.unit;
        let beside = series.iter().find(is_beside).map(|other| beside(part, one, other));
        [Some(row(part, one)), beside]
    });
    rows.flatten().collect()
}

/// The figures of a series.
fn row(part: &str, series: &Series) -> Row {
    let (mut samples, mut zeroes) = (Histogram::default(), Histogram::default());
    for round in &series.rounds {
        samples.merge(&round.samples);
        zeroes.merge(&round.zeroes);
    }
    let parts = real(series.per_unit);
    let zero = zeroes.median(series.step);
    let net = |share| rounded(samples.quantile(share, series.step) - zero, parts);
    let medians: Vec<f64> = series.rounds.iter().map(|round| net_median(round, series.step)).collect();
    Row {
        part: part.into(),
        name: series.name.clone(),
        place: series.place.clone(),
        unit: series.unit.clone(),
        median: net(0.5),
        lower_quartile: net(0.25),
        upper_quartile: net(0.75),
        mean: rounded(samples.mean_below(0.999) - zero, parts),
        p99: net(0.99),
        spread: rounded(deviation(&medians), parts),
        interval: interval(&medians).map(|bounds| bounds.map(|bound| rounded(bound, parts))),
        resolution: 1.0 / parts,
        samples: samples.len(),
        rounds: series.rounds.len() as u64,
        ratio: None,
        budget: None,
        floor: None,
        counts: series.counts.iter().map(|(event, count)| (event.clone(), rounded(*count, 1.0))).collect(),
    }
}

/// How a series compares with another one: of each two rounds that were taken side by side, the quotient of their medians.
fn beside(part: &str, series: &Series, other: &Series) -> Row {
    let pairs = series.rounds.iter().zip(&other.rounds);
    let ratios = pairs.map(|(mine, theirs)| net_median(mine, series.step) / net_median(theirs, other.step));
    let mut ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).map(|ratio| ratio * RATIO_PARTS).collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share| rounded(quantile(&ratios, share), RATIO_PARTS);
    let name = other.name.rsplit(", ").next().unwrap_or_default();
    Row {
        unit: format!("x {name}"),
        median: at(0.5),
        lower_quartile: at(0.25),
        upper_quartile: at(0.75),
        mean: rounded(ratios.iter().sum::<f64>() / real(ratios.len() as u64), RATIO_PARTS),
        p99: at(0.99),
        spread: rounded(deviation(&ratios), RATIO_PARTS),
        interval: interval(&ratios).map(|bounds| bounds.map(|bound| rounded(bound, RATIO_PARTS))),
        resolution: 1.0 / RATIO_PARTS,
        samples: ratios.len() as u64,
        rounds: ratios.len() as u64,
        counts: BTreeMap::new(),
        ..row(part, series)
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
    quantile(&values, 0.5)
}

/// The value below which a share of `sorted` lies, between two of them where it must be. Of nothing: 0.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share * real(last as u64);
    let below = whole(place).min(last);
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    low + (high - low) * (place - real(below as u64))
}

/// Between which of the values the median of all that could have been lies, with a confidence of 95 %, whatever they are
/// spread like: how many of them lie below it is decided as by tossing coins. Nothing if they are fewer than six.
fn interval(values: &[f64]) -> Option<[f64; 2]> {
    /// Quantile of the normal distribution that leaves 2.5 % above it, as a share of the coins' deviation.
    const HALF: f64 = 1.96 / 2.0;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = real(sorted.len() as u64);
    // Ranks count from 1: of few values, not even the first and the last one are far enough apart.
    let rank = whole(count.midpoint(1.0) - HALF * count.sqrt());
    let first = rank.checked_sub(1)?;
    Some([sorted[first], sorted[sorted.len() - rank]])
}

/// Relates each row on an axis to the first one with its name.
pub(super) fn relate(rows: &mut [Row]) {
    let mut first = BTreeMap::<(String, String, String), (u64, f64)>::new();
    for row in rows.iter() {
        if let Some(place) = &row.place {
            let found = first.entry((row.name.clone(), place.axis.clone(), row.unit.clone())).or_insert((place.at, row.median));
            if place.at < found.0 {
                *found = (place.at, row.median);
            }
        }
    }
    for row in rows {
        let Some(place) = &row.place else { continue };
        let (_, base) = first[&(row.name.clone(), place.axis.clone(), row.unit.clone())];
        row.ratio = (base > 0.0).then(|| (row.median / base * 1000.0).round() / 1000.0);
    }
}

/// `value`, counted in parts of which a unit has `parts`, in units. A tenth of a part is more than any clock here can tell.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * 10.0).round() / (parts * 10.0)
}

/// What is left of `number` without its fraction; 0 if it is negative.
#[expect(clippy::cast_sign_loss, reason = "no number below zero is left")]
fn whole(number: f64) -> usize {
    number.max(0.0) as usize
}

#[expect(clippy::cast_precision_loss, reason = "nothing is counted that often")]
fn real(count: u64) -> f64 {
    count as f64
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
        assert_eq!(row.mean, rounded((120.0 + 121.0 + 130.0 + 131.0 + 140.0 + 900.0) / 6.0 - 20.5, 1.0));
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
    fn samples_may_be_parts_of_a_unit() {
        let row = row("traffic", &Series { per_unit: 1000, ..series("x", None, &[41_250, 41_252, 41_254]) });
        assert_eq!((row.median, row.resolution), (41.252, 0.001));
    }

    #[test]
    fn pairs_of_rounds_are_compared_not_all_samples() {
        // The machine was slower and slower, and each round alike for both.
        let direct = series("connect, direct", None, &[100, 200, 400, 800, 1600, 3200]);
        let nft = Series { beside: Some(direct.name.clone()), ..series("connect, nft", None, &[118, 236, 472, 944, 1888, 9999]) };
        let elsewhere = Series { beside: Some("connect, nobody".into()), ..nft.clone() };
        let rows = rows("traffic", &[direct, nft, elsewhere]);
        let names: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.unit.as_str())).collect();
        assert_eq!(
            names,
            [("connect, direct", "ns"), ("connect, nft", "ns"), ("connect, nft", "x direct"), ("connect, nft", "ns")]
        );
        assert_eq!((rows[2].median, rows[2].interval), (1.18, Some([1.18, 3.1247])));
    }

    #[test]
    fn the_interval_holds_the_median_in_95_of_100_cases() {
        let bounds = |count: u32| interval(&(0..count).map(f64::from).collect::<Vec<_>>());
        // The ranks that tables of the sign test give.
        assert_eq!(bounds(5), None);
        assert_eq!(bounds(6), Some([0.0, 5.0]));
        assert_eq!(bounds(10), Some([1.0, 8.0]));
        assert_eq!(bounds(100), Some([39.0, 60.0]));
    }

    #[test]
    fn rows_on_an_axis_relate_to_its_beginning() {
        let at = |at, value| series("new", Some(("Services", at)), &[value]);
        let report = report(vec![at(1000, 330), at(1, 300), at(50_000, 450), series("new", None, &[7])]);
        let ratios: Vec<_> = report.rows.iter().map(|row| row.ratio).collect();
        assert_eq!(ratios, [Some(1.1), Some(1.0), Some(1.5), None]);
    }
}
