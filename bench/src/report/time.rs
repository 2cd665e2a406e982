//! Figures over time, one chart below the other.

use super::plot::{Area, FONT_SIZE, GRID, LEGEND_WIDTH, TEXT, colour, draw, drawing, legend};
use crate::table;
use anyhow::Result;
use plotters::prelude::*;

/// A figure at some moments, in seconds.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Figures of one scale.
pub(crate) struct Chart {
    /// Behind the numbers of the scale.
    pub(crate) unit: &'static str,
    pub(crate) lines: Vec<Line>,
}

const CHART_HEIGHT: u32 = 180;

/// A drawing that stands alone, in a grey that can be read on white and on black.
pub(crate) fn over_time(charts: &[Chart]) -> Result<String> {
    let count = u32::try_from(charts.len())?;
    let svg = draw(CHART_HEIGHT * count.max(1), |area| {
        let parts = area.split_evenly((charts.len().max(1), 1));
        parts.iter().zip(charts).try_for_each(|(part, chart)| paint(part, chart))
    })?;
    let svg = svg.replace("class=\"grid\"", "stroke=\"currentColor\" stroke-opacity=\"0.25\"");
    Ok(svg.replacen("<svg ", "<svg style=\"color:#888\" ", 1))
}

fn paint(area: &Area<'_>, figures: &Chart) -> Result<()> {
    let known: Vec<&Line> = figures.lines.iter().filter(|line| !line.points.is_empty()).collect();
    let points = || known.iter().flat_map(|line| &line.points);
    let (last, most) = points().fold((0.0_f64, 0.0_f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .margin_right(LEGEND_WIDTH)
        .x_label_area_size(26)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..last.max(1.0), 0.0..most.max(1.0) * 1.05)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .x_labels(6)
        .y_labels(5)
        .x_label_formatter(&|seconds| moment(*seconds))
        .y_label_formatter(&|value| format!("{}{}", plain(*value), figures.unit))
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", FONT_SIZE - 1).into_font().color(&TEXT))
        .draw()
        .map_err(drawing)?;
    for (index, line) in known.iter().enumerate() {
        let style = colour(&line.name, index).stroke_width(2);
        chart.draw_series(LineSeries::new(line.points.iter().copied(), style)).map_err(drawing)?;
    }
    legend(area, known.iter().map(|line| line.name.as_str()))
}

/// No more digits behind the point than a scale has.
fn plain(value: f64) -> String {
    if value.abs() < 10.0 && value.fract() != 0.0 {
        format!("{value:.1}")
    } else {
        table::number(value.round()).replace(".00", "").replace(".0", "")
    }
}

/// Seconds as short as an axis wants them.
fn moment(seconds: f64) -> String {
    match seconds {
        hours if hours >= 3.0 * 3600.0 => format!("{:.1} h", hours / 3600.0),
        minutes if minutes >= 180.0 => format!("{:.0} min", minutes / 60.0),
        _ => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_stands_alone_and_names_its_lines() {
        let chart = |name: &str, unit| Chart {
            unit,
            lines: vec![Line { name: name.to_owned(), points: vec![(0.0, 10.0), (10.0, 30.0)] }],
        };
        let svg = over_time(&[chart("RSS", " MiB"), chart("sockets", "")]).unwrap();
        assert!(svg.starts_with("<svg style=") && svg.matches("polyline").count() >= 2, "{svg}");
        assert!(svg.contains("RSS") && svg.contains("sockets") && svg.contains("20 MiB"), "{svg}");
        assert!(!svg.contains("class="), "{svg}");
    }

    #[test]
    fn nothing_seen_is_still_a_drawing() {
        assert!(over_time(&[]).unwrap().contains("</svg>"));
        assert!(over_time(&[Chart { unit: "", lines: Vec::new() }]).unwrap().contains("</svg>"));
    }

    #[test]
    fn a_scale_has_no_needless_digits() {
        assert_eq!([0.0, 0.5, 5.0, 20.0, 1500.0].map(plain), ["0", "0.5", "5", "20", "1,500"].map(str::to_owned));
    }

    #[test]
    fn moments_are_seconds_minutes_or_hours() {
        assert_eq!([5.0, 600.0, 36_000.0].map(moment), ["5 s", "10 min", "10.0 h"].map(str::to_owned));
    }
}
