//! Plot of what fewer Euler steps cost: a panel for each measure.

use super::steps::Cost;

const PANEL: (f64, f64) = (220.0, 240.0);
const MARGIN: f64 = 40.0;

/// What a panel shows of a cost.
type Quantity = fn(&Cost) -> f64;

/// The drawing, as SVG. What is infinite is left out.
pub fn draw(costs: &[Cost]) -> String {
    let panels: [(&str, Quantity); 4] = [
        ("mel distance", |cost| cost.mel),
        ("SNR, dB", |cost| cost.ratio),
        ("spectral convergence", |cost| cost.convergence),
        ("instrument recognised, %", |cost| 100.0 * cost.recognised),
    ];
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        PANEL.0 * panels.len() as f64,
        PANEL.1
    );
    for (place, (title, value)) in panels.into_iter().enumerate() {
        svg +=
            &format!("<g transform=\"translate({} 0)\">\n{}</g>\n", PANEL.0 * place as f64, panel(title, costs, value));
    }
    svg + "</svg>\n"
}

fn panel(title: &str, costs: &[Cost], value: fn(&Cost) -> f64) -> String {
    let points: Vec<(f64, f64)> =
        costs.iter().map(|cost| (cost.steps as f64, value(cost))).filter(|point| point.1.is_finite()).collect();
    let top = points.iter().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    let most = points.iter().map(|point| point.0).fold(2.0, f64::max);
    // Steps on a logarithmic scale.
    let x = |steps: f64| MARGIN + (PANEL.0 - 1.5 * MARGIN) * steps.ln() / most.ln();
    let y = |value: f64| PANEL.1 - MARGIN - (PANEL.1 - 2.0 * MARGIN) * value / top;
    let mut svg = format!("<text x=\"{MARGIN}\" y=\"18\" font-size=\"13\">{title}</text>\n");
    let line: Vec<String> = points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
    svg += &format!("<polyline fill=\"none\" stroke=\"#0072b2\" stroke-width=\"2\" points=\"{}\"/>\n", line.join(" "));
    for (steps, value) in points {
        let (x, y) = (x(steps), y(value));
        svg += &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#0072b2\"/>\n");
        svg += &format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{steps}</text>\n", x, PANEL.1 - 24.0);
    }
    svg += &format!("<text x=\"{}\" y=\"{}\">Euler steps</text>\n", MARGIN, PANEL.1 - 8.0);
    for value in [0.0, top] {
        let digits = if top < 2.0 { 2 } else { 0 };
        svg += &format!("<text x=\"2\" y=\"{:.1}\">{value:.digits$}</text>\n", y(value) + 4.0);
    }
    svg + &format!(
        "<path d=\"M{MARGIN} {:.1}V{:.1}H{:.1}\" fill=\"none\" stroke=\"#666\"/>\n",
        y(top),
        y(0.0),
        PANEL.0 - MARGIN / 2.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_steps_is_drawn_in_every_panel_but_what_is_infinite() {
        let cost = |steps, ratio| Cost { steps, mel: 0.1, ratio, convergence: 0.2, recognised: 0.8 };
        let drawing = draw(&[cost(100, f64::INFINITY), cost(10, 20.0), cost(1, 8.0)]);
        assert_eq!(drawing.matches("<circle").count(), 3 + 2 + 3 + 3);
        assert!(drawing.starts_with("<svg") && !drawing.contains("NaN") && !drawing.contains("inf"));
    }
}
