//! Names that somebody may have meant.

/// How many names are suggested.
const MAX_NAMES: usize = 5;
/// Longer names are not compared.
const MAX_CHARS: usize = 100;

/// The names of `all` that are most like `name`: by the fewest changed letters, with or without the upstream.
pub(crate) fn names(name: &str, all: impl Iterator<Item = String>) -> Vec<String> {
    let wanted = name.to_lowercase();
    let mut scored: Vec<(usize, String)> = all
        .filter_map(|full| {
            let known = full.to_lowercase();
            let bare = known.split_once('/').map_or(known.as_str(), |(_, m)| m);
            let wanted_bare = wanted.split_once('/').map_or(wanted.as_str(), |(_, m)| m);
            let distance = distance(&wanted, &known).min(distance(&wanted, bare)).min(distance(wanted_bare, bare));
            let contained = wanted_bare.len() >= 3 && (bare.contains(wanted_bare) || wanted_bare.contains(bare));
            let limit = wanted_bare.chars().count().max(3) / 2;
            (contained || distance <= limit).then_some((distance, full))
        })
        .collect();
    scored.sort();
    scored.into_iter().take(MAX_NAMES).map(|(_, full)| full).collect()
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(MAX_CHARS).collect();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, cb) in b.chars().take(MAX_CHARS).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, ca) in a.iter().enumerate() {
            let changed = diagonal + usize::from(*ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_first_and_far_ones_not_at_all() {
        let all = || ["openai/gpt-4o", "openai/gpt-4o-mini", "ollama/qwen3:latest", "ollama/llama3"];
        let near = |name| names(name, all().into_iter().map(String::from));
        assert_eq!(near("gpt-4"), ["openai/gpt-4o", "openai/gpt-4o-mini"]);
        assert_eq!(near("ollama/qwen3"), ["ollama/qwen3:latest"]);
        assert_eq!(near("lama3")[0], "ollama/llama3");
        assert!(near("zzzzzzzz").is_empty());
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
