//! All of it as one text: how it came to be first, how it stands last, where a terminal ends.

use super::{Awaited, Possible, Why, past::time};

/// How wide a line of an explanation may be.
const WIDTH: usize = 100;

pub(super) fn of(why: &Why) -> String {
    let mut text = String::new();
    for line in &why.lines {
        text.push_str(&format!("{}  {}\n", time(line.at), line.text));
    }
    text.push('\n');
    for (at, sentence) in why.now.iter().enumerate() {
        let label = if at == 0 { "now   " } else { "      " };
        text.push_str(&format!("{label}{sentence}\n"));
    }
    for awaited in &why.awaits {
        tell_awaited(&mut text, awaited);
        let actions = why.actions.iter();
        let its: Vec<_> = actions
            .filter(|action| action.saga_id == awaited.saga_id)
            .collect();
        if !its.is_empty() {
            text.push_str(
                "\nAn operator can look at each of these first; without --dry-run it is done:\n",
            );
        }
        for action in its {
            tell_action(&mut text, action);
        }
    }
    if why.awaits.is_empty() {
        text.push_str("      nothing is awaited\n");
    }
    text
}

fn tell_awaited(text: &mut String, awaited: &Awaited) {
    text.push_str(&wrapped("waits for ", &awaited.what));
    if let Some(until) = awaited.until {
        text.push_str(&wrapped("until     ", &time(until)));
    }
    text.push_str(&wrapped("then      ", &awaited.then));
}

fn tell_action(text: &mut String, action: &Possible) {
    text.push_str(&format!("  {}\n", action.command));
    text.push_str(&format!("      {}\n", action.helps));
    for line in &action.words {
        text.push_str(&format!("      - {line}\n"));
    }
}

/// A label, and words beside it that do not run under it.
fn wrapped(label: &str, words: &str) -> String {
    let indent = " ".repeat(6 + label.len());
    let mut text = format!("      {label}");
    let mut column = indent.len();
    for word in words.split(' ') {
        let width = word.chars().count();
        if column + width > WIDTH && column > indent.len() {
            let kept = text.trim_end().len();
            text.truncate(kept);
            text.push('\n');
            text.push_str(&indent);
            column = indent.len();
        }
        text.push_str(word);
        text.push(' ');
        column += width + 1;
    }
    format!("{}\n", text.trim_end())
}
