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

/// Without the indentation that all of them have.
fn dedented<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let common = lines.iter().filter(|line| !line.is_empty()).map(indent).min().unwrap_or(0);
    lines.iter().map(|line| line.get(common..).unwrap_or_default()).collect()
}

#[test]
fn what_the_page_shows_of_running_them_runs() {
    let running: Vec<&str> = RUNNING.lines().collect();
    let blocks = PAGE.split("```rust running\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        // Line by line, as it is indented there but for what all of it is.
        let block: Vec<&str> = block.lines().collect();
        let is_there = running.windows(block.len()).any(|part| dedented(part) == block);
        let ends = [block.first(), block.last()];
        assert!(is_there && !ends.contains(&Some(&"")), "{block:#?}");
    }
}

#[test]
fn an_aggregate_and_a_saga_with_their_tests_are_less_than_150_lines() {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let count = [MEMBER, GIFT].map(|file| lines(file).into_iter().filter(is_code).count());
    assert!(count.iter().sum::<usize>() < 150, "{count:?}");
}
