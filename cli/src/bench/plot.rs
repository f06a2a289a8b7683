//! Time against length as a picture: both axes logarithmic, a panel for each number of threads.
//!
//! The colours are of middle lightness and there is no background, so that it can be read on white and on black.

use super::report::Measured;
use std::fmt::Write;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 300.0;
/// Around the panels: room for titles and legend, and for the labels of the axes.
const TOP: f64 = 74.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 48.0;
const RIGHT: f64 = 16.0;
/// How near two labels of the horizontal axis may be.
const NEAREST: f64 = 26.0;
const TEXT: &str = "#7b828c";
/// Of the lines, by quantization.
const COLOURS: [&str; 4] = ["#3b82f6", "#ea7317", "#10a37f", "#b35cd6"];

/// One dimension of a panel: a range of values, and that of pixels.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// An axis for some positive values, with some room around them.
    fn new(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Self {
        Self {
            from: values.clone().fold(f64::INFINITY, f64::min) / 1.2,
            to: values.fold(0.0, f64::max) * 1.2,
            start,
            end,
        }
    }

    /// The pixel of a value.
    fn at(&self, value: f64) -> f64 {
        let part = (value / self.from).ln() / (self.to / self.from).ln();
        self.start + part * (self.end - self.start)
    }

    /// Round numbers: 1, 2 and 5 times the powers of ten, or these alone where there are many.
    fn ticks(&self) -> Vec<f64> {
        let (first, last) = (self.from.log10().floor(), self.to.log10().ceil());
        let steps: &[f64] = if last - first > 4.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let mut ticks = Vec::new();
        for exponent in first as i32..=last as i32 {
            let power = 10f64.powi(exponent.abs());
            ticks.extend(steps.iter().map(|step| match exponent {
                0.. => step * power,
                _ => step / power,
            }));
        }
        ticks.retain(|tick| (self.from..=self.to).contains(tick));
        ticks
    }
}

/// The values of a field without repetition, in the order of their appearance.
fn distinct<'a, T: PartialEq>(
    measured: &'a [Measured],
    field: impl Fn(&'a Measured) -> T,
) -> Vec<T> {
    let mut values = Vec::new();
    for value in measured.iter().map(field) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// The picture.
pub(super) fn svg(title: &str, measured: &[Measured]) -> String {
    let threads = distinct(measured, |m| m.threads);
    let quants = distinct(measured, |m| &m.quant);
    let colour = |quant: &String| {
        let place = quants.iter().position(|other| *other == quant);
        COLOURS[place.unwrap_or_default() % COLOURS.len()]
    };
    let (width, height) = (
        (LEFT + WIDTH + RIGHT) * threads.len().max(1) as f64,
        TOP + HEIGHT + BOTTOM,
    );
    let mut svg = Svg(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{TEXT}\">\n"
    ));
    svg.text(
        LEFT,
        20.0,
        "start",
        "font-size=\"14\" font-weight=\"600\"",
        title,
    );
    let mut x = LEFT;
    for quant in &quants {
        for (name, dashed) in [("measured", false), ("roofline", true)] {
            svg.line([(x, 38.0), (x + 26.0, 38.0)], colour(quant), dashed);
            svg.text(x + 32.0, 42.0, "start", "", &format!("{quant} {name}"));
            x += 126.0;
        }
    }

    let times = measured.iter().flat_map(|m| [m.median_ms, m.roofline_ms]);
    let y = Axis::new(times, TOP + HEIGHT, TOP);
    for (panel, threads) in threads.into_iter().enumerate() {
        let left = LEFT + panel as f64 * (LEFT + WIDTH + RIGHT);
        let lengths = measured.iter().map(|m| m.tokens as f64);
        let x = Axis::new(lengths, left, left + WIDTH);
        svg.frame(&x, &y, measured);
        let name = match threads {
            1 => "1 thread".to_owned(),
            _ => format!("{threads} threads"),
        };
        svg.text(
            left + WIDTH / 2.0,
            TOP - 8.0,
            "middle",
            "font-weight=\"600\"",
            &name,
        );
        for quant in &quants {
            let mut series: Vec<&Measured> = measured
                .iter()
                .filter(|m| m.threads == threads && m.quant == **quant)
                .collect();
            series.sort_by_key(|m| m.tokens);
            let points = |time: fn(&Measured) -> f64| {
                let point = move |m: &&Measured| (m.tokens as f64, time(m));
                series
                    .iter()
                    .map(point)
                    .map(|(tokens, time)| (x.at(tokens), y.at(time)))
            };
            svg.line(points(|m| m.roofline_ms), colour(quant), true);
            svg.line(points(|m| m.median_ms), colour(quant), false);
            for (x, y) in points(|m| m.median_ms) {
                svg.push(format_args!(
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{}\"/>",
                    colour(quant)
                ));
            }
        }
    }
    svg.0 + "</svg>\n"
}

/// A picture that is being drawn.
struct Svg(String);

impl Svg {
    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("memory can be written to");
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, attributes: &str, text: &str) {
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {attributes}>{text}</text>"
        ));
    }

    fn line(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: &str, dashed: bool) {
        let points: Vec<String> = points
            .into_iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let (width, dashes) = match dashed {
            true => ("1.5", " stroke-dasharray=\"5 4\""),
            false => ("2", ""),
        };
        self.push(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}/>",
            points.join(" ")
        ));
    }

    /// The grid of a panel, the numbers on its axes, and what they are.
    fn frame(&mut self, x: &Axis, y: &Axis, measured: &[Measured]) {
        let grid = |svg: &mut Self, [x1, y1, x2, y2]: [f64; 4]| {
            svg.push(format_args!(
                "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"{TEXT}\" stroke-opacity=\"0.3\"/>"
            ));
        };
        for tick in y.ticks() {
            let at = y.at(tick);
            grid(self, [x.start, at, x.end, at]);
            self.text(x.start - 8.0, at + 4.0, "end", "", &tick.to_string());
        }
        let mut lengths = distinct(measured, |m| m.tokens);
        lengths.sort_unstable();
        let mut last = f64::NEG_INFINITY;
        for tokens in lengths {
            let at = x.at(tokens as f64);
            grid(self, [at, y.end, at, y.start]);
            if at - last >= NEAREST {
                self.text(at, y.start + 18.0, "middle", "", &tokens.to_string());
                last = at;
            }
        }
        let (middle, centre) = ((x.start + x.end) / 2.0, (y.start + y.end) / 2.0);
        self.text(middle, y.start + 38.0, "middle", "", "tokens");
        let turned = format!(
            "transform=\"rotate(-90 {:.1} {centre:.1})\"",
            x.start - 46.0
        );
        self.text(x.start - 46.0, centre, "middle", &turned, "milliseconds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(from: f64, to: f64) -> Axis {
        let (start, end) = (100.0, 200.0);
        Axis {
            from,
            to,
            start,
            end,
        }
    }

    #[test]
    fn equal_ratios_are_equal_distances() {
        let axis = axis(1.0, 100.0);
        assert_eq!(
            [1.0, 10.0, 100.0].map(|x| axis.at(x).round()),
            [100.0, 150.0, 200.0]
        );
    }

    #[test]
    fn ticks_are_round() {
        let shown = |from, to| -> Vec<String> {
            let ticks = axis(from, to).ticks();
            ticks.iter().map(f64::to_string).collect()
        };
        assert_eq!(shown(0.15, 3.0), ["0.2", "0.5", "1", "2"]);
        assert_eq!(shown(5.0, 120.0), ["5", "10", "20", "50", "100"]);
        assert_eq!(shown(0.02, 5000.0), ["0.1", "1", "10", "100", "1000"]);
    }

    #[test]
    fn a_single_value_has_an_axis() {
        let axis = Axis::new([8.0].into_iter(), 0.0, 100.0);
        assert_eq!(axis.at(8.0).round(), 50.0);
    }
}
