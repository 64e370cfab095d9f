//! What a user who typed a wrong command line may have meant. Makes clap's own suggestions a little better.

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::error;

/// The same error with suggestions.
pub fn with_suggestions(mut error: Error, definition: &Command) -> Error {
    let suggestion = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            prefer_names_to_aliases(&mut error, definition);
            batch_list(&error)
        }
        ErrorKind::MissingRequiredArgument => usual_arguments(&error),
        ErrorKind::ValueValidation => hint_of_value(&error),
        _ => None,
    };
    if let Some(suggestion) = suggestion {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![suggestion.into()]));
    }
    error
}

/// Drops aliases of a letter or two from the similar commands, if one is similar by its name.
fn prefer_names_to_aliases(error: &mut Error, definition: &Command) {
    let similar = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(similar)) => similar.clone(),
        Some(ContextValue::String(similar)) => vec![similar.clone()],
        _ => return,
    };
    let parent = parent_command(error, definition);
    let is_name = |name: &String| parent.get_subcommands().any(|command| command.get_name() == name);
    let names: Vec<String> = similar.into_iter().filter(is_name).collect();
    let suggested = match <[String; 1]>::try_from(names) {
        Ok([one]) => ContextValue::String(one),
        Err(several) if several.is_empty() => return,
        Err(several) => ContextValue::Strings(several),
    };
    error.insert(ContextKind::SuggestedSubcommand, suggested);
}

/// The command whose subcommand is unknown: the error's usage names it.
fn parent_command<'a>(error: &Error, definition: &'a Command) -> &'a Command {
    let usage = usage(error);
    let words = usage.split_whitespace().skip_while(|word| *word != definition.get_name()).skip(1);
    words
        .map_while(|word| Some(word).filter(|word| !word.starts_with(['[', '<'])))
        .fold(definition, |parent, word| parent.find_subcommand(word).unwrap_or(parent))
}

/// Batches are listed by `afn batch list`, not by `afn list` as everything that Fn has.
fn batch_list(error: &Error) -> Option<String> {
    let unknown = error.get(ContextKind::InvalidSubcommand)?.to_string();
    let is_batch = usage(error).contains("afn list") && matches!(unknown.as_str(), "batches" | "batch" | "b");
    is_batch.then(|| "`afn batch list APP` lists the batches of an app".to_owned())
}

/// How the missing argument is mostly given.
fn usual_arguments(error: &Error) -> Option<String> {
    let usage = usage(error);
    let words: Vec<&str> = usage.split_whitespace().skip_while(|word| *word != "afn").collect();
    match words[..] {
        // A user who gives no value may want to see what is set.
        ["afn", "config", noun, ..] => {
            let noun = if noun.starts_with(['<', '[']) { "app" } else { noun };
            Some(format!("`afn list config {noun} …` shows what is set"))
        }
        ["afn", "get", noun @ ("call" | "result" | "logs"), ..] => Some(format!(
            "the app comes first, then the call: `afn get {noun} APP last` is the newest of an app"
        )),
        ["afn", "batch", verb, .., "<BATCH>"] => {
            Some(format!("`afn batch {verb} last` takes the newest that was submitted from here"))
        }
        _ => None,
    }
}

/// The hint of the error that the value's own type returned.
fn hint_of_value(error: &Error) -> Option<String> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<error::Error>()?.hint_text().map(str::to_owned)
}

fn usage(error: &Error) -> String {
    error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default()
}
