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
    /// Past the pivot an operator's undo begins with the pivot's own reversal.
    PivotIsReversedFirst,
    /// Past the pivot an operator's undo goes to every step that was sent and not refused.
    ReversalGoesToEveryStep,
    /// What a later step has taken over is not undone besides.
    TakenOverIsNotUndone,
    /// A skip first sends the step's undo or reversal, and counts once that is answered.
    SkipUndoesFirst,
    /// The pivot cannot be skipped.
    PivotIsNotSkipped,
    /// A retry looks up first.
    RetryLooksUpFirst,
    /// A pause records answers and sends nothing.
    PauseSendsNothing,
    /// Deadlines stand still while a saga is paused.
    PauseStopsTime,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 22] = [
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
        Self::PivotIsReversedFirst,
        Self::ReversalGoesToEveryStep,
        Self::TakenOverIsNotUndone,
        Self::SkipUndoesFirst,
        Self::PivotIsNotSkipped,
        Self::RetryLooksUpFirst,
        Self::PauseSendsNothing,
        Self::PauseStopsTime,
    ];

    /// Whether it is about what operators do: without one of them it makes no difference.
    #[must_use]
    pub fn is_about_operators(self) -> bool {
        matches!(
            self,
            Self::PivotIsReversedFirst
                | Self::ReversalGoesToEveryStep
                | Self::TakenOverIsNotUndone
                | Self::SkipUndoesFirst
                | Self::PivotIsNotSkipped
                | Self::RetryLooksUpFirst
                | Self::PauseSendsNothing
                | Self::PauseStopsTime
        )
    }

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
            Self::PivotIsReversedFirst => {
                "past the pivot an undo begins with the pivot's own reversal, and touches nothing else before"
            }
            Self::ReversalGoesToEveryStep => {
                "past the pivot an undo goes to every step that was sent and not refused"
            }
            Self::TakenOverIsNotUndone => "what a later step has taken over is not undone besides",
            Self::SkipUndoesFirst => {
                "a skip first undoes what the step may have done, and counts once that is answered"
            }
            Self::PivotIsNotSkipped => "the pivot cannot be skipped",
            Self::RetryLooksUpFirst => "a retry looks up first",
            Self::PauseSendsNothing => "a pause records answers and sends nothing",
            Self::PauseStopsTime => "deadlines stand still while a saga is paused",
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
