//! A YAML or JSON text as a tree of nodes with their lines. Scalars keep the text that was written, so that
//! `version: 0.10` is not a number by accident; what a scalar means is for its reader to decide.
//!
//! Bounded by construction: the text's size and the depth have limits, and anchors, by which a small text could grow
//! into a large tree, are refused.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::error::{Error, Result};
use crate::limits;

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// From 1.
    pub line: usize,
    /// How many bytes of the file come before it.
    pub offset: usize,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `plain`: written without quotes, so that it may be null, a boolean or a number.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub line: usize,
    pub value: Node,
}

impl Node {
    /// Nothing after the colon, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if ["", "~", "null"].contains(&text.as_str()))
    }
}

/// An error that names its place: `func.yaml:7: …`.
pub fn error_at(file: &str, line: usize, message: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{file}:{line}: {message}"))
}

/// The one document of `text`. An empty text is an empty map.
pub fn parse(file: &str, text: &str) -> Result<Node> {
    check_size(&file, text.len() as u64)?;
    let mut reader = Reader { file, text, events: Parser::new_from_str(text) };
    let mut root = None;
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::Nothing => {}
            event if root.is_none() => root = Some(reader.node(event, span, 0)?),
            _ => {
                return Err(error_at(
                    file,
                    span.start.line(),
                    "a second document begins, there is to be one",
                ));
            }
        }
    }
    Ok(match root {
        Some(root) if !root.is_null() => root,
        _ => Node { line: 1, offset: text.len(), value: Value::Map(Vec::new()) },
    })
}

pub fn check_size(file: &dyn std::fmt::Display, bytes: u64) -> Result<()> {
    match bytes > limits::FUNC_FILE_BYTES_MAX {
        true => Err(Error::invalid(format!(
            "{file} has {bytes} bytes, the most is {}",
            limits::FUNC_FILE_BYTES_MAX
        ))),
        false => Ok(()),
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => Err(error_at(self.file, error.marker().line(), error.info())),
            None => Ok(None),
        }
    }

    /// The next event inside a list or map, which always has an end.
    fn inner(&mut self, line: usize) -> Result<(Event<'a>, Span)> {
        self.next()?.ok_or_else(|| error_at(self.file, line, "the list or map that begins here has no end"))
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node> {
        let line = span.start.line();
        if depth > limits::FUNC_FILE_DEPTH_MAX {
            let most = limits::FUNC_FILE_DEPTH_MAX;
            return Err(error_at(self.file, line, format!("nested more than {most} deep")));
        }
        let value = match event {
            Event::Alias(_)
            | Event::Scalar(_, _, 1.., _)
            | Event::SequenceStart(1.., _)
            | Event::MappingStart(1.., _) => {
                return Err(error_at(self.file, line, "anchors and aliases are not supported")
                    .with_hint("write the value out where it is needed"));
            }
            Event::Scalar(text, style, _, _) => {
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.inner(line)? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                let mut lines = BTreeMap::new();
                loop {
                    match self.inner(line)? {
                        (Event::MappingEnd, _) => break Value::Map(entries),
                        (event, span) => {
                            let entry = self.entry(event, span, depth)?;
                            if let Some(first) = lines.insert(entry.key.clone(), entry.line) {
                                let message = format!("`{}` stands in line {first} already", entry.key);
                                return Err(error_at(self.file, entry.line, message));
                            }
                            entries.push(entry);
                        }
                    }
                }
            }
            event => return Err(error_at(self.file, line, format!("unexpected {event:?}"))),
        };
        let offset =
            self.text.char_indices().nth(span.start.index()).map_or(self.text.len(), |(byte, _)| byte);
        Ok(Node { line, offset, value })
    }

    fn entry(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Entry> {
        let line = span.start.line();
        let key = match self.node(event, span, depth + 1)?.value {
            Value::Scalar { text, .. } => text,
            Value::List(_) | Value::Map(_) => {
                return Err(error_at(self.file, line, "a key is a list or map, it is to be a word"));
            }
        };
        let (event, span) = self.inner(line)?;
        Ok(Entry { key, line, value: self.node(event, span, depth + 1)? })
    }
}
