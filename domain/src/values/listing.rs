//! How a drop is offered: who may see it, what they see of its stock, and who may hold.

use serde::{Deserialize, Serialize};

/// Who can find a drop.
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

/// What the public sees of a drop's stock.
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

/// Who may place a hold.
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
