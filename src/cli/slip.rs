//! Wrong usage, told a little better than the parser can.

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// The same error, with what may have been meant.
pub fn explained(mut error: Error, definition: &Command) -> Error {
    match error.kind() {
        ErrorKind::InvalidSubcommand => prefer_whole_words(&mut error, definition),
        ErrorKind::MissingRequiredArgument => point_to_list(&mut error),
        _ => {}
    }
    error
}

/// Of similar commands those by their names, rather than their aliases of a letter or two.
fn prefer_whole_words(error: &mut Error, definition: &Command) {
    let similar = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(similar)) => similar.clone(),
        Some(ContextValue::String(similar)) => vec![similar.clone()],
        _ => return,
    };
    let level = level(error, definition);
    let is_name = |name: &String| level.get_subcommands().any(|command| command.get_name() == name);
    let whole: Vec<String> = similar.into_iter().filter(is_name).collect();
    let suggested = match <[String; 1]>::try_from(whole) {
        Ok([one]) => ContextValue::String(one),
        Err(several) if several.is_empty() => return,
        Err(several) => ContextValue::Strings(several),
    };
    error.insert(ContextKind::SuggestedSubcommand, suggested);
}

/// The command whose subcommand was sought: its usage names it.
fn level<'a>(error: &Error, definition: &'a Command) -> &'a Command {
    let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    let words = usage.split_whitespace().skip_while(|word| *word != definition.get_name()).skip(1);
    words
        .map_while(|word| Some(word).filter(|word| !word.starts_with(['[', '<'])))
        .fold(definition, |level, word| level.find_subcommand(word).unwrap_or(level))
}

/// Who gives `config` no value may want to see what is set.
fn point_to_list(error: &mut Error) {
    let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    let Some(rest) = usage.split_once("afn config ").map(|(_, rest)| rest) else { return };
    let noun = rest.split_whitespace().next().unwrap_or("app");
    let told = format!("`afn list config {noun} …` shows what is set");
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![told.into()]));
}
