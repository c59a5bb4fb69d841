//! Typed ids. Each is a UUIDv7 shown as `<prefix>_<32 hex digits>`; a bare `Uuid` never crosses a signature.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not such an id: it looks like {prefix}_ and 32 hexadecimal digits")]
pub struct IdError {
    prefix: &'static str,
    text: String,
}

macro_rules! id {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// The text prefix of this kind of id.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps a UUID; the caller supplies one from its own clock and random source.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The 32 hexadecimal digits without the prefix.
            pub fn hex(&self) -> String {
                self.0.simple().to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                let error = || IdError { prefix: $prefix, text: s.chars().take(80).collect() };
                let hex = s.strip_prefix(concat!($prefix, "_")).ok_or_else(error)?;
                if hex.len() != 32 || hex.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(error());
                }
                Uuid::try_parse(hex).map(Self).map_err(|_| error())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(InstallationId, "inst", "One installation: a data directory and every Docker object that carries its label.");
id!(TaskId, "task", "A task.");
id!(RunId, "run", "One run of a task: its first start or a `continue`.");
id!(RequestId, "req", "A request of an agent for a capability or an answer.");
id!(CallId, "call", "A model call.");
id!(OpId, "op", "An act with an outside effect; its begun and ended leaves share this id.");
id!(KeyId, "key", "A caller's key for the gateway.");
id!(MessageId, "msg", "A message of a person to a task.");

impl InstallationId {
    /// Eight digits for names of Docker objects (the random tail of the id).
    pub fn short(&self) -> String {
        let hex = self.hex();
        hex[hex.len() - 8..].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_other_texts_are_refused() {
        let id = TaskId::from_uuid(Uuid::from_u128(7));
        assert_eq!(id.to_string(), "task_00000000000000000000000000000007");
        assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        for bad in ["", "task_", "run_00000000000000000000000000000007", "task_0000000000000000000000000000000G"] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad}");
        }
        assert!("task_0000000000000000000000000000000A".parse::<TaskId>().is_err(), "one spelling only");
    }
}
