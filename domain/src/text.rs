//! What text that people write may be.

/// That it has 1 to `max_chars` characters and none that controls a terminal.
pub(crate) fn is_plain(text: &str, max_chars: usize) -> bool {
    !text.trim().is_empty()
        && text.chars().count() <= max_chars
        && !text.chars().any(char::is_control)
}

/// That it has 1 to `max_chars` characters, each of which can be seen.
pub(crate) fn is_visible(text: &str, max_chars: usize) -> bool {
    is_plain(text, max_chars) && !text.chars().any(char::is_whitespace)
}
