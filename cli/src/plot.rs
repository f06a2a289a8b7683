//! Pictures for `--plot`: SVG without scripts or fonts of its own, dark where the viewer asks for that.
//!
//! Shades are one colour, as opaque as a value is large, so that they fit either background. Texts are monospaced, because their
//! widths have to be known.

use crate::human::{cut, visible};
use anyhow::{Context, Result};
use rq_format::Output;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// The most texts of a heat map, whose cells grow with the square.
pub(crate) const MAX_TEXTS: usize = 256;
/// The surprisal at which a shade is full, in nats: one in 22,000.
const FULL: f64 = 10.0;
/// The width of a character by the size of its font, as monospaced fonts have it.
const ADVANCE: f64 = 0.6;
/// Columns of a row's label.
const LABEL: usize = 40;
/// Columns of a line of text.
const LINE: usize = 88;
/// Pixels around everything.
const MARGIN: f64 = 16.0;

const HEAD: &str = "<style>\n\
    text { font-family: ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1f2328; white-space: pre }\n\
    .paper { fill: #ffffff }\n\
    .faint { fill: #59636e }\n\
    .inside { fill: #ffffff }\n\
    .frame { fill: none; stroke: #59636e; stroke-opacity: 0.5 }\n\
    @media (prefers-color-scheme: dark) {\n\
    .paper { fill: #0d1117 }\n\
    text, .inside { fill: #f0f6fc }\n\
    .faint { fill: #9198a1 }\n\
    .frame { stroke: #9198a1 }\n\
    }\n\
    </style>\n\
    <rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n";
const BLUE: &str = "#1f6feb";
const ORANGE: &str = "#d4680b";
const RED: &str = "#d1242f";
/// How opaque a full red is, on which text must be legible.
const FULL_RED: f64 = 0.7;

/// A picture's file, which appears when it is whole.
pub(crate) struct Plot(Output);

impl Plot {
    /// Begins the file at `path`.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Ok(Self(Output::file_at(path)?))
    }

    pub(crate) fn finish(self, svg: &str, path: &Path) -> Result<()> {
        let written = self.0.file_to_fill().write_all(svg.as_bytes());
        written.with_context(|| format!("can't write {}", path.display()))?;
        Ok(self.0.finish()?)
    }
}

/// The similarities of some texts with each other, as shades. `name` is what they are.
pub(crate) fn heat(texts: &[String], rows: &[Vec<f32>], name: &str) -> String {
    let count = texts.len();
    let (cell, numbers) = match count {
        ..13 => (46.0, true),
        13..31 => (26.0, false),
        31..65 => (16.0, false),
        _ => (10.0, false),
    };
    let font = f64::min(12.0, cell - 1.0);
    let digits = count.to_string().len();
    let labels: Vec<String> = (1..)
        .zip(texts)
        .map(|(number, text)| format!("{} {number:digits$}", cut(&visible(text), LABEL)))
        .collect();
    let columns = labels.iter().map(|label| label.width()).max().unwrap_or(0);
    let left = MARGIN + columns as f64 * font * ADVANCE + 6.0;
    let top = MARGIN + font + 6.0;
    let (most, least) = range(rows);
    let side = cell * count as f64;
    let (width, height) = ((left + side + MARGIN).max(320.0), top + side + 62.0);
    let mut svg = begin(width, height, &format!("{name} of {count} texts"));
    // As many numbers above the columns as fit.
    let needed = (digits as f64 + 0.5) * font * ADVANCE;
    let step = [1, 2, 5, 10, 20]
        .into_iter()
        .find(|&step| cell * step as f64 >= needed);
    let step = step.unwrap_or(50);
    for number in (1..=count).filter(|number| number % step == 0 || step == 1) {
        let x = left + cell * (number as f64 - 0.5);
        text(
            &mut svg,
            x,
            top - 5.0,
            font,
            "middle",
            "faint",
            &number.to_string(),
        );
    }
    for (row, (label, values)) in labels.iter().zip(rows).enumerate() {
        let y = top + cell * row as f64;
        let middle = y + cell / 2.0 + font * 0.35;
        text(&mut svg, left - 6.0, middle, font, "end", "", label);
        for (column, &value) in values.iter().enumerate() {
            let (x, value) = (left + cell * column as f64, f64::from(value));
            let part = (value.abs() / most).min(1.0);
            let colour = if value < 0.0 { ORANGE } else { BLUE };
            let rect = format!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{cell}\" height=\"{cell}\" fill=\"{colour}\" fill-opacity=\"{part:.3}\""
            );
            let title = format!("{} and {}: {value:.4}", row + 1, column + 1);
            let _ = writeln!(svg, "{rect}><title>{title}</title></rect>");
            if numbers {
                let class = if part > 0.7 { "inside" } else { "" };
                let x = x + cell / 2.0;
                text(
                    &mut svg,
                    x,
                    middle,
                    11.0,
                    "middle",
                    class,
                    &format!("{value:.2}"),
                );
            }
        }
    }
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" class=\"frame\"/>"
    );
    scale(
        &mut svg,
        MARGIN,
        top + side + 22.0,
        (least, most),
        BLUE,
        name,
    );
    svg + "</svg>\n"
}

/// The value of a full shade, and the other end of the scale: cosines have one scale, whatever the texts.
fn range(rows: &[Vec<f32>]) -> (f64, f64) {
    let values = || rows.iter().flatten().map(|&x| f64::from(x));
    let most = values().map(f64::abs).fold(1.0, f64::max);
    let below = values().any(|x| x < -0.005);
    (most, if below { -most } else { 0.0 })
}

/// A text whose tokens have surprisals.
pub(crate) struct Surprisals {
    /// Parts of the text in their order; those of tokens with the logarithms of their probabilities.
    pub(crate) parts: Vec<(String, Option<f64>)>,
    /// A line about the whole.
    pub(crate) summary: String,
}

/// Texts, the tokens of which are the redder, the less probable a model finds them.
pub(crate) fn surprisal(texts: &[Surprisals]) -> String {
    const FONT: f64 = 15.0;
    const HEIGHT: f64 = 40.0;
    let column = FONT * ADVANCE;
    let width = 2.0 * MARGIN + LINE as f64 * column;
    let mut body = String::new();
    let mut y = MARGIN;
    for Surprisals { parts, summary } in texts {
        let mut at = 0;
        for (part, log) in parts {
            for line in lines(part, at) {
                if line.begins_line {
                    at = 0;
                    y += HEIGHT;
                }
                let (x, columns) = (MARGIN + at as f64 * column, line.text.width());
                at += columns;
                if let Some(log) = log {
                    token(
                        &mut body,
                        (x, y),
                        columns as f64 * column,
                        (&line.text, *log),
                    );
                }
                if !line.text.trim().is_empty() {
                    exact(
                        &mut body,
                        (x, y + 18.0),
                        FONT,
                        columns as f64 * column,
                        &line.text,
                    );
                }
            }
        }
        y += HEIGHT + 14.0;
        text(&mut body, MARGIN, y, 12.0, "start", "faint", summary);
        y += 22.0;
    }
    scale(
        &mut body,
        MARGIN,
        y + 4.0,
        (0.0, FULL),
        RED,
        "surprisal in nats",
    );
    let mut svg = begin(width, y + 48.0, "surprisal of tokens");
    svg += &body;
    svg + "</svg>\n"
}

/// A part of a part of a text that stands in one line.
struct Piece {
    text: String,
    begins_line: bool,
}

/// A part of a text in lines, the first of which has so many columns already. A part that fits a line isn't divided.
fn lines(part: &str, mut at: usize) -> Vec<Piece> {
    let part = visible(part);
    let mut pieces = Vec::new();
    let mut begins_line = at > 0 && at + part.width() > LINE;
    if begins_line {
        at = 0;
    }
    let mut text = String::new();
    for character in part.graphemes(true) {
        if at + character.width() > LINE {
            let text = std::mem::take(&mut text);
            pieces.push(Piece { text, begins_line });
            (at, begins_line) = (0, true);
        }
        // No line begins with a space that divides it from the one before.
        if at == 0 && begins_line && character == " " {
            continue;
        }
        at += character.width();
        text += character;
    }
    pieces.push(Piece { text, begins_line });
    pieces
}

/// The shade of a token, and its surprisal below.
fn token(svg: &mut String, (x, y): (f64, f64), width: f64, (word, log): (&str, f64)) {
    let surprisal = (-log).max(0.0);
    let opacity = FULL_RED * (surprisal / FULL).min(1.0);
    let title = escape(&format!("{}: {surprisal:.2} nats", word.trim()));
    let _ = writeln!(
        svg,
        "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"24\" rx=\"3\" fill=\"{RED}\" fill-opacity=\"{opacity:.3}\">\
         <title>{title}</title></rect>",
        x + 0.5,
        (width - 1.0).max(1.0)
    );
    let number = format!("{surprisal:.1}");
    if width >= 9.0 * ADVANCE * number.len() as f64 {
        text(
            svg,
            x + width / 2.0,
            y + 34.0,
            9.0,
            "middle",
            "faint",
            &number,
        );
    }
}

fn begin(width: f64, height: f64, title: &str) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         role=\"img\">\n<title>{title}</title>\n{HEAD}"
    )
}

/// A scale from one end to the other, in the colour of positive values; 0 is clear.
fn scale(svg: &mut String, x: f64, y: f64, (least, most): (f64, f64), colour: &str, name: &str) {
    const WIDTH: f64 = 200.0;
    let clear = match least < 0.0 {
        true => format!(
            "<stop stop-color=\"{ORANGE}\"/><stop offset=\"0.5\" stop-color=\"{ORANGE}\" stop-opacity=\"0\"/>\
             <stop offset=\"0.5\" stop-color=\"{colour}\" stop-opacity=\"0\"/>"
        ),
        false => format!("<stop stop-color=\"{colour}\" stop-opacity=\"0\"/>"),
    };
    let full = if colour == RED { FULL_RED } else { 1.0 };
    let _ = writeln!(
        svg,
        "<linearGradient id=\"scale\">{clear}<stop offset=\"1\" stop-color=\"{colour}\" stop-opacity=\"{full}\"/></linearGradient>\n\
         <rect x=\"{x}\" y=\"{y:.1}\" width=\"{WIDTH}\" height=\"10\" fill=\"url(#scale)\"/>\n\
         <rect x=\"{x}\" y=\"{y:.1}\" width=\"{WIDTH}\" height=\"10\" class=\"frame\"/>"
    );
    let figure = |value: f64| format!("{}", (value * 100.0).round() / 100.0);
    let below = y + 23.0;
    text(svg, x, below, 11.0, "start", "faint", &figure(least));
    text(svg, x + WIDTH, below, 11.0, "end", "faint", &figure(most));
    text(svg, x + WIDTH + 12.0, y + 9.0, 12.0, "start", "", name);
}

fn text(svg: &mut String, x: f64, y: f64, font: f64, anchor: &str, class: &str, content: &str) {
    let content = escape(content);
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{font}\" text-anchor=\"{anchor}\" class=\"{class}\" xml:space=\"preserve\">{content}</text>"
    );
}

/// A text that takes exactly this width, whatever the font.
fn exact(svg: &mut String, (x, y): (f64, f64), font: f64, width: f64, content: &str) {
    let content = escape(content);
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{font}\" textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
         xml:space=\"preserve\">{content}</text>"
    );
}

/// A text in XML, of which what can't stand there is made visible or replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_text() {
        assert_eq!(
            escape("<a b=\"c\">&\u{1b}[1m\u{0}\u{ffff}"),
            "&lt;a b=&quot;c&quot;&gt;&amp;\\u001b[1m\\u0000\u{fffd}"
        );
        let hostile = "</text><script>alert(1)</script>".to_owned();
        let svg = heat(
            &[hostile.clone(), hostile],
            &[vec![1.0, 0.5], vec![0.5, 1.0]],
            "cosine",
        );
        assert!(!svg.contains("<script"), "{svg}");
    }

    #[test]
    fn a_heat_map_of_any_size() {
        for count in [2, 12, 13, 64, 100] {
            let texts: Vec<String> = (0..count)
                .map(|i| format!("text {i} {}", "long ".repeat(30)))
                .collect();
            let rows = vec![vec![0.5; count]; count];
            let svg = heat(&texts, &rows, "cosine");
            assert_eq!(svg.matches("<title>").count(), 1 + count * count, "{count}");
            assert_eq!(svg.matches("...").count(), count, "labels are cut");
            assert_eq!(
                svg.matches(">0.50</text>").count(),
                if count <= 12 { count * count } else { 0 }
            );
        }
        let rows = [vec![1.0, -0.25], vec![-0.25, 1.0]];
        assert_eq!(range(&rows), (1.0, -1.0));
        assert_eq!(range(&[vec![9.5, 2.0]]), (9.5, 0.0));
        let svg = heat(&["a".into(), "b".into()], &rows, "cosine");
        assert_eq!(svg.matches(&format!("fill=\"{ORANGE}\"")).count(), 2);
    }

    #[test]
    fn texts_are_broken_into_lines() {
        let shown = |part: &str, at| -> Vec<(String, bool)> {
            let pieces = lines(part, at).into_iter();
            pieces
                .map(|piece| (piece.text, piece.begins_line))
                .collect()
        };
        assert_eq!(shown(" the", 0), [(" the".to_owned(), false)]);
        assert_eq!(shown(" the", LINE - 3), [("the".to_owned(), true)]);
        let long = "é".repeat(LINE + 2);
        assert_eq!(
            shown(&long, 0),
            [("é".repeat(LINE), false), ("éé".to_owned(), true)]
        );
        assert_eq!(shown("猫", LINE - 1), [("猫".to_owned(), true)]);
        let text = Surprisals {
            parts: vec![
                ("a <b>".into(), Some(-2.5)),
                (" ".into(), None),
                ("c".into(), Some(0.0)),
            ],
            summary: "-2.50 nats".into(),
        };
        let svg = surprisal(&[text]);
        assert!(
            svg.contains(">a &lt;b&gt;</text>") && svg.contains(">2.5</text>"),
            "{svg}"
        );
        assert!(svg.contains("fill-opacity=\"0.175\"") && svg.contains("fill-opacity=\"0.000\""));
    }
}
