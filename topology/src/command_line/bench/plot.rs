//! When in the song does a way of decoding it differ from the reference? A panel for each continuity, seams marked.

use std::error::Error;

use heartstream_messages::{Continuity, units::SampleIndex};
use plotters::{coord::Shift, prelude::*, style::FontFamily};

use super::{
    report::{Measured, Report},
    table::name,
};

/// Pixels.
const SIZE: (u32, u32) = (960, 840);
const PANELS: [Continuity; 3] = [Continuity::Reference, Continuity::Chained, Continuity::Parallel];
/// Told apart by who sees no red or green, too (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(0, 114, 178),
    RGBColor(120, 120, 120),
];
/// Room beside the end of the song for the legend, as a share of the song.
const LEGEND: f64 = 0.16;
const SEAM: RGBColor = RGBColor(90, 90, 90);

/// The drawing, as SVG.
pub(super) fn draw(report: &Report) -> Result<String, Box<dyn Error>> {
    let mut drawing = String::new();
    {
        let area = SVGBackend::with_string(&mut drawing, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let usual_steps = report.modes.first().map_or(0, |measured| measured.mode.steps);
        let drawn = |measured: &&Measured| measured.mode.steps == usual_steps;
        let most = report.modes.iter().filter(drawn).flat_map(Measured::mel_by_second).fold(0.0, f64::max);
        for (panel, continuity) in area.split_evenly((PANELS.len(), 1)).iter().zip(PANELS) {
            let modes = report.modes.iter().filter(drawn).filter(|measured| measured.mode.continuity == continuity);
            draw_panel(panel, &modes.collect::<Vec<_>>(), continuity, most.max(1e-6) * 1.05, usual_steps)?;
        }
        area.present()?;
    }
    Ok(drawing)
}

fn draw_panel(
    panel: &DrawingArea<SVGBackend<'_>, Shift>,
    modes: &[&Measured],
    continuity: Continuity,
    most: f64,
    steps: usize,
) -> Result<(), Box<dyn Error>> {
    let seconds = modes.first().map_or(0.0, |measured| measured.audio.0);
    let font = |size: u32| (FontFamily::SansSerif, size);
    let caption = format!("{}, {steps} steps: mel distance to the reference at many steps", name(continuity));
    let mut chart = ChartBuilder::on(panel)
        .caption(caption, font(16))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..seconds.max(1.0) * (1.0 + LEGEND), 0.0..most)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("second of the song")
        .y_desc("mel distance")
        .label_style(font(12))
        .axis_desc_style(font(12))
        .draw()?;
    if let Some(usual) = modes.iter().find(|measured| measured.mode.usual) {
        for seam in &usual.seams {
            let [begin, end] = [seam.begin, seam.end].map(|sample| SampleIndex(sample as u64).seconds().0.min(seconds));
            chart.draw_series([Rectangle::new([(begin, 0.0), (end, most)], SEAM.mix(0.12).filled())])?;
            let instants = seam.instants().map(|sample| SampleIndex(sample as u64).seconds().0);
            chart.draw_series(
                instants.filter(|at| *at <= seconds).map(|at| PathElement::new([(at, 0.0), (at, most)], SEAM.mix(0.6))),
            )?;
        }
    }
    for (measured, colour) in modes.iter().zip(COLOURS.iter().cycle()) {
        let usual = measured.mode.usual;
        let style = colour.stroke_width(if usual { 3 } else { 1 });
        let points = measured.mel_by_second().into_iter().enumerate().map(|(second, mel)| (second as f64 + 0.5, mel));
        let label = format!("{}{}", measured.mode.plan.first_window(), if usual { " (its seams)" } else { "" });
        chart
            .draw_series(LineSeries::new(points.filter(|point| point.0 <= seconds), style))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::MiddleRight).label_font(font(12)).draw()?;
    Ok(())
}
