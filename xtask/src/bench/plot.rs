//! What came out, as pictures: bars for the cases, lines over each axis.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::report::{Report, Row};

/// Width of a picture, and height of one of lines.
const SIZE: (u32, u32) = (1000, 560);
/// Height of a bar.
const BAR: u32 = 18;
const BAR_COLOUR: RGBColor = RGBColor(110, 150, 190);
/// Half the width of a point on a line.
const POINT: u32 = 3;
/// More lines than this are spread over several pictures.
const MOST_LINES: usize = 12;

/// Draws everything into `folder`, and returns the files.
pub(super) fn draw(report: &Report, folder: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    let parts: BTreeSet<&str> = report.rows.iter().map(|row| row.part.as_str()).collect();
    let mut files = Vec::new();
    for part in parts {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.part == part).collect();
        let bars: Vec<&Row> = rows.iter().copied().filter(|row| row.place.is_none()).collect();
        if !bars.is_empty() {
            let path = folder.join(format!("{part}.svg"));
            fs::write(&path, picture((SIZE.0, 90 + BAR * bars.len() as u32), |area| draw_bars(area, part, &bars))?)?;
            files.push(path);
        }
        let axes: BTreeSet<_> = rows.iter().filter_map(|row| row.axis()).collect();
        for (axis, unit) in &axes {
            let points: Vec<&Row> = rows.iter().copied().filter(|row| row.axis() == Some((axis, unit))).collect();
            let is_shared = axes.iter().filter(|(other, _)| other == axis).count() > 1;
            for (topic, points) in by_topic(&points) {
                let path = folder.join(file_name(part, axis, is_shared.then_some(unit), topic));
                let title = topic.map_or_else(|| part.to_owned(), |topic| format!("{part}: {topic}"));
                fs::write(&path, picture(SIZE, |area| draw_lines(area, &title, axis, &points))?)?;
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// The rows for each picture: all of them together, or if they are many, those together whose names begin alike.
fn by_topic<'a>(rows: &[&'a Row]) -> Vec<(Option<&'a str>, Vec<&'a Row>)> {
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    if names.len() <= MOST_LINES {
        return vec![(None, rows.to_vec())];
    }
    let topic = |row: &'a Row| row.name.split(", ").next().unwrap_or_default();
    let topics: BTreeSet<&str> = rows.iter().map(|row| topic(row)).collect();
    topics.into_iter().map(|name| (Some(name), rows.iter().copied().filter(|row| topic(row) == name).collect())).collect()
}

/// Name of the picture of an axis, and of a unit and a topic where there are several.
fn file_name(part: &str, axis: &str, unit: Option<&str>, topic: Option<&str>) -> String {
    let words = [Some(part), Some(axis), unit, topic].into_iter().flatten();
    let plain: Vec<_> = words.map(|word| word.replace('µ', "u").replace('/', " per ").to_lowercase().replace(' ', "-")).collect();
    format!("{}.svg", plain.join("-"))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An SVG picture.
fn picture(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// A bar from nothing to the median for each row, a line between the quartiles, and a red line at the budget.
fn draw_bars(area: &Area<'_>, part: &str, rows: &[&Row]) -> Result<()> {
    let unit = &rows[0].unit;
    let most = rows.iter().flat_map(|row| [row.upper_quartile, row.median, row.budget.unwrap_or(0.0)]).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{part}: median and quartiles, {unit}"), ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(270)
        .build_cartesian_2d(0.0..most * 1.05, (0..rows.len()).into_segmented())
        .map_err(failed)?;
    let name = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(index) => rows.iter().rev().nth(*index).map_or_else(String::new, |row| row.name.clone()),
        _ => String::new(),
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_mesh().y_labels(rows.len()).y_label_formatter(&name).x_label_formatter(&whole);
    mesh.draw().map_err(failed)?;
    for (index, row) in rows.iter().rev().enumerate() {
        let (low, middle, high) = (SegmentValue::Exact(index), SegmentValue::CenterOf(index), SegmentValue::Exact(index + 1));
        let mut bar = Rectangle::new([(0.0, low.clone()), (row.median.max(0.0), high.clone())], BAR_COLOUR.filled());
        bar.set_margin(2, 2, 0, 0);
        let quartiles = PathElement::new([(row.lower_quartile, middle.clone()), (row.upper_quartile, middle)], BLACK);
        chart.draw_series([bar]).map_err(failed)?;
        chart.draw_series([quartiles]).map_err(failed)?;
        let budget = row.budget.map(|budget| PathElement::new([(budget, low), (budget, high)], RED.stroke_width(2)));
        chart.draw_series(budget).map_err(failed)?;
    }
    Ok(())
}

/// A line for each name, over the places on an axis.
fn draw_lines(area: &Area<'_>, title: &str, axis: &str, rows: &[&Row]) -> Result<()> {
    let at = |row: &Row| real(row.place.as_ref().map_or(1, |place| place.at.max(1)));
    let last = rows.iter().map(|row| at(row)).fold(2.0, f64::max);
    let most = rows.iter().map(|row| row.median).fold(0.1, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{title} over {axis}"), ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(60)
        .build_cartesian_2d((1.0..last * 1.1).log_scale(), 0.0..most * 1.6)
        .map_err(failed)?;
    let unit = format!("median, {}", rows[0].unit);
    let mut mesh = chart.configure_mesh();
    let tenths = |number: &f64| format!("{number:.1}");
    mesh.x_desc(axis).y_desc(unit).x_label_formatter(&whole);
    if most < 10.0 {
        mesh.y_label_formatter(&tenths);
    } else {
        mesh.y_label_formatter(&whole);
    }
    mesh.draw().map_err(failed)?;
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    for (index, name) in names.into_iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let mut points: Vec<(f64, f64)> = rows.iter().filter(|row| row.name == name).map(|row| (at(row), row.median)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let line = LineSeries::new(points, colour.stroke_width(2)).point_size(POINT);
        let legend = move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2));
        chart.draw_series(line).map_err(failed)?.label(name).legend(legend);
    }
    let corner = SeriesLabelPosition::UpperLeft;
    chart.configure_series_labels().position(corner).background_style(WHITE.mix(0.8)).border_style(BLACK).draw().map_err(failed)
}

/// A label for an axis of numbers.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the drawing library hands out references")]
fn whole(number: &f64) -> String {
    format!("{number:.0}")
}

#[expect(clippy::cast_precision_loss, reason = "a picture has far fewer places")]
fn real(number: u64) -> f64 {
    number as f64
}

/// The drawing library's errors borrow from what they are about.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{report, series};
    use super::*;

    #[test]
    fn every_row_is_drawn() {
        let report = report(vec![
            series("established, tc_from_pod, IPv4, TCP", None, &[123]),
            series("new, one", Some(("Services", 1)), &[300]),
            series("new, one", Some(("Services", 50_000)), &[310]),
            series("new", Some(("backends", 1000)), &[300]),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let files = draw(&report, folder.path()).unwrap();
        let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["datapath.svg", "datapath-services.svg", "datapath-backends.svg"]);
        assert_eq!(file_name("control", "changes at once", Some("µs"), None), "control-changes-at-once-us.svg");
        assert_eq!(file_name("traffic", "Services", Some("Gbit/s"), Some("bulk")), "traffic-services-gbit-per-s-bulk.svg");
        let bars = fs::read_to_string(&files[0]).unwrap();
        assert!(bars.starts_with("<svg") && bars.contains("established, tc_from_pod, IPv4, TCP"), "{bars}");
        let lines = fs::read_to_string(folder.path().join("datapath-services.svg")).unwrap();
        assert!(lines.contains("new, one") && lines.contains("polyline"), "{lines}");
    }

    #[test]
    fn many_lines_are_spread_over_pictures() {
        let name = |topic: &str, way: u32| format!("{topic}, way {way}");
        let lines = |ways| (0..ways).flat_map(|way| [name("connect", way), name("bulk", way)]).collect::<Vec<_>>();
        let files = |ways| {
            let series = lines(ways).into_iter().map(|name| series(&name, Some(("Services", 10)), &[1]));
            let folder = tempfile::tempdir().unwrap();
            let files = draw(&report(series.collect()), folder.path()).unwrap();
            files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(files(6), ["datapath-services.svg"]);
        assert_eq!(files(7), ["datapath-services-bulk.svg", "datapath-services-connect.svg"]);
    }
}
