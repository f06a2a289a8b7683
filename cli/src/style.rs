//! The colours of a terminal. Those of a theme where one is enough; where shades are compared, both the text's and the
//! background's, so that they are the same on light and dark.

use anstyle::{Ansi256Color, AnsiColor, Color, Style};

/// What the model put into a text, or found in it.
pub(crate) const FOUND: Style = AnsiColor::Green.on_default().bold();
/// What a text leaves open.
pub(crate) const MASK: Style = AnsiColor::Magenta.on_default().bold();
/// Bars.
pub(crate) const BAR: Style = AnsiColor::Cyan.on_default();
/// Headings, and what matters less.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// The colours of labels: neighbours differ.
const LABELS: [AnsiColor; 6] = [
    AnsiColor::Green,
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::Blue,
    AnsiColor::Red,
];

/// The style of the label at this place among those of a model.
pub(crate) fn label(place: usize) -> Style {
    let style = LABELS[place % LABELS.len()].on_default();
    style.bold().underline()
}

/// Black on a background of the 256 colours.
const fn on(background: u8) -> Style {
    Style::new()
        .fg_color(Some(Color::Ansi256(Ansi256Color(16))))
        .bg_color(Some(Color::Ansi256(Ansi256Color(background))))
}

/// The least probability of a shade, and its style: the less probable, the redder. All are about as light, so that the eye goes to the
/// red on a dark background, too.
pub(crate) const SURPRISE: [(f64, Style); 5] = [
    (0.5, Style::new()),
    (0.1, on(250)),
    (0.01, on(180)),
    (0.001, on(209)),
    (0.0, on(203)),
];

/// The shade of a word with this probability.
pub(crate) fn surprise(probability: f64) -> Style {
    let shade = SURPRISE.iter().find(|(least, _)| probability >= *least);
    shade.map_or(SURPRISE[4].1, |(_, style)| *style)
}

/// The shade of a similarity of at most 1: the higher, the bluer.
pub(crate) fn similarity(part: f32) -> Style {
    match part {
        0.9.. => on(39),
        0.7.. => on(74),
        0.5.. => on(110),
        0.3.. => on(146),
        _ => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_probable_is_redder() {
        let shades = [1.0, 0.5, 0.2, 0.02, 0.002, 0.0].map(surprise);
        let expected = [0, 0, 1, 2, 3, 4].map(|i: usize| SURPRISE[i].1);
        assert_eq!(shades, expected);
        assert_eq!(surprise(f64::NAN), SURPRISE[4].1);
        assert_eq!(label(0), label(6));
        assert_ne!(label(0), label(1));
    }
}
