//! `Prefer: wait=S`, RFC 7240.

use std::{convert::Infallible, future::Future, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, request::Parts},
};
use tokio_util::sync::CancellationToken;

use super::{PREFER, context};

/// How long the client is willing to wait. As the RFC has it, what cannot be understood is
/// ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefer {
    /// How long, no longer than the server's limit.
    pub wait: Option<Duration>,
}

impl Prefer {
    fn of(headers: &HeaderMap, max_wait: Duration) -> Self {
        let wait = headers
            .get_all(PREFER)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(|preference| {
                let preference = preference.split(';').next().unwrap_or_default();
                let (name, value) = preference.split_once('=')?;
                if !name.trim().eq_ignore_ascii_case("wait") {
                    return None;
                }
                let value = value.trim();
                let value = value
                    .strip_prefix('"')
                    .and_then(|value| value.strip_suffix('"'))
                    .unwrap_or(value);
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                // Too many digits are still a long time.
                digits.then(|| value.parse().map_or(Duration::MAX, Duration::from_secs))
            });
        Self {
            wait: wait.map(|wait| wait.min(max_wait)),
        }
    }

    /// The value of `Preference-Applied`: `wait=30`, the time that is in force.
    #[must_use]
    pub fn applied(&self) -> Option<HeaderValue> {
        let wait = self.wait?;
        HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Prefer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if !parts.headers.contains_key(PREFER) {
            return Ok(Self::default());
        }
        let max_wait = context::of(parts).limits().max_wait;
        Ok(Self::of(&parts.headers, max_wait))
    }
}

/// Waits for `work`, but no longer than `timeout` and not past the moment in which the process
/// begins to drain: those who wait then are answered with what there is.
pub async fn wait<T>(
    timeout: Duration,
    draining: &CancellationToken,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        output = work => Some(output),
        () = draining.cancelled() => None,
        () = tokio::time::sleep(timeout) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_of(values: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_str(value).unwrap());
        }
        Prefer::of(&headers, Duration::from_secs(30))
            .wait
            .map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_found_among_other_preferences_and_capped() {
        assert_eq!(wait_of(&["wait=10"]), Some(10));
        assert_eq!(wait_of(&["respond-async, Wait = \"7\"; x=y"]), Some(7));
        assert_eq!(wait_of(&["return=minimal", "wait=3", "wait=5"]), Some(3));
        assert_eq!(wait_of(&["wait=31"]), Some(30));
        assert_eq!(wait_of(&["wait=99999999999999999999999"]), Some(30));
        assert_eq!(wait_of(&["wait=0"]), Some(0));
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for value in [
            "wait", "wait=", "wait=-1", "wait=+1", "wait=1.5", "wait=x", "waits=1",
        ] {
            assert_eq!(wait_of(&[value]), None, "{value}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_work_the_time_or_the_drain() {
        let second = Duration::from_secs(1);
        let draining = CancellationToken::new();
        let soon = tokio::time::sleep(second / 2);
        assert_eq!(wait(second, &draining, soon).await, Some(()));
        let never = std::future::pending::<()>();
        assert_eq!(wait(second, &draining, never).await, None);
        draining.cancel();
        let never = std::future::pending::<()>();
        assert_eq!(wait(Duration::MAX, &draining, never).await, None);
    }
}
