//! Text for people, which a terminal can show without being steered by it. Reasons, names and messages come from functions,
//! objects and services. The printer prints only [`Line`] and [`Text`], and both go through [`visible`].

use std::fmt::Display;
use std::io::IsTerminal;

use clap::builder::styling::{AnsiColor, Style};

/// A line with each character that is not to be seen written as JSON writes it: `\u001b`, `\n`, `\u202e`. So the text of a JSON
/// document has the same value afterwards.
pub fn visible(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            c if is_hidden(c) => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
            }
            c => shown.push(c),
        }
    }
    shown
}

/// [`visible`] for several lines, which end in LF or CR LF. A byte that is no UTF-8 becomes `\x9b`.
pub fn visible_lines(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for piece in bytes.utf8_chunks() {
        for line in piece.valid().split_inclusive('\n') {
            let end = if line.ends_with("\r\n") { 2 } else { usize::from(line.ends_with('\n')) };
            let (line, end) = line.split_at(line.len() - end);
            shown.extend([&visible(line), end]);
        }
        piece.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
    }
    shown
}

/// Control characters but the tab, and the characters that reorder, hide or break text without being seen themselves.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A line in pieces, each with its role. No piece can add a style or a second line.
#[derive(Debug, Clone, Default)]
pub struct Line(Vec<(Option<Role>, String)>);

impl<T: Display> From<T> for Line {
    fn from(text: T) -> Line {
        Line::default().and(text)
    }
}

impl Line {
    pub fn and(mut self, text: impl Display) -> Line {
        self.0.push((None, text.to_string()));
        self
    }

    pub fn painted(mut self, role: Role, text: impl Display) -> Line {
        self.0.push((Some(role), text.to_string()));
        self
    }

    /// With this role where a piece has none.
    pub fn all(mut self, role: Role) -> Line {
        self.0.iter_mut().for_each(|(own, _)| *own = own.or(Some(role)));
        self
    }

    pub fn followed_by(mut self, line: Line) -> Line {
        self.0.extend(line.0);
        self
    }

    /// As the program wrote it, for documents.
    pub fn plain(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    pub fn shown(&self, palette: Palette) -> String {
        let piece = |(role, text): &(Option<Role>, String)| match role {
            Some(role) => palette.paint(*role, &visible(text)),
            None => visible(text),
        };
        self.0.iter().map(piece).collect()
    }
}

/// Lines of an answer. None of them can pretend to be two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    pub fn line(&mut self, line: impl Display) {
        self.0.push_str(&visible(&line.to_string()));
        self.0.push('\n');
    }

    /// A line like `Status:       queued`.
    pub fn add(&mut self, name: &str, value: impl Display) {
        self.line(format!("{:<14}{value}", format!("{name}:")));
    }

    /// Adds nothing where there is no value yet.
    pub fn add_some(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Display> FromIterator<T> for Text {
    fn from_iter<I: IntoIterator<Item = T>>(lines: I) -> Text {
        let mut text = Text::default();
        lines.into_iter().for_each(|line| text.line(line));
        text
    }
}

impl FromIterator<Text> for Text {
    fn from_iter<I: IntoIterator<Item = Text>>(texts: I) -> Text {
        Text(texts.into_iter().map(|text| text.0).collect())
    }
}

/// What a piece of text is. Its colour follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Error,
    Warning,
    Hint,
    Success,
    Faint,
}

/// Whether a stream shows colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    enabled: bool,
}

impl Palette {
    pub const NONE: Palette = Palette { enabled: false };

    /// By the rules of <https://no-color.org>: any NO_COLOR that is not empty turns colour off.
    pub fn of(stream: &impl IsTerminal) -> Palette {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Palette { enabled: stream.is_terminal() && !refused && !is_dumb_terminal() }
    }

    fn paint(self, role: Role, text: &str) -> String {
        let style = match role {
            _ if !self.enabled => return text.to_owned(),
            Role::Error => AnsiColor::Red.on_default().bold(),
            Role::Warning => AnsiColor::Yellow.on_default().bold(),
            Role::Hint => AnsiColor::Cyan.on_default().bold(),
            Role::Success => AnsiColor::Green.on_default(),
            Role::Faint => Style::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// A terminal that can neither colour text nor move its cursor.
pub fn is_dumb_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|value| value == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clears the screen, sets the clipboard, makes a link, overwrites the line, reverses the text, ends it.
    const HOSTILE: &str = "a\u{1b}[2J\u{1b}]52;c;cm0=\u{7}\u{1b}]8;;http://x\u{1b}\\b\rc\u{202e}\u{2066}d\0\u{9b}1me\nf\u{e0041}";
    const SHOWN: &str = r"a\u001b[2J\u001b]52;c;cm0=\u0007\u001b]8;;http://x\u001b\b\rc\u202e\u2066d\u0000\u009b1me\nf\udb40\udc41";

    #[test]
    fn what_steers_a_terminal_is_visible() {
        assert_eq!(visible(HOSTILE), SHOWN);
        let harmless = "näh – 日本語, עברית, نص, 👩\u{200d}💻\t$5 \\ \"x\"";
        assert_eq!(visible(harmless), harmless);
        assert_eq!(
            visible_lines(b"one\r\ntwo\rthree\n\n\x9b2J\xffend"),
            "one\r\ntwo\\rthree\n\n\\x9b2J\\xffend"
        );
    }

    #[test]
    fn a_document_keeps_its_value() {
        let json = serde_json::to_string(&[HOSTILE]).unwrap();
        assert_ne!(visible(&json), json, "serde_json writes some of it as it is");
        assert_eq!(serde_json::from_str::<[String; 1]>(&visible(&json)).unwrap(), [HOSTILE]);
    }

    #[test]
    fn only_roles_paint() {
        assert_eq!(Line::from(HOSTILE).shown(Palette::NONE), SHOWN);
        let line = Line::default().painted(Role::Error, "error\u{1b}[0m").and("\u{1b}[1mx");
        assert_eq!(line.shown(Palette::NONE), r"error\u001b[0m\u001b[1mx");
        let painted = line.shown(Palette { enabled: true });
        assert!(painted.starts_with('\u{1b}') && painted.contains(r"error\u001b[0m"), "{painted:?}");
        assert!(painted.ends_with(r"\u001b[1mx"), "{painted:?}");
    }

    #[test]
    fn a_value_has_one_line() {
        let mut text = Text::default();
        text.add("Why", "no\nStatus:       success");
        assert_eq!(text.as_str(), "Why:          no\\nStatus:       success\n");
    }
}
