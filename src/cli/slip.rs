//! Wrong usage, told a little better than the parser can.

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// The same error, with what may have been meant.
pub fn explained(mut error: Error, definition: &Command) -> Error {
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            prefer_whole_words(&mut error, definition);
            point_to_batches(&mut error);
        }
        ErrorKind::MissingRequiredArgument => show_how(&mut error),
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
    let usage = usage(error);
    let words = usage.split_whitespace().skip_while(|word| *word != definition.get_name()).skip(1);
    words
        .map_while(|word| Some(word).filter(|word| !word.starts_with(['[', '<'])))
        .fold(definition, |level, word| level.find_subcommand(word).unwrap_or(level))
}

/// Batches are listed where everything of them is done, not with the nouns of Fn.
fn point_to_batches(error: &mut Error) {
    let unknown = error.get(ContextKind::InvalidSubcommand).map(ToString::to_string).unwrap_or_default();
    if usage(error).contains("afn list") && matches!(unknown.as_str(), "batches" | "batch" | "b") {
        suggest(error, "`afn batch list APP` lists the batches of an app".to_owned());
    }
}

/// What is missing the usage names; this tells how it is mostly given.
fn show_how(error: &mut Error) {
    let usage = usage(error);
    let words: Vec<&str> = usage.split_whitespace().skip_while(|word| *word != "afn").collect();
    let told = match words[..] {
        // Who gives no value may want to see what is set.
        ["afn", "config", noun, ..] => {
            let noun = if noun.starts_with(['<', '[']) { "app" } else { noun };
            format!("`afn list config {noun} …` shows what is set")
        }
        ["afn", "get", noun @ ("call" | "result" | "logs"), ..] => {
            format!("the app comes first, then the call: `afn get {noun} APP last` is the newest of an app")
        }
        ["afn", "batch", verb, .., "<BATCH>"] => {
            format!("`afn batch {verb} last` takes the newest that was submitted from here")
        }
        _ => return,
    };
    suggest(error, told);
}

fn usage(error: &Error) -> String {
    error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default()
}

fn suggest(error: &mut Error, told: String) {
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![told.into()]));
}
