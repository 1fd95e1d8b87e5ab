//! Loss curves: a picture of a stage's record.

use std::{fs, path::Path};

use crate::error::{Result, at};

const SIZE: (f64, f64) = (800.0, 400.0);
const COLOURS: [&str; 7] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf"];

/// Draws the columns of `record` behind the third over its second, each as a line on a logarithmic scale.
pub fn draw(record: &Path, picture: &Path) -> Result<()> {
    let text = fs::read_to_string(record).map_err(at(record))?;
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let rows: Vec<Vec<f64>> =
        lines.map(|line| line.split(',').map(|number| number.parse().unwrap_or(f64::NAN)).collect()).collect();
    let values = || rows.iter().flat_map(|row| row.iter().skip(3)).copied().filter(|value| *value > 0.0);
    let (low, high) = values().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    let last = rows.last().and_then(|row| row.get(1)).copied().unwrap_or(1.0).max(1e-9);
    let x = |seconds: f64| 60.0 + (SIZE.0 - 80.0) * seconds / last;
    let span = (high / low).ln().max(1e-9);
    let y = |value: f64| SIZE.1 - 40.0 - (SIZE.1 - 60.0) * (value / low).ln() / span;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        SIZE.0, SIZE.1
    );
    for (place, name) in names.iter().enumerate().skip(3) {
        let colour = COLOURS[(place - 3) % COLOURS.len()];
        let points: Vec<String> = rows
            .iter()
            .filter(|row| row.get(place).is_some_and(|value| *value > 0.0))
            .map(|row| format!("{:.1},{:.1}", x(row[1]), y(row[place])))
            .collect();
        svg += &format!("<polyline fill=\"none\" stroke=\"{colour}\" points=\"{}\"/>\n", points.join(" "));
        svg += &format!("<text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>\n", SIZE.0 - 140.0, 20 * (place - 2));
    }
    svg += &format!(
        "<text x=\"4\" y=\"{}\">{low:.3}</text><text x=\"4\" y=\"20\">{high:.3}</text>\
         <text x=\"{}\" y=\"{}\">{last:.0} s</text>\n</svg>\n",
        SIZE.1 - 40.0,
        SIZE.0 - 60.0,
        SIZE.1 - 10.0
    );
    fs::write(picture, svg).map_err(at(picture))
}
