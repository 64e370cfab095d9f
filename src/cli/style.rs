//! Colour, where somebody sees it: on a terminal, unless NO_COLOR says otherwise.

use std::fmt;
use std::io::IsTerminal;

use clap::builder::styling::{AnsiColor, Style};

/// What a piece of text is, not how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Error,
    Warning,
    Hint,
    Good,
    Faint,
}

impl Role {
    fn style(self) -> Style {
        match self {
            Role::Error => AnsiColor::Red.on_default().bold(),
            Role::Warning => AnsiColor::Yellow.on_default().bold(),
            Role::Hint => AnsiColor::Cyan.on_default().bold(),
            Role::Good => AnsiColor::Green.on_default(),
            Role::Faint => Style::new().dimmed(),
        }
    }
}

/// Whether a stream shows colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    enabled: bool,
}

impl Palette {
    #[cfg(test)]
    pub const PLAIN: Palette = Palette { enabled: false };

    /// By the rules of <https://no-color.org>: any NO_COLOR that is not empty turns colour off.
    pub fn of(stream: &impl IsTerminal) -> Palette {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Palette { enabled: stream.is_terminal() && !refused && !dumb }
    }

    pub fn paint<'a>(self, role: Role, text: &'a str) -> Painted<'a> {
        Painted { style: self.enabled.then(|| role.style()), text }
    }
}

pub struct Painted<'a> {
    style: Option<Style>,
    text: &'a str,
}

impl fmt::Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            Some(style) => write!(f, "{style}{}{style:#}", self.text),
            None => f.write_str(self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_enabled_palette_paints() {
        assert_eq!(Palette::PLAIN.paint(Role::Error, "error").to_string(), "error");
        let painted = Palette { enabled: true }.paint(Role::Error, "error").to_string();
        assert!(painted.starts_with('\u{1b}') && painted.contains("error"), "{painted:?}");
    }
}
