//! `did you mean`.

/// The candidate most like `word`, where one is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer than any key: no edit distance is worth computing.
    if word.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    candidates
        .map(|candidate| (strsim::jaro_winkler(&word, &plain(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= 0.82)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_meant() {
        let keys = ["upstream", "upstreams", "match", "require", "auth", "mode", "proof_lifetime"];
        for (word, expected) in [
            ("upstreem", Some("upstream")),
            ("Upstreams", Some("upstreams")),
            ("proof-lifetime", Some("proof_lifetime")),
            ("requires", Some("require")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys.into_iter()), expected, "{word}");
        }
        assert_eq!(nearest(&"upstream".repeat(20), keys.into_iter()), None);
    }
}
