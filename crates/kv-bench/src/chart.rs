//! Charts as SVG.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::FontFamily;

use crate::page::Curve;

const SIZE: (u32, u32) = (720, 420);
const COLORS: [RGBColor; 3] = [
    RGBColor(38, 103, 201),
    RGBColor(208, 74, 53),
    RGBColor(90, 140, 60),
];

/// Draws lines over logarithmic axes: `titles` are those of the chart, of x and of y.
pub(crate) fn draw(path: &Path, titles: [&str; 3], curves: &[&Curve]) -> anyhow::Result<()> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (x, y) = (
        range(points().map(|point| point.0)),
        range(points().map(|point| point.1)),
    );
    let text = |size: u32| (FontFamily::SansSerif, size);

    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(titles[0], text(20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(x.log_scale(), y.log_scale())?;
    chart
        .configure_mesh()
        .x_desc(titles[1])
        .y_desc(titles[2])
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .label_style(text(13))
        .light_line_style(WHITE)
        .draw()?;
    for (curve, color) in curves.iter().zip(COLORS.into_iter().cycle()) {
        let line =
            LineSeries::new(curve.points.iter().copied(), color.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.2))
        .label_font(text(13))
        .draw()?;
    root.present()?;
    Ok(())
}

/// From below the smallest to above the largest.
fn range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (least, most) = values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    least * 0.7..most * 1.5
}

fn label(value: &f64) -> String {
    match *value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => format!("{value}"),
    }
}
