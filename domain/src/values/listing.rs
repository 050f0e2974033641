//! How a drop is offered: its visibility, the form in which its stock is public, and the access to
//! its holds.

use serde::{Deserialize, Serialize};

/// The callers that can find a drop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Visibility {
    /// In every list.
    #[default]
    Public,
    /// In no list; by its id only.
    Unlisted,
    /// For administrators and auditors only.
    Hidden,
}

/// The form in which a drop's stock is public.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ShowStock {
    /// The numbers.
    #[default]
    Exact,
    /// A level without numbers.
    Level,
}

/// The buyers that may place a hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Access {
    /// Every buyer.
    #[default]
    Open,
    /// A buyer with a code of the drop.
    Code,
}

impl Visibility {
    /// Returns true if the public finds the drop by its id: its page, its state and its stream.
    #[must_use]
    pub const fn is_found(self) -> bool {
        match self {
            Self::Public | Self::Unlisted => true,
            Self::Hidden => false,
        }
    }

    /// Returns true if the drop is in the lists of the public: the shop's front page, feeds, and
    /// the products and creators that it belongs to.
    #[must_use]
    pub const fn is_listed(self) -> bool {
        match self {
            Self::Public => true,
            Self::Unlisted | Self::Hidden => false,
        }
    }

    /// Returns true for the default, which is not stored.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl ShowStock {
    /// Returns true for the default, which is not stored.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Access {
    /// Returns true for the default, which is not stored.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
