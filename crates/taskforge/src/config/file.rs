//! The gateway's configuration file: providers, aliases, prices, durability. docs/gateway.md describes each field.
//!
//! A wrong file is refused whole, with the line and the cause; a field that is not known is wrong. No value of the file
//! is repeated in an error where it could be a secret.

use super::{
    environment::reachable,
    spec::{AliasSpec, KINDS, ProviderSpec, Source, default_base_url},
};
use api::wire::ProviderSettings;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use store::{Credentials, Durability};
use toml::Spanned;

/// The largest file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// What a file says.
#[derive(Clone)]
pub(crate) struct GatewayFile {
    pub(crate) providers: Vec<ProviderSpec>,
    pub(crate) aliases: Vec<AliasSpec>,
    /// A file of prices that stands beside the table of the program.
    pub(crate) prices: Option<PathBuf>,
    pub(crate) durability: Option<Durability>,
    pub(crate) metrics_public: Option<bool>,
}

/// What is wrong with a file, and where.
#[derive(Debug, thiserror::Error)]
#[error("{path}{}: {message}", line.map(|l| format!(":{l}")).unwrap_or_default())]
pub(crate) struct FileError {
    path: String,
    line: Option<usize>,
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    durability: Option<Spanned<String>>,
    #[serde(default)]
    metrics_public: Option<bool>,
    #[serde(default)]
    providers: BTreeMap<String, Spanned<RawProvider>>,
    #[serde(default)]
    models: BTreeMap<String, Spanned<RawAlias>>,
    #[serde(default)]
    prices: Option<RawPrices>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProvider {
    kind: Spanned<String>,
    base_url: Option<String>,
    api_key_env: Option<Spanned<String>>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<RawHeader>>,
    max_concurrency: Option<u32>,
    queue: Option<u32>,
    connect_timeout_ms: Option<u64>,
    first_byte_timeout_ms: Option<u64>,
    idle_timeout_ms: Option<u64>,
    #[serde(default)]
    allow_link_local: bool,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a header is a text, or { env = \"NAME\" }")]
enum RawHeader {
    Text(String),
    Env(EnvName),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvName {
    env: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAlias {
    targets: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrices {
    file: Spanned<PathBuf>,
}

/// One file while it is read.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    env: &'a dyn Fn(&str) -> Option<String>,
}

impl GatewayFile {
    /// Reads and checks a file. Keys come from the environment.
    pub(crate) fn read(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, FileError> {
        let error = |message: String| FileError { path: path.display().to_string(), line: None, message };
        let size = fs::metadata(path).map_err(|e| error(e.to_string()))?.len();
        if size > MAX_BYTES {
            return Err(error(format!("the file has more than {MAX_BYTES} bytes")));
        }
        let text = fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
        Reader { path, text: &text, env }.parse()
    }
}

impl Reader<'_> {
    fn error(&self, at: Option<usize>, message: impl Into<String>) -> FileError {
        let line = at.map(|at| self.text.as_bytes()[..at.min(self.text.len())].split(|b| *b == b'\n').count());
        FileError { path: self.path.display().to_string(), line, message: message.into() }
    }

    fn parse(&self) -> Result<GatewayFile, FileError> {
        let raw: Raw = toml::from_str(self.text).map_err(|e| {
            let message = domain::text::visible_line(e.message().trim());
            self.error(e.span().map(|s| s.start), message)
        })?;
        let durability = raw.durability.map(|d| {
            Durability::parse(d.get_ref())
                .ok_or_else(|| self.error(Some(d.span().start), "durability must be \"process\" or \"power\""))
        });
        let mut providers = Vec::with_capacity(raw.providers.len());
        for (name, provider) in raw.providers {
            providers.push(self.provider(name, provider)?);
        }
        let mut aliases = Vec::with_capacity(raw.models.len());
        for (name, alias) in raw.models {
            aliases.push(self.alias(name, alias)?);
        }
        Ok(GatewayFile {
            providers,
            aliases,
            prices: raw.prices.map(|p| self.prices(&p)).transpose()?,
            durability: durability.transpose()?,
            metrics_public: raw.metrics_public,
        })
    }

    fn provider(&self, name: String, raw: Spanned<RawProvider>) -> Result<ProviderSpec, FileError> {
        let at = raw.span().start;
        let raw = raw.into_inner();
        let kind = raw.kind.get_ref().clone();
        if !KINDS.contains(&kind.as_str()) {
            let message = format!("kind {kind:?} is not one of {}", KINDS.join(", "));
            return Err(self.error(Some(raw.kind.span().start), message));
        }
        let base_url = raw.base_url.as_deref().or_else(|| default_base_url(&kind)).ok_or_else(|| {
            self.error(Some(at), format!("provider {name:?} needs base_url: {kind} has no address of its own"))
        })?;
        let api_key = raw.api_key_env.as_ref().map(|n| self.variable(n.get_ref(), n.span().start)).transpose()?;
        let mut headers = BTreeMap::new();
        for (header, value) in raw.headers {
            let at = value.span().start;
            let text = match value.into_inner() {
                RawHeader::Text(text) => text,
                RawHeader::Env(e) => self.variable(&e.env, at)?,
            };
            headers.insert(header, text);
        }
        if raw.max_concurrency == Some(0) {
            return Err(self.error(Some(at), format!("provider {name:?}: max_concurrency must be at least 1")));
        }
        for (field, ms) in [
            ("connect_timeout_ms", raw.connect_timeout_ms),
            ("first_byte_timeout_ms", raw.first_byte_timeout_ms),
            ("idle_timeout_ms", raw.idle_timeout_ms),
        ] {
            if ms == Some(0) {
                return Err(self.error(Some(at), format!("provider {name:?}: {field} must be at least 1")));
            }
        }
        Ok(ProviderSpec {
            name,
            kind,
            base_url: reachable(base_url),
            credentials: Credentials { api_key, headers },
            settings: ProviderSettings {
                max_concurrency: raw.max_concurrency,
                queue: raw.queue,
                connect_timeout_ms: raw.connect_timeout_ms,
                first_byte_timeout_ms: raw.first_byte_timeout_ms,
                idle_timeout_ms: raw.idle_timeout_ms,
                allow_link_local: raw.allow_link_local,
            },
            source: Source::File,
        })
    }

    /// The value of a variable that the file names.
    fn variable(&self, name: &str, at: usize) -> Result<String, FileError> {
        (self.env)(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).ok_or_else(|| {
            let name = domain::text::visible_line(name);
            self.error(Some(at), format!("the environment variable {name} is not set"))
        })
    }

    fn alias(&self, name: String, raw: Spanned<RawAlias>) -> Result<AliasSpec, FileError> {
        let at = raw.span().start;
        let targets = raw.into_inner().targets;
        if targets.is_empty() {
            return Err(self.error(Some(at), format!("alias {name:?} has no targets")));
        }
        for target in &targets {
            let sound = target.get_ref().split_once('/').is_some_and(|(p, m)| !p.is_empty() && !m.is_empty());
            if !sound {
                let message = format!("alias {name:?}: the target {:?} is not provider/model", target.get_ref());
                return Err(self.error(Some(target.span().start), message));
            }
        }
        Ok(AliasSpec { name, targets: targets.into_iter().map(Spanned::into_inner).collect() })
    }

    /// Prices lie beside the file, unless their path is absolute.
    fn prices(&self, raw: &RawPrices) -> Result<PathBuf, FileError> {
        let path = self.path.parent().unwrap_or(Path::new("")).join(raw.file.get_ref());
        if path.is_file() {
            return Ok(path);
        }
        Err(self.error(Some(raw.file.span().start), format!("there is no file {}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<GatewayFile, FileError> {
        let env = |name: &str| (name == "KEY").then(|| "sk-from-env".to_owned());
        Reader { path: Path::new("g.toml"), text, env: &env }.parse()
    }

    #[test]
    fn a_file_has_providers_and_aliases() {
        let file = read(
            "durability = \"power\"\nmetrics_public = true\n\n[providers.openai]\nkind = \"openai\"\napi_key_env = \"KEY\"\n\n\
             [providers.lab]\nkind = \"openai-compatible\"\nbase_url = \"http://10.0.0.5/v1\"\nmax_concurrency = 4\n\
             headers = { X-Team = \"a\", X-Token = { env = \"KEY\" } }\n\n\
             [models.fast]\ntargets = [\"lab/small\", \"openai/gpt-4o-mini\"]\n",
        )
        .unwrap_or_else(|e| panic!("{e}"));
        let [lab, openai] = &file.providers[..] else { panic!("two providers") };
        assert_eq!(
            (openai.base_url.as_str(), openai.credentials.api_key.as_deref()),
            ("https://api.openai.com/v1", Some("sk-from-env"))
        );
        assert_eq!(lab.credentials.headers["X-Token"], "sk-from-env");
        assert_eq!(lab.settings.max_concurrency, Some(4));
        assert_eq!(file.aliases[0].targets, ["lab/small", "openai/gpt-4o-mini"]);
        assert_eq!((file.durability, file.metrics_public), (Some(Durability::Power), Some(true)));
    }

    #[test]
    fn a_wrong_file_is_refused_with_line_and_cause() {
        let openai = "[providers.openai]\nkind = \"openai\"\n";
        for (text, expected) in [
            ("[providers.a]\nkind = \"azure\"\n".to_owned(), "g.toml:2: kind \"azure\" is not one of openai,"),
            (format!("{openai}apikey = \"sk-secret\"\n"), "g.toml:3: unknown field `apikey`"),
            (format!("{openai}api_key_env = \"NONE\"\n"), "g.toml:3: the environment variable NONE is not set"),
            ("[providers.a]\nkind = \"openai-compatible\"\n".to_owned(), "g.toml:1: provider \"a\" needs base_url"),
            ("\n[models.x]\ntargets = [\n  \"a/b\",\n  \"c\",\n]\n".to_owned(), "g.toml:5: alias \"x\""),
            (format!("{openai}idle_timeout_ms = 0\n"), "g.toml:1: provider \"openai\": idle_timeout_ms must be"),
            ("[models.x]\ntargets = []\n".to_owned(), "g.toml:1: alias \"x\" has no targets"),
            ("durability = \"maybe\"\n".to_owned(), "g.toml:1: durability must be"),
            ("[prices]\nfile = \"none.json\"\n".to_owned(), "g.toml:2: there is no file none.json"),
            ("a = \n".to_owned(), "g.toml:1:"),
            ("[provider.a]\n".to_owned(), "g.toml:1: unknown field `provider`"),
        ] {
            let error = read(&text).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.starts_with(expected), "{text}: {error}");
            assert!(!error.contains("sk-"), "{error}");
        }
    }
}
