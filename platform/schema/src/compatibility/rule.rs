//! The rules by name.

/// A rule of compatibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A field is gone.
    FieldRemoved,
    /// A field must be there that old bytes may lack.
    FieldRequired,
    /// A field may be absent that was always there.
    FieldOptional,
    /// A field is new where unknown ones are refused.
    FieldUnexpected,
    /// Unknown fields are treated otherwise.
    OpennessChanged,
    /// The JSON type is another.
    TypeChanged,
    /// A value or variant is gone.
    ChoiceRemoved,
    /// A value or variant is new, and readers were not told to expect that.
    ChoiceAdded,
    /// Choices may grow that could not.
    Opened,
    /// Less is allowed.
    Narrowed,
    /// More is allowed.
    Widened,
    /// A pattern or format is another.
    FormatChanged,
    /// What an absent field stands for is another.
    DefaultChanged,
    /// A secret would be shown.
    SecretShown,
    /// A secret is new.
    SecretAdded,
    /// What data is of is named elsewhere.
    DataOfChanged,
    /// A type is gone.
    TypeRemoved,
    /// A keyword changed that no rule speaks of.
    NotCovered,
}

impl Rule {
    /// Its name: `field-removed`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::FieldRemoved => "field-removed",
            Self::FieldRequired => "field-required",
            Self::FieldOptional => "field-optional",
            Self::FieldUnexpected => "field-unexpected",
            Self::OpennessChanged => "openness-changed",
            Self::TypeChanged => "type-changed",
            Self::ChoiceRemoved => "choice-removed",
            Self::ChoiceAdded => "choice-added",
            Self::Opened => "opened",
            Self::Narrowed => "narrowed",
            Self::Widened => "widened",
            Self::FormatChanged => "format-changed",
            Self::DefaultChanged => "default-changed",
            Self::SecretShown => "secret-shown",
            Self::SecretAdded => "secret-added",
            Self::DataOfChanged => "data-of-changed",
            Self::TypeRemoved => "type-removed",
            Self::NotCovered => "not-covered",
        }
    }

    /// Why it is one.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::FieldRemoved => {
                "old bytes hold the field, and its name could come back for something else"
            }
            Self::FieldRequired => "old bytes may lack the field",
            Self::FieldOptional => "older readers count on the field",
            Self::FieldUnexpected => "older readers refuse fields here that they do not know",
            Self::OpennessChanged => "readers of different age treat unknown fields differently",
            Self::TypeChanged => "a reader of the one type cannot read the other",
            Self::ChoiceRemoved => "old bytes hold it",
            Self::ChoiceAdded => {
                "older readers do not know it and were not told to expect more (x-extensible)"
            }
            Self::Opened => "older readers were not told to expect more choices",
            Self::Narrowed => "old bytes may hold what is no longer allowed",
            Self::Widened => "older readers refuse what is allowed now",
            Self::FormatChanged => "what the one form allows the other may not",
            Self::DefaultChanged => "old bytes without the field would mean something else",
            Self::SecretShown => "what was hidden would be shown, old bytes too",
            Self::SecretAdded => {
                "servers that do not know it yet would show it: a secret comes with a new version"
            }
            Self::DataOfChanged => "the data would be taken for another type",
            Self::TypeRemoved => "old bytes of this type are in logs for ever",
            Self::NotCovered => "no rule says what a change of this keyword means",
        }
    }
}
