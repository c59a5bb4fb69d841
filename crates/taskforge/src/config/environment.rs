//! Providers that the environment names.

use super::spec::{KINDS, ProviderSpec, Source, default_base_url};
use anyhow::{Result, bail};
use api::wire::ProviderSettings;
use std::net::ToSocketAddrs;
use store::Credentials;

/// A known provider: its name and kind, and the variables of its key and address.
const KNOWN: [(&str, &str, &str); 3] = [
    ("openai", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    ("anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    ("gemini", "GEMINI_API_KEY", "GEMINI_BASE_URL"),
];

/// Reads the providers out of variables; empty values count as unset.
pub(crate) fn providers(variables: impl Iterator<Item = (String, String)>) -> Result<Vec<ProviderSpec>> {
    let mut all: Vec<(String, String)> =
        variables.map(|(n, v)| (n, v.trim().to_owned())).filter(|(_, v)| !v.is_empty()).collect();
    all.sort();
    let var = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let mut found = Vec::new();
    for (name, key, address) in KNOWN {
        if var(key).is_some() || var(address).is_some() {
            let url = var(address).or_else(|| default_base_url(name)).unwrap_or_default();
            found.push(spec(name, name, url, var(key)));
        }
    }
    if let Some(url) = var("OLLAMA_URL") {
        found.push(spec("ollama", "ollama", url, None));
    }
    for (name, url) in &all {
        let Some(id) = name.strip_prefix("TASKFORGE_UPSTREAM_").and_then(|n| n.strip_suffix("_URL")) else { continue };
        let lower = id.to_ascii_lowercase().replace('_', "-");
        if lower.is_empty() || found.iter().any(|p| p.name == lower) {
            bail!("{name} names the provider {lower:?}, which is empty or already there");
        }
        let kind_name = format!("TASKFORGE_UPSTREAM_{id}_KIND");
        let kind = var(&kind_name).unwrap_or("openai-compatible");
        if !KINDS.contains(&kind) {
            bail!("{kind_name} is {kind:?}; it must be one of {}", KINDS.join(", "));
        }
        found.push(spec(&lower, kind, url, var(&format!("TASKFORGE_UPSTREAM_{id}_KEY"))));
    }
    Ok(found)
}

fn spec(name: &str, kind: &str, url: &str, key: Option<&str>) -> ProviderSpec {
    ProviderSpec {
        name: name.to_owned(),
        kind: kind.to_owned(),
        base_url: reachable(url),
        credentials: Credentials { api_key: key.map(str::to_owned), ..Credentials::default() },
        settings: ProviderSettings::default(),
        source: Source::Environment,
    }
}

/// `host.docker.internal` means this machine where it does not resolve: outside Docker Desktop it rarely does.
pub(super) fn reachable(url: &str) -> String {
    const NAME: &str = "host.docker.internal";
    if url.contains(NAME) && (NAME, 80).to_socket_addrs().is_err() {
        url.replace(NAME, "127.0.0.1")
    } else {
        url.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Vec<String>> {
        let all = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Ok(providers(all)?
            .into_iter()
            .map(|p| format!("{} {} {} {}", p.name, p.kind, p.base_url, p.credentials.api_key.unwrap_or_default()))
            .collect())
    }

    #[test]
    fn each_variable_has_its_provider() {
        let found = read(&[
            ("OPENAI_API_KEY", " k1 "),
            ("ANTHROPIC_API_KEY", "k2"),
            ("ANTHROPIC_BASE_URL", "http://a"),
            ("GEMINI_API_KEY", ""),
            ("OLLAMA_URL", "http://o:11434"),
            ("TASKFORGE_UPSTREAM_MY_LAB_URL", "http://l/v1"),
            ("TASKFORGE_UPSTREAM_MY_LAB_KEY", "k3"),
            ("TASKFORGE_UPSTREAM_CLAUDE_URL", "http://c"),
            ("TASKFORGE_UPSTREAM_CLAUDE_KIND", "anthropic"),
        ]);
        let expected = [
            "openai openai https://api.openai.com/v1 k1",
            "anthropic anthropic http://a k2",
            "ollama ollama http://o:11434 ",
            "claude anthropic http://c ",
            "my-lab openai-compatible http://l/v1 k3",
        ];
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn wrong_variables_are_named() {
        for (variables, word) in [
            (vec![("TASKFORGE_UPSTREAM_X_URL", "http://x"), ("TASKFORGE_UPSTREAM_X_KIND", "azure")], "X_KIND"),
            (vec![("OPENAI_API_KEY", "k"), ("TASKFORGE_UPSTREAM_OPENAI_URL", "http://x")], "already there"),
        ] {
            let error = read(&variables).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
