//! The nearest known name to one that is unknown, for hints.

/// The candidate that was most likely meant, if any is close enough to be worth saying.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let score = |candidate: &str| strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase());
    candidates
        .into_iter()
        .map(|candidate| (score(candidate), candidate))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        assert_eq!(nearest("memroy", ["memory", "timeout"]), Some("memory"));
        assert_eq!(nearest("Timeout", ["memory", "timeout"]), Some("timeout"));
        assert_eq!(nearest("colour", ["memory", "timeout"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
