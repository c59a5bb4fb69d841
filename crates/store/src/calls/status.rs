//! Where a model call stands.

use domain::event::Outcome;
use serde::Serialize;

macro_rules! call_status {
    ($($(#[$meta:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// Where a model call stands.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum CallStatus { $($(#[$meta])* $variant),* }

        impl CallStatus {
            /// The text form, as stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The value of a stored text.
            pub fn parse(text: &str) -> Option<Self> {
                [$(Self::$variant),*].into_iter().find(|s| s.as_str() == text)
            }
        }
    };
}

call_status! {
    /// Begun, not ended.
    Open = "open",
    /// Answered whole.
    Done = "done",
    /// The upstream could not be reached or answered with an error.
    Failed = "failed",
    /// The upstream took too long.
    TimedOut = "timed_out",
    /// The client went away, or the upstream broke off; what arrived is recorded.
    Cut = "cut",
    /// Not let out.
    Refused = "refused",
    /// A crash left it open.
    Unknown = "unknown",
}

impl CallStatus {
    pub(crate) const fn outcome(self) -> Outcome {
        match self {
            Self::Done => Outcome::Done,
            Self::Failed | Self::TimedOut | Self::Cut => Outcome::Failed,
            Self::Refused => Outcome::Refused,
            Self::Open | Self::Unknown => Outcome::Unknown,
        }
    }

    pub(crate) const fn ended_well(self) -> bool {
        matches!(self, Self::Done | Self::Open)
    }
}
