//! The rules that make a saga settle, one by one, so that a test can take each away.

/// A rule of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Undo goes to every step that was sent and not refused, answered or not.
    UndoGoesToTheUnanswered,
    /// Undo goes in reverse order.
    UndoInReverseOrder,
    /// A saga has ended only when every command it sent is answered.
    EndWaitsForEveryAnswer,
    /// A timeout means failure only before the pivot.
    TimeoutFromThePivotOnDoesNot,
    /// Past its deadline a saga says that it needs attention.
    DeadlineNeedsAttention,
    /// An answer that comes after all clears that by itself.
    AnswerClearsAttention,
    /// Overdue is looked up, not asked again.
    OverdueIsLookedUp,
    /// What can never take effect is sent again.
    LostIsSentAgain,
    /// What was refused for now is sent again.
    RefusedForNowIsSentAgain,
    /// A retriable step that is refused for good needs attention.
    RefusedForGoodNeedsAttention,
    /// A compensation that keeps failing needs attention.
    FailingUndoNeedsAttention,
    /// An undo that finds nothing is done, and closes what it would have undone.
    NothingToUndoIsDone,
    /// An answer to a command that is already answered is ignored.
    AnsweredOnce,
    /// A cancellation before the pivot turns the saga back.
    CancellationTurnsBack,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 14] = [
        Self::UndoGoesToTheUnanswered,
        Self::UndoInReverseOrder,
        Self::EndWaitsForEveryAnswer,
        Self::TimeoutFromThePivotOnDoesNot,
        Self::DeadlineNeedsAttention,
        Self::AnswerClearsAttention,
        Self::OverdueIsLookedUp,
        Self::LostIsSentAgain,
        Self::RefusedForNowIsSentAgain,
        Self::RefusedForGoodNeedsAttention,
        Self::FailingUndoNeedsAttention,
        Self::NothingToUndoIsDone,
        Self::AnsweredOnce,
        Self::CancellationTurnsBack,
    ];

    /// The rule in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::UndoGoesToTheUnanswered => {
                "undo goes to every step that was sent and not refused, answered or not"
            }
            Self::UndoInReverseOrder => "undo goes in reverse order",
            Self::EndWaitsForEveryAnswer => {
                "a saga has ended only when every command it sent is answered"
            }
            Self::TimeoutFromThePivotOnDoesNot => {
                "a timeout from the pivot on does not mean failure"
            }
            Self::DeadlineNeedsAttention => "past its deadline a saga needs attention",
            Self::AnswerClearsAttention => "an answer that comes after all clears attention",
            Self::OverdueIsLookedUp => "overdue is looked up, not asked again",
            Self::LostIsSentAgain => "what can never take effect is sent again",
            Self::RefusedForNowIsSentAgain => "what was refused for now is sent again",
            Self::RefusedForGoodNeedsAttention => {
                "a retriable step that is refused for good needs attention"
            }
            Self::FailingUndoNeedsAttention => "a compensation that keeps failing needs attention",
            Self::NothingToUndoIsDone => {
                "an undo that finds nothing is done and closes what it would have undone"
            }
            Self::AnsweredOnce => "an answer to an answered command is ignored",
            Self::CancellationTurnsBack => "a cancellation before the pivot turns the saga back",
        }
    }
}

/// Which rules hold: all of them, but in a test that shows what each is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    removed: Option<Rule>,
}

impl Rules {
    /// All but one.
    #[cfg(feature = "explore")]
    #[must_use]
    pub fn without(rule: Rule) -> Self {
        Self {
            removed: Some(rule),
        }
    }

    pub(crate) fn hold(self, rule: Rule) -> bool {
        self.removed != Some(rule)
    }
}
