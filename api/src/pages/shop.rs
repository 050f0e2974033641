//! The settings that the pages of the shop know: if a buyer needs a token, and where to get one.
//!
//! Promise: they are in the pages themselves, so that no page waits for them. Limit: they are set
//! once, before the first page is rendered.

use std::sync::OnceLock;

use minijinja::{Value, context};
use tokens::sign_in::SignInUrl;

use crate::base_path::at;

/// The settings of the pages.
#[derive(Debug, Clone, Default)]
pub struct ShopPages {
    /// Buyers' routes need a token.
    pub needs_token: bool,
    /// Where a buyer gets a token.
    pub sign_in_url: Option<SignInUrl>,
}

static SHOP: OnceLock<ShopPages> = OnceLock::new();

/// Sets the settings, for every page that is rendered from now on. One process runs one server.
pub(super) fn set(shop: ShopPages) {
    SHOP.get_or_init(|| shop);
}

/// Returns the values for the templates.
pub(super) fn values() -> Value {
    let shop = SHOP.get().cloned().unwrap_or_default();
    let url = shop.sign_in_url.as_ref().filter(|_| shop.needs_token);
    context! {
        needs_token => shop.needs_token,
        sign_in_url => url.map(|url| at(url.as_str())),
    }
}
