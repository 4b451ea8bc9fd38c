//! Keys that processes of ours know each other by.
//!
//! A service takes any key of its file and the gateway sends the first of its own. So keys are
//! changed without an interruption: add the new one at the end, then move it to the top, then take
//! the old one away, and start the processes again after each.

use std::{
    hint::black_box,
    io,
    path::{Path, PathBuf},
};

use axum::http::{HeaderMap, HeaderValue, header};

use crate::{Problem, errors};

/// The fewest characters of a key: fewer can be guessed.
const MIN_CHARS: usize = 16;
/// The most characters of a key.
const MAX_CHARS: usize = 512;
/// The most bytes of a file of keys.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// Keys that are taken; at least one. They are never shown.
#[derive(Clone)]
pub struct Keys(Vec<Box<[u8]>>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// Why there are no keys. It says nothing of what stands in the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("the file of service keys {} cannot be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no keys, or something that is none.
    #[error("the file of service keys {}: {problem}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Keys {
    /// From a file with a key a line; empty lines and those that begin with `#` are none.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds no key, or a line that cannot be one.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|problem| Error::Malformed {
            path: path.to_owned(),
            problem,
        })
    }

    /// From the text of such a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_FILE_BYTES {
            return Err(format!("it has more than {MAX_FILE_BYTES} bytes"));
        }
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let key = line.trim();
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            let well_formed = (MIN_CHARS..=MAX_CHARS).contains(&key.len())
                && key.bytes().all(|byte| byte.is_ascii_graphic());
            if !well_formed {
                return Err(format!(
                    "line {number} is not {MIN_CHARS} to {MAX_CHARS} visible ASCII characters"
                ));
            }
            keys.push(key.as_bytes().into());
        }
        if keys.is_empty() {
            return Err("it holds no key".to_owned());
        }
        Ok(Self(keys))
    }

    /// What a caller sends in `Authorization`: the first key. Marked as not to be shown.
    #[must_use]
    pub fn authorization(&self) -> Option<HeaderValue> {
        let bearer = [b"Bearer ", self.0.first()?.as_ref()].concat();
        let mut value = HeaderValue::from_bytes(&bearer).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether a request carries one of the keys. How long that takes says nothing of the keys
    /// but their lengths.
    ///
    /// # Errors
    /// `service-key-required`.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let bearer = match (given.next(), given.next()) {
            (Some(value), None) => value.as_bytes(),
            _ => b"",
        };
        let (scheme, key) = bearer.split_at_checked(7).unwrap_or_default();
        // No early end: which of them it is, or how far it is right, stays unknown.
        let known = self
            .0
            .iter()
            .fold(false, |known, its| known | is_equal(its, key));
        if known && scheme.eq_ignore_ascii_case(b"bearer ") {
            return Ok(());
        }
        let challenge = HeaderValue::from_static("Bearer");
        Err(Problem::new(errors::SERVICE_KEY_REQUIRED).header(header::WWW_AUTHENTICATE, challenge))
    }
}

fn is_equal(left: &[u8], right: &[u8]) -> bool {
    let different = left.iter().zip(right).fold(0, |different, (left, right)| {
        black_box(different | (left ^ right))
    });
    left.len() == right.len() && different == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an-old-key-that-is-long-enough";
    const NEW: &str = "a-new-key-that-is-long-enough!";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn every_key_of_the_file_is_taken_and_the_first_is_sent() {
        let keys = Keys::parse(&format!("# ours\n{NEW}\n\n  {OLD}  \n")).unwrap();
        for key in [OLD, NEW] {
            keys.check(&headers(&[&format!("Bearer {key}")])).unwrap();
            keys.check(&headers(&[&format!("bearer {key}")])).unwrap();
        }
        let sent = keys.authorization().unwrap();
        assert_eq!(sent, format!("Bearer {NEW}"));
        assert!(sent.is_sensitive());
    }

    #[test]
    fn anything_else_is_refused_with_a_challenge() {
        let keys = Keys::parse(OLD).unwrap();
        let right = format!("Bearer {OLD}");
        for wrong in [
            vec![],
            vec![""],
            vec!["Bearer"],
            vec!["Bearer "],
            vec![OLD],
            vec![&*format!("Basic {OLD}")],
            vec![&*format!("Bearer {NEW}")],
            vec![&*format!("Bearer {OLD}x")],
            vec![&right[..right.len() - 1]],
            vec![&*right, &*right],
        ] {
            let problem = keys.check(&headers(&wrong)).unwrap_err();
            assert_eq!(problem.code(), errors::SERVICE_KEY_REQUIRED, "{wrong:?}");
        }
    }

    #[test]
    fn a_file_without_good_keys_is_refused_without_showing_it() {
        for (text, says) in [
            ("", "no key"),
            ("# nothing\n", "no key"),
            ("short", "line 1"),
            (
                "a-key-that-is-long-enough\nwith a space in the key",
                "line 2",
            ),
        ] {
            let problem = Keys::parse(text).unwrap_err();
            assert!(problem.contains(says), "{problem}");
            assert!(!problem.contains("space in"));
        }
        let missing = Keys::read(Path::new("/nowhere/keys")).unwrap_err();
        assert!(matches!(missing, Error::Unreadable { .. }));
    }

    #[test]
    fn keys_do_not_show_themselves() {
        let keys = Keys::parse(OLD).unwrap();
        assert!(!format!("{keys:?} {:?}", keys.authorization()).contains(OLD));
    }
}
