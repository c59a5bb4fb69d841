//! Whether and when a failed attempt is made again.
//!
//! A model call changes nothing but the bill, so it may be sent twice as long as nothing of an answer has been passed
//! on. What the provider says of itself (`x-should-retry`, `retry-after-ms`, `retry-after`) goes before what the status
//! suggests. Delays are drawn from the whole span up to an exponential cap ("full jitter"), so that callers that failed
//! together do not come back together.

use hyper::{
    HeaderMap,
    header::{HeaderName, RETRY_AFTER},
};
use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant, SystemTime},
};

/// The longest wait that is read from a header; more is as good as never.
const MAX_HINT: Duration = Duration::from_secs(24 * 3600);
/// After this doubling the exponential cap is reached with any sensible base.
const MAX_DOUBLINGS: u32 = 30;

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of the request has reached the provider: no connection, TLS refused.
    NotSent,
    /// The request may have arrived; no answer came (connection lost, first byte too late).
    NoAnswer,
    /// The provider answered with an error.
    Answered {
        /// The HTTP status.
        status: u16,
        /// What its headers say about another try.
        hint: RetryHint,
        /// The error says that credit or quota is used up, which another try cannot mend.
        exhausted: bool,
    },
    /// The answer broke off after parts of it were passed on.
    Cut,
}

impl Failure {
    /// An error answer.
    pub const fn answered(status: u16, hint: RetryHint) -> Self {
        Self::Answered { status, hint, exhausted: false }
    }

    /// Marks an error answer as "no credit left" (such as `insufficient_quota`).
    #[must_use]
    pub const fn out_of_credit(self) -> Self {
        match self {
            Self::Answered { status, hint, .. } => Self::Answered { status, hint, exhausted: true },
            other => other,
        }
    }

    /// Whether it says something about the endpoint's health; a 4xx says something about the request, a 429 about us.
    pub const fn harms_endpoint(&self) -> bool {
        match self {
            Self::NotSent | Self::NoAnswer | Self::Cut => true,
            Self::Answered { status, .. } => *status >= 500,
        }
    }
}

/// What a provider's headers say about another try.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetryHint {
    /// Not before this much time has passed.
    pub after: Option<Duration>,
    /// Whether another try makes sense, by the provider.
    pub should_retry: Option<bool>,
}

impl RetryHint {
    /// Reads `retry-after-ms`, `retry-after` (seconds, also with a fraction, or an HTTP date) and `x-should-retry`.
    pub fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
        let millis = text(&HeaderName::from_static("retry-after-ms")).and_then(|t| seconds(t, 1e-3));
        let after = millis.or_else(|| {
            let t = text(&RETRY_AFTER)?;
            seconds(t, 1.0).or_else(|| {
                let at = httpdate::parse_http_date(t).ok()?;
                Some(at.duration_since(now).unwrap_or_default().min(MAX_HINT))
            })
        });
        let should_retry = match text(&HeaderName::from_static("x-should-retry")) {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        };
        Self { after, should_retry }
    }
}

fn seconds(text: &str, unit: f64) -> Option<Duration> {
    let value: f64 = text.parse().ok()?;
    let value = value * unit;
    (value >= 0.0).then(|| Duration::from_secs_f64(value.min(MAX_HINT.as_secs_f64())))
}

/// Bounds of the retries of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts on one endpoint, the first included.
    pub attempts: u32,
    /// Attempts of the whole call, over all its targets.
    pub attempts_in_all: u32,
    /// The span of the first delay; it doubles with each further one.
    pub base: Duration,
    /// The span of a delay at most.
    pub cap: Duration,
    /// The longest `Retry-After` that is waited for; a longer one goes to the next target at once.
    pub longest_wait: Duration,
    /// No further attempt begins when this much time has passed.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            attempts_in_all: 8,
            base: Duration::from_millis(250),
            cap: Duration::from_secs(8),
            longest_wait: Duration::from_secs(30),
            deadline: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// The retries of a call that begins now.
    pub const fn start(self, now: Instant) -> Retries {
        Retries { policy: self, started: now, on_target: 0, in_all: 0 }
    }
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The same endpoint, after a rest.
    Again {
        /// The rest.
        after: Duration,
    },
    /// Not this endpoint: the next target, if the call has one; otherwise the failure is the answer.
    Elsewhere,
    /// No target would do better, or nothing may be sent again: the failure is the answer.
    Stop,
}

/// The retries of one call.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    policy: RetryPolicy,
    started: Instant,
    on_target: u32,
    in_all: u32,
}

/// What a failure allows, before attempts and time are counted.
enum Kind {
    SameOrElsewhere(RetryHint),
    Elsewhere,
    Stop,
}

impl Retries {
    /// Decides after a failed attempt. `random` is any random number: see [`random`].
    pub fn next(&mut self, failure: &Failure, now: Instant, random: u64) -> Next {
        self.on_target = self.on_target.saturating_add(1);
        self.in_all = self.in_all.saturating_add(1);
        let left = self.policy.deadline.saturating_sub(now.saturating_duration_since(self.started));
        if self.in_all >= self.policy.attempts_in_all || left.is_zero() {
            return Next::Stop;
        }
        let hint = match kind(failure) {
            Kind::SameOrElsewhere(hint) => hint,
            Kind::Elsewhere => return Next::Elsewhere,
            Kind::Stop => return Next::Stop,
        };
        let asked = hint.after.unwrap_or_default();
        let after = asked.saturating_add(self.jitter(random));
        if self.on_target >= self.policy.attempts || asked > self.policy.longest_wait || after >= left {
            return Next::Elsewhere;
        }
        Next::Again { after }
    }

    /// The call goes on with its next target.
    pub const fn next_target(&mut self) {
        self.on_target = 0;
    }

    /// Failed attempts so far, over all targets.
    pub const fn failed_attempts(&self) -> u32 {
        self.in_all
    }

    /// A delay from the whole span: zero to `base · 2^n`, at most `cap`.
    fn jitter(&self, random: u64) -> Duration {
        let doublings = self.on_target.saturating_sub(1).min(MAX_DOUBLINGS);
        let span = self.policy.base.saturating_mul(1 << doublings).min(self.policy.cap);
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        // The high half of the product: uniform without a division's bias.
        let drawn = (u128::from(random) * (u128::from(nanos) + 1)) >> 64;
        Duration::from_nanos(u64::try_from(drawn).unwrap_or(nanos))
    }
}

fn kind(failure: &Failure) -> Kind {
    match failure {
        Failure::NotSent | Failure::NoAnswer => Kind::SameOrElsewhere(RetryHint::default()),
        Failure::Cut => Kind::Stop,
        Failure::Answered { exhausted: true, .. } => Kind::Elsewhere,
        Failure::Answered { hint: hint @ RetryHint { should_retry: Some(true), .. }, .. } => {
            Kind::SameOrElsewhere(*hint)
        }
        Failure::Answered { status, hint, .. } => {
            let no = hint.should_retry == Some(false);
            match status {
                // Timeouts, overload and trouble of the provider; 529 is "overloaded" at Anthropic, 52x a front's.
                408 | 409 | 425 | 429 | 500 | 502..=504 | 520..=524 | 529 if !no => Kind::SameOrElsewhere(*hint),
                // The key or the model is the matter: another target has others.
                401..=404 | 408 | 409 | 425 | 429 | 500.. => Kind::Elsewhere,
                _ => Kind::Stop,
            }
        }
    }
}

/// A random number, good enough to spread callers in time.
pub fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: RetryHint = RetryHint { after: None, should_retry: None };

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn hints_are_read_in_every_form() {
        let now = httpdate::parse_http_date("Wed, 25 Nov 2026 10:00:00 GMT").unwrap();
        let after = |pairs: &[(&'static str, &str)]| RetryHint::read(&headers(pairs), now).after;
        assert_eq!(after(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(after(&[("retry-after", "0.5")]), Some(Duration::from_millis(500)));
        assert_eq!(after(&[("retry-after", "Wed, 25 Nov 2026 10:00:09 GMT")]), Some(Duration::from_secs(9)));
        assert_eq!(after(&[("retry-after", "Wed, 25 Nov 2026 09:00:00 GMT")]), Some(Duration::ZERO));
        assert_eq!(after(&[("retry-after", "9"), ("retry-after-ms", "1500")]), Some(Duration::from_millis(1500)));
        assert_eq!(after(&[("retry-after", "1e99")]), Some(MAX_HINT));
        for bad in ["-1", "soon", "", "nan", "Wed, 99 Nov 2026 10:00:09 GMT"] {
            assert_eq!(after(&[("retry-after", bad)]), None, "{bad:?}");
        }
        let should = |v| RetryHint::read(&headers(&[("x-should-retry", v)]), now).should_retry;
        assert_eq!([should("true"), should("false"), should("maybe")], [Some(true), Some(false), None]);
    }

    #[test]
    fn what_is_safe_is_tried_again_and_nothing_else() {
        let first = |failure: &Failure| RetryPolicy::default().start(Instant::now()).next(failure, Instant::now(), 0);
        let again = Next::Again { after: Duration::ZERO };
        for status in [408, 409, 425, 429, 500, 502, 503, 504, 520, 529] {
            assert_eq!(first(&Failure::answered(status, NONE)), again, "{status}");
            let no = RetryHint { should_retry: Some(false), ..NONE };
            assert_eq!(first(&Failure::answered(status, no)), Next::Elsewhere, "{status}");
            assert_eq!(first(&Failure::answered(status, NONE).out_of_credit()), Next::Elsewhere, "{status}");
        }
        for status in [401, 402, 403, 404, 501, 505] {
            assert_eq!(first(&Failure::answered(status, NONE)), Next::Elsewhere, "{status}");
        }
        for status in [400, 405, 413, 415, 422] {
            assert_eq!(first(&Failure::answered(status, NONE)), Next::Stop, "{status}");
            let yes = RetryHint { should_retry: Some(true), ..NONE };
            assert_eq!(first(&Failure::answered(status, yes)), again, "{status}");
        }
        assert_eq!(first(&Failure::NotSent), again);
        assert_eq!(first(&Failure::NoAnswer), again);
        assert_eq!(first(&Failure::Cut), Next::Stop, "what was passed on cannot be taken back");
    }

    #[test]
    fn a_long_retry_after_goes_elsewhere_at_once() {
        let now = Instant::now();
        let mut r = RetryPolicy::default().start(now);
        let wait = |s| Failure::answered(429, RetryHint { after: Some(Duration::from_secs(s)), ..NONE });
        assert_eq!(r.next(&wait(5), now, 0), Next::Again { after: Duration::from_secs(5) });
        assert_eq!(r.next(&wait(31), now, 0), Next::Elsewhere);
    }

    proptest! {
        #[test]
        fn every_call_ends_and_every_wait_is_bounded(
            steps in prop::collection::vec((0_u16..5, any::<u64>(), prop::option::of(0_u64..60), 0_u64..20), 1..40),
        ) {
            let policy = RetryPolicy::default();
            let start = Instant::now();
            let (mut now, mut r) = (start, policy.start(start));
            let (mut attempts, mut on_target) = (0, 0);
            for (what, random, after, took) in steps {
                now += Duration::from_secs(took);
                attempts += 1;
                on_target += 1;
                let hint = RetryHint { after: after.map(Duration::from_secs), should_retry: None };
                let failure = match what {
                    0 => Failure::NotSent,
                    1 => Failure::NoAnswer,
                    2 => Failure::answered(404, hint),
                    3 => Failure::answered(429, hint),
                    _ => Failure::answered(503, hint),
                };
                match r.next(&failure, now, random) {
                    Next::Again { after: wait } => {
                        let asked = if what > 1 { hint.after.unwrap_or_default() } else { Duration::ZERO };
                        let span = policy.base * (1 << (on_target - 1));
                        prop_assert!(wait >= asked && wait <= asked + span.min(policy.cap));
                        prop_assert!(on_target < policy.attempts && wait <= policy.longest_wait + policy.cap);
                        prop_assert!(now + wait < start + policy.deadline, "no attempt begins after the deadline");
                        now += wait;
                    }
                    Next::Elsewhere => { r.next_target(); on_target = 0; }
                    Next::Stop => break,
                }
                prop_assert!(attempts < policy.attempts_in_all);
            }
        }

        #[test]
        fn the_jitter_covers_its_whole_span(random in any::<u64>()) {
            let now = Instant::now();
            let Next::Again { after } = RetryPolicy::default().start(now).next(&Failure::NotSent, now, random) else {
                return Err(TestCaseError::fail("a first failure is tried again"));
            };
            let share = random as f64 / u64::MAX as f64;
            prop_assert!((after.as_secs_f64() - share * 0.25).abs() < 1e-6);
        }
    }
}
