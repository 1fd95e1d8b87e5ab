//! Plot of `bench continuity`: mel distance to the reference by second, mean of all songs, a panel for each continuity.

use std::error::Error;

use heartstream::{Continuity, SongRequest, units::SampleIndex};
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
        let ways: Vec<Way<'_>> = report.ways().into_iter().filter_map(Way::of).collect();
        let usual_steps = ways.first().map_or(0, |way| way.longest.mode.steps);
        let drawn = |way: &&Way<'_>| way.longest.mode.steps == usual_steps;
        let most = ways.iter().filter(drawn).flat_map(|way| way.mel.iter().copied()).fold(0.0, f64::max);
        for (panel, continuity) in area.split_evenly((PANELS.len(), 1)).iter().zip(PANELS) {
            let ways = ways.iter().filter(drawn).filter(|way| way.longest.mode.continuity == continuity);
            draw_panel(panel, &ways.collect::<Vec<_>>(), continuity, most.max(1e-6) * 1.05, usual_steps)?;
        }
        area.present()?;
    }
    Ok(drawing)
}

/// A way of decoding.
struct Way<'a> {
    /// As it came out in the longest song.
    longest: &'a Measured,
    /// The mel distance of each second, the mean of the songs that have it.
    mel: Vec<f64>,
}

impl<'a> Way<'a> {
    fn of(songs: Vec<&'a Measured>) -> Option<Self> {
        let longest = songs.iter().copied().max_by(|a, b| a.audio.0.total_cmp(&b.audio.0))?;
        let by_second: Vec<Vec<f64>> = songs.iter().map(|song| song.mel_by_second()).collect();
        let second = |second: usize| {
            let values: Vec<f64> = by_second.iter().filter_map(|song| song.get(second)).copied().collect();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        let seconds = by_second.iter().map(Vec::len).max().unwrap_or(0);
        Some(Self { longest, mel: (0..seconds).map(second).collect() })
    }
}

fn draw_panel(
    panel: &DrawingArea<SVGBackend<'_>, Shift>,
    ways: &[&Way<'_>],
    continuity: Continuity,
    most: f64,
    steps: usize,
) -> Result<(), Box<dyn Error>> {
    let seconds = ways.first().map_or(0.0, |way| way.longest.audio.0);
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
    if let Some(usual) = ways.iter().find(|way| way.longest.mode.usual) {
        for seam in &usual.longest.seams {
            let [begin, end] = [seam.begin, seam.end].map(|sample| SampleIndex(sample as u64).seconds().0.min(seconds));
            chart.draw_series([Rectangle::new([(begin, 0.0), (end, most)], SEAM.mix(0.12).filled())])?;
            let instants = seam.instants().map(|sample| SampleIndex(sample as u64).seconds().0);
            chart.draw_series(
                instants.filter(|at| *at <= seconds).map(|at| PathElement::new([(at, 0.0), (at, most)], SEAM.mix(0.6))),
            )?;
        }
    }
    for (way, colour) in ways.iter().zip(COLOURS.iter().cycle()) {
        let Measured { mode, .. } = way.longest;
        let usual = mode.usual;
        let style = colour.stroke_width(if usual { 3 } else { 1 });
        let points = way.mel.iter().copied().enumerate().map(|(second, mel)| (second as f64 + 0.5, mel));
        let look_ahead = mode.plan.look_ahead();
        let unusual = mode.continuity == Continuity::Chained && look_ahead != SongRequest::USUAL_LOOK_AHEAD.0 as usize;
        let other = if unusual { format!(", look-ahead {look_ahead}") } else { String::new() };
        let label = format!("{}{other}{}", mode.plan.first_window(), if usual { " (its seams)" } else { "" });
        chart
            .draw_series(LineSeries::new(points.filter(|point| point.0 <= seconds), style))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::MiddleRight).label_font(font(12)).draw()?;
    Ok(())
}
