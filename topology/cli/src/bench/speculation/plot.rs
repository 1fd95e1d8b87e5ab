//! Plot of the speed-up by acceptance rate: measured with oracles, beside what the sizes of the model predict.

use std::error::Error;

use plotters::{prelude::*, style::FontFamily};

use super::{report::Report, runs::Row};

/// Pixels.
const SIZE: (u32, u32) = (960, 560);
/// Told apart by who sees no red or green, too (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// The drawing, as SVG: lines are measured, dashes predicted.
pub(super) fn draw(report: &Report) -> Result<String, Box<dyn Error>> {
    let cost = &report.cost;
    let oracles: Vec<(f64, &Row)> =
        report.rows.done.iter().filter_map(|row| Some((row.setting.probability()?, row))).collect();
    let mut counts: Vec<usize> = oracles.iter().filter_map(|(_, row)| row.setting.frames).collect();
    counts.sort_unstable();
    counts.dedup();
    let speeds = oracles.iter().flat_map(|(_, row)| [Some(row.speedup()), row.predicted(cost)]).flatten();
    let most = speeds.fold(1.5, f64::max) * 1.1;
    let mut drawing = String::new();
    {
        let area = SVGBackend::with_string(&mut drawing, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let font = |size: u32| (FontFamily::SansSerif, size);
        let caption =
            format!("{}: speed-up over plain decoding, measured (lines) and predicted (points)", report.model);
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, font(16))
            .margin(8)
            .x_label_area_size(34)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..1.15, 0.0..most)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("share of drafted frames that are right")
            .y_desc("speed-up")
            .label_style(font(12))
            .axis_desc_style(font(12))
            .draw()?;
        for (frames, colour) in counts.iter().zip(COLOURS.iter().cycle()) {
            let mut rows: Vec<&(f64, &Row)> =
                oracles.iter().filter(|(_, row)| row.setting.frames == Some(*frames)).collect();
            rows.sort_by(|a, b| a.0.total_cmp(&b.0));
            let line = LineSeries::new(rows.iter().map(|(share, row)| (*share, row.speedup())), colour.stroke_width(2));
            let colour = *colour;
            chart
                .draw_series(line)?
                .label(format!("K = {frames}"))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            let points = rows.iter().filter_map(|(share, row)| Some((*share, row.predicted(cost)?)));
            chart.draw_series(points.map(|point| Circle::new(point, 3, colour.filled())))?;
        }
        chart.configure_series_labels().position(SeriesLabelPosition::MiddleRight).label_font(font(12)).draw()?;
        area.present()?;
    }
    Ok(drawing)
}
