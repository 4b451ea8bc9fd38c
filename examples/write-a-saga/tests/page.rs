//! `docs/write-a-saga.md` shows what is here, and it is short.

const PAGE: &str = include_str!("../../../docs/write-a-saga.md");
const MEMBER: &str = include_str!("../src/member.rs");
const GIFT: &str = include_str!("../src/gift.rs");
const RUNNING: &str = include_str!("running.rs");

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.trim().is_empty()).collect()
}

/// The lines of the page's blocks of one file, a block each.
fn blocks(file: &str) -> Vec<Vec<&'static str>> {
    let begin = format!("```rust {file}\n");
    let blocks = PAGE.split(&*begin).skip(1);
    blocks.map(|rest| lines(rest.split("```").next().unwrap_or_default())).collect()
}

#[test]
fn the_page_shows_the_aggregate_and_the_saga_from_the_first_line_to_the_last() {
    assert_eq!(blocks("member").concat(), lines(MEMBER));
    assert_eq!(blocks("gift").concat(), lines(GIFT));
}

#[test]
fn what_the_page_shows_of_running_them_runs() {
    let trimmed = |lines: Vec<&'static str>| lines.into_iter().map(str::trim).collect::<Vec<_>>();
    let running = trimmed(lines(RUNNING));
    let blocks = blocks("running");
    assert!(!blocks.is_empty());
    for block in blocks.into_iter().map(trimmed) {
        assert!(running.windows(block.len()).any(|part| part == block), "{block:#?}");
    }
}

#[test]
fn an_aggregate_and_a_saga_with_their_tests_are_less_than_150_lines() {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let count = [MEMBER, GIFT].map(|file| lines(file).into_iter().filter(is_code).count());
    assert!(count.iter().sum::<usize>() < 150, "{count:?}");
}
