//! Drawings as SVG text. Colours of text and grid are left to the page's style sheet, for light and dark.

use crate::stats::Spread;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A bar and its whiskers.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: Spread,
}

/// Percentiles and microseconds of a server.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(super) const WIDTH: u32 = 520;
const ROW_HEIGHT: u32 = 30;
const CURVES_HEIGHT: u32 = 260;
const NAME_WIDTH: i32 = 92;
const VALUE_WIDTH: i32 = 86;
pub(super) const LEGEND_WIDTH: i32 = 112;
pub(super) const FONT_SIZE: i32 = 13;
/// Stand for the page's own colours, and are replaced when the drawing is done.
pub(super) const TEXT: RGBColor = RGBColor(1, 2, 3);
pub(super) const GRID: RGBColor = RGBColor(4, 5, 6);
/// The curve's right end: 99.99 %, that is four nines.
const NINES_MAX: f64 = 4.0;

/// One colour per server, the same in every drawing.
pub(super) fn colour(name: &str, index: usize) -> RGBColor {
    const OTHERS: [RGBColor; 4] =
        [RGBColor(142, 68, 173), RGBColor(22, 133, 128), RGBColor(160, 110, 60), RGBColor(200, 60, 120)];
    // A series in several contests has a letter behind its name.
    match name.split_once(" (").map_or(name, |(name, _)| name) {
        "lf-oneshot" => RGBColor(47, 111, 237),
        "lf-edge" => RGBColor(124, 92, 255),
        "lf-kernel" => RGBColor(0, 150, 170),
        "floor" => RGBColor(127, 140, 141),
        "oneshot" => RGBColor(190, 150, 30),
        "kernel" => RGBColor(226, 120, 40),
        "tokio" => RGBColor(46, 160, 90),
        "io-uring" => RGBColor(205, 70, 70),
        "lf-comet" => RGBColor(47, 111, 237),
        "push-loop" => RGBColor(127, 140, 141),
        "nchan" => RGBColor(46, 160, 90),
        _ => OTHERS[index % OTHERS.len()],
    }
}

pub(super) fn draw(height: u32, paint: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        paint(&area)?;
        area.present().map_err(drawing)?;
    }
    Ok(svg
        .replace("fill=\"#010203\"", "fill=\"currentColor\"")
        .replace("stroke=\"#010203\"", "stroke=\"currentColor\"")
        .replace("stroke=\"#040506\"", "class=\"grid\""))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
pub(super) fn drawing<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> anyhow::Error {
    anyhow!("drawing: {error}")
}

fn text_style(horizontal: HPos) -> TextStyle<'static> {
    ("sans-serif", FONT_SIZE).into_font().color(&TEXT).pos(Pos::new(horizontal, VPos::Center))
}

/// Horizontal bars with whiskers from the least to the greatest round, and the median in words.
pub(super) fn bars(bars: &[Bar], label: fn(f64) -> String) -> Result<String> {
    let rows = u32::try_from(bars.len())?;
    let most = bars.iter().map(|bar| bar.value.max).fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(WIDTH) - f64::from(NAME_WIDTH) - f64::from(VALUE_WIDTH);
    let x = |value: f64| NAME_WIDTH + pixels(value / most * room);
    draw(rows * ROW_HEIGHT + 4, |area| {
        for (index, bar) in bars.iter().enumerate() {
            let middle = i32::try_from(ROW_HEIGHT * u32::try_from(index)? + ROW_HEIGHT / 2)?;
            let (left, right, end) = (x(bar.value.min), x(bar.value.max), x(bar.value.median));
            area.draw(&Text::new(bar.name.clone(), (NAME_WIDTH - 8, middle), text_style(HPos::Right)))
                .map_err(drawing)?;
            let body = [(NAME_WIDTH, middle - 9), (end.max(NAME_WIDTH + 1), middle + 9)];
            area.draw(&Rectangle::new(body, colour(&bar.name, index).filled())).map_err(drawing)?;
            if right > left {
                for line in [
                    [(left, middle), (right, middle)],
                    [(left, middle - 4), (left, middle + 4)],
                    [(right, middle - 4), (right, middle + 4)],
                ] {
                    area.draw(&PathElement::new(line, TEXT.stroke_width(1))).map_err(drawing)?;
                }
            }
            let place = (right.max(end) + 6, middle);
            area.draw(&Text::new(label(bar.value.median), place, text_style(HPos::Left))).map_err(drawing)?;
        }
        Ok(())
    })
}

#[expect(clippy::cast_possible_truncation, reason = "a place within a drawing of some hundred pixels")]
fn pixels(value: f64) -> i32 {
    value.round() as i32
}

/// How many nines a percentile has: 90 is 1, 99 is 2.
fn nines(percentile: f64) -> f64 {
    (-(1.0 - percentile / 100.0).log10()).min(NINES_MAX)
}

/// Latency over percentiles, the tail stretched; both scales logarithmic.
pub(super) fn curves(curves: &[Curve]) -> Result<String> {
    let all =
        || curves.iter().flat_map(|curve| &curve.points).map(|(_, micros)| *micros).filter(|micros| *micros > 0.0);
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(1.0, f64::max));
    let low = if low.is_finite() { low } else { 1.0 };
    draw(CURVES_HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .margin_right(LEGEND_WIDTH)
            .x_label_area_size(26)
            .y_label_area_size(62)
            .build_cartesian_2d(0.0..NINES_MAX, (low * 0.8..high * 1.3).log_scale())
            .map_err(drawing)?;
        chart
            .configure_mesh()
            .x_labels(5)
            .y_labels(12)
            .x_label_formatter(&|nines| percentile_label(*nines))
            .y_label_formatter(&|micros| axis_label(*micros))
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", FONT_SIZE - 1).into_font().color(&TEXT))
            .draw()
            .map_err(drawing)?;
        for (index, curve) in curves.iter().enumerate() {
            let measured = curve.points.iter().filter(|(percentile, _)| *percentile < 100.0);
            let points = measured.map(|(percentile, micros)| (nines(*percentile), micros.max(low)));
            let style = colour(&curve.name, index).stroke_width(2);
            chart.draw_series(LineSeries::new(points, style)).map_err(drawing)?;
        }
        legend(area, curves.iter().map(|curve| curve.name.as_str()))
    })
}

fn percentile_label(nines: f64) -> String {
    let percentile = 100.0 * (1.0 - 10f64.powf(-nines));
    match nines {
        few if few < 0.01 => "0 %".to_owned(),
        few if few < 2.5 => format!("{percentile:.0} %"),
        few if few < 3.5 => format!("{percentile:.1} %"),
        _ => format!("{percentile:.2} %"),
    }
}

/// As short as an axis wants it.
fn axis_label(micros: f64) -> String {
    match micros {
        seconds if seconds >= 1e6 => format!("{} s", seconds / 1e6),
        millis if millis >= 1e3 => format!("{} ms", millis / 1e3),
        _ => format!("{micros} us"),
    }
}

pub(super) fn legend<'n>(area: &Area<'_>, names: impl Iterator<Item = &'n str>) -> Result<()> {
    const TOP: i32 = 16;
    let left = i32::try_from(WIDTH)? - LEGEND_WIDTH + 22;
    for (index, name) in names.enumerate() {
        let y = TOP + 17 * i32::try_from(index)?;
        let line = [(left, y), (left + 14, y)];
        area.draw(&PathElement::new(line, colour(name, index).stroke_width(3))).map_err(drawing)?;
        area.draw(&Text::new(name.to_owned(), (left + 20, y), text_style(HPos::Left))).map_err(drawing)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    #[test]
    fn bars_are_drawn_in_the_page_s_own_text_colour() {
        let bar = Bar { name: "floor".to_owned(), value: Spread { median: 2.0, min: 1.0, max: 3.0 } };
        let svg = bars(&[bar], table::number).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("currentColor") && !svg.contains("#010203"), "{svg}");
    }

    #[test]
    fn a_curve_of_a_server_without_answers_is_still_a_drawing() {
        assert!(curves(&[]).unwrap().starts_with("<svg"));
        let curve = Curve { name: "x".to_owned(), points: vec![(50.0, 100.0), (99.0, 1000.0), (100.0, 5000.0)] };
        assert!(curves(&[curve]).unwrap().contains("polyline"));
    }

    #[test]
    fn percentiles_are_labelled_by_their_nines() {
        assert_eq!(
            [0.0, 1.0, 2.0, 3.0, 4.0].map(percentile_label),
            ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"].map(str::to_owned)
        );
    }
}
