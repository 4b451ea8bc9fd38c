//! The rules that can be taken away.

use recourse_saga::Rule;

/// A rule of those whom the engine relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Habit {
    MarkIsKept,
    NothingToUndoIsAnswered,
    UnknownIsNoAnswer,
    UnknownIsRepeatedUnderItsKey,
    TimersWaitForInputs,
}

impl Habit {
    pub const ALL: [Self; 5] = [
        Self::MarkIsKept,
        Self::NothingToUndoIsAnswered,
        Self::UnknownIsNoAnswer,
        Self::UnknownIsRepeatedUnderItsKey,
        Self::TimersWaitForInputs,
    ];

    pub fn words(self) -> &'static str {
        match self {
            Self::MarkIsKept => "a delivery at or below the mark changes nothing",
            Self::NothingToUndoIsAnswered => {
                "every saga command is answered, an undo that finds nothing too"
            }
            Self::UnknownIsNoAnswer => "an unknown outcome is progress, never the answer",
            Self::UnknownIsRepeatedUnderItsKey => "an unknown is repeated under the same key",
            Self::TimersWaitForInputs => {
                "deadlines fire only once the inputs are read up to the head"
            }
        }
    }
}

/// The rules under which the walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    Nothing,
    Rule(Rule),
    Habit(Habit),
}
