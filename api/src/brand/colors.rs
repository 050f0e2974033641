//! The colors of a theme: their names, their contrast, and the stylesheet.
//!
//! Promise: a theme loads only if every pair of colors that carries text has the contrast of WCAG
//! 2.2, level AA: 4.5 for text, 3 for the parts of controls. The stylesheet has nothing but custom
//! properties with colors in it.
//!
//! Source: <https://www.w3.org/TR/WCAG22/#contrast-minimum>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::texts::nearest;

/// The colors of `style.css`: name, in light, in dark, and purpose.
pub(super) const COLORS: [(&str, &str, &str, &str); 16] = [
    ("paper", "#f6f4ee", "#121614", "background of the page"),
    (
        "card",
        "#fffefb",
        "#1b211e",
        "background of cards and panels",
    ),
    ("ink", "#1a211e", "#ecefe9", "text"),
    (
        "quiet",
        "#56605b",
        "#a9b4ae",
        "secondary text, borders of fields",
    ),
    ("line", "#ddd9ce", "#333c37", "lines"),
    (
        "track",
        "#e8e4d9",
        "#2b332f",
        "background of bars, pictures and badges",
    ),
    (
        "accent",
        "#0b6b50",
        "#4cc79c",
        "buttons, available units, focus",
    ),
    ("accent_ink", "#ffffff", "#06251a", "text on accent"),
    (
        "accent_soft",
        "#dcebe4",
        "#18382d",
        "background of drops on sale",
    ),
    ("half", "#7fb3a1", "#2f7a60", "held units in a bar"),
    ("amber", "#8a5200", "#efb866", "warnings"),
    ("amber_soft", "#f8ead2", "#3a2c14", "background of warnings"),
    ("red", "#a3281c", "#f5958a", "errors"),
    ("red_soft", "#f9e3df", "#41201c", "background of errors"),
    ("toast", "#1a211e", "#ecefe9", "background of messages"),
    ("toast_ink", "#f6f4ee", "#121614", "text of messages"),
];

// The contrast that text needs, and that parts of controls need, in hundredths.
const TEXT: u32 = 450;
const CONTROL: u32 = 300;

/// The pairs of a foreground and a background that the pages show, with the least contrast.
const PAIRS: [(&str, &str, u32); 18] = [
    ("ink", "paper", TEXT),
    ("ink", "card", TEXT),
    ("ink", "track", TEXT),
    ("ink", "accent_soft", TEXT),
    ("quiet", "paper", TEXT),
    ("quiet", "card", TEXT),
    ("accent", "card", TEXT),
    ("accent", "accent_soft", TEXT),
    ("accent_ink", "accent", TEXT),
    ("accent", "paper", CONTROL),
    ("amber", "card", TEXT),
    ("amber", "amber_soft", TEXT),
    ("red", "card", TEXT),
    ("red", "paper", TEXT),
    ("red", "red_soft", TEXT),
    ("card", "red", TEXT),
    ("toast_ink", "toast", TEXT),
    ("accent", "track", CONTROL),
];

/// The two color schemes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// An sRGB color without transparency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Color([u8; 3]);

impl Color {
    /// Parses `#rrggbb` or `#rgb`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        let doubled: String = match digits.len() {
            3 => digits.chars().flat_map(|digit| [digit, digit]).collect(),
            _ => digits.to_owned(),
        };
        let mut bytes = [0; 3];
        hex::decode_to_slice(&doubled, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    fn text(self) -> String {
        format!("#{}", hex::encode(self.0))
    }

    /// The relative luminance of WCAG, from 0 to 1.
    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let share = f64::from(channel) / 255.0;
            match share <= 0.040_45 {
                true => share / 12.92,
                false => ((share + 0.055) / 1.055).powf(2.4),
            }
        };
        let [red, green, blue] = self.0.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// The contrast of two colors, from 1 to 21.
    pub(super) fn contrast(self, other: Self) -> f64 {
        let (one, other) = (self.luminance(), other.luminance());
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }
}

/// The colors of one scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Palette(BTreeMap<&'static str, Color>);

impl Palette {
    /// Returns the colors of the stylesheet, with those of the theme in their stead.
    ///
    /// # Errors
    /// The unknown name, the value that is no color, or the pair without contrast.
    pub(super) fn new(scheme: Scheme, chosen: &BTreeMap<String, String>) -> Result<Self, String> {
        let section = format!("colors.{}", scheme.name());
        let mut colors = BTreeMap::new();
        for (name, light, dark, _) in COLORS {
            let text = if scheme == Scheme::Light { light } else { dark };
            colors.insert(name, Color::parse(text).unwrap_or(Color([0; 3])));
        }
        for (name, text) in chosen {
            let Some((known, ..)) = COLORS.iter().find(|(known, ..)| known == name) else {
                let hint = nearest(name, COLORS.iter().map(|(known, ..)| *known));
                return Err(format!("{section}.{name}: no color has this name{hint}"));
            };
            let color = Color::parse(text)
                .ok_or_else(|| format!("{section}.{name}: must be a color as #rrggbb"))?;
            colors.insert(known, color);
        }
        for (front, back, least) in PAIRS {
            let ratio = colors[front].contrast(colors[back]);
            let least = f64::from(least) / 100.0;
            if ratio < least {
                // Rounded down, so that 4.499 is not shown as 4.5.
                let shown = (ratio * 100.0).floor() / 100.0;
                let [front_is, back_is] = [front, back].map(|name| colors[name].text());
                return Err(format!(
                    "{section}: {front} {front_is} on {back} {back_is} has a contrast of \
                     {shown:.2}; WCAG AA requires {least:.1}"
                ));
            }
        }
        Ok(Self(colors))
    }

    /// Returns a color as CSS writes it.
    pub(super) fn text(&self, name: &str) -> String {
        self.0
            .get(name)
            .map_or_else(String::new, |color| color.text())
    }

    fn properties(&self) -> String {
        let mut text = String::new();
        for (name, ..) in COLORS {
            let property = name.replace('_', "-");
            let _ = write!(text, " --{property}: {};", self.text(name));
        }
        text
    }
}

/// Returns the stylesheet that follows `style.css`.
pub(super) fn stylesheet(light: &Palette, dark: &Palette) -> String {
    format!(
        ":root {{{} }}\n@media (prefers-color-scheme: dark) {{\n  :root {{{} }}\n}}\n",
        light.properties(),
        dark.properties()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web_files::embedded;

    fn with(chosen: &[(&str, &str)]) -> Result<Palette, String> {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Palette::new(Scheme::Light, &chosen.iter().map(own).collect())
    }

    #[test]
    fn contrast_is_that_of_the_standard() {
        let contrast = |one, other| {
            Color::parse(one)
                .unwrap()
                .contrast(Color::parse(other).unwrap())
        };
        assert!((contrast("#000", "#ffffff") - 21.0).abs() < 1e-9);
        assert!((contrast("#777777", "#fff") - 4.478).abs() < 0.001);
        assert!((contrast("#767676", "#fff") - 4.542).abs() < 0.001);
    }

    #[test]
    fn pair_without_contrast_is_named_with_its_ratio() {
        assert_eq!(
            with(&[("accent", "#2aa37f")]).unwrap_err(),
            "colors.light: accent #2aa37f on card #fffefb has a contrast of 3.13; WCAG AA requires 4.5"
        );
        assert_eq!(
            with(&[("acent", "#000000")]).unwrap_err(),
            "colors.light.acent: no color has this name; did you mean accent?"
        );
        for text in ["red", "#12345", "#1234567", "#ggg", "", "url(x)", "#fff;}"] {
            let fault = with(&[("line", text)]).unwrap_err();
            assert_eq!(fault, "colors.light.line: must be a color as #rrggbb");
        }
    }

    /// The defaults are those of the stylesheet.
    #[test]
    fn default_colors_are_those_of_the_stylesheet() {
        let sheet = embedded("style.css").unwrap();
        let (light, dark) = sheet.split_once("prefers-color-scheme: dark").unwrap();
        for (name, of_light, of_dark, _) in COLORS {
            let property = format!("--{}:", name.replace('_', "-"));
            for (part, color) in [(light, of_light), (dark, of_dark)] {
                assert!(
                    part.contains(&format!("{property} {color};")),
                    "{name}: {color}"
                );
            }
        }
        for scheme in [Scheme::Light, Scheme::Dark] {
            Palette::new(scheme, &BTreeMap::new()).unwrap();
        }
    }
}
