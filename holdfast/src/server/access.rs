//! Everything that follows from the settings alone: the keys and tokens of clients, payments and
//! pushes, and the brand with its pages.
//!
//! Promise: a setting that cannot be used is found before anything is started or written, without
//! the network. Limit: the files that settings name are read, so their faults are found here too.

use api::brand::Brand;
use api::keys::Keys;
use api::pages::ShopPages;
use api::pages::templates::Templates;
use database::check_address;
use payments::Stripe;
use push::vapid::Vapid;
use tokens::buyers::BuyerTokens;

use super::ServerError;
use crate::config::buyers::{buyer_tokens, load_key_file};
use crate::config::{ConfigError, Settings, check_keys, load_keys, stripe};

/// See the module.
pub(crate) struct Access {
    pub(super) keys: Keys,
    pub(super) buyer_tokens: Option<BuyerTokens>,
    pub(super) stripe: Option<Stripe>,
    pub(super) vapid: Option<Vapid>,
    pub(super) brand: Brand,
    pub(super) templates: Templates,
}

/// The values of the settings and of the files that they name.
struct Checked {
    buyer_tokens: Option<BuyerTokens>,
    stripe: Option<Stripe>,
    vapid: Option<Vapid>,
    brand: Brand,
}

impl Access {
    /// Checks the settings. Writes nothing.
    ///
    /// # Errors
    /// [`ServerError`] of the first setting that a server cannot use.
    pub(crate) async fn check(settings: &Settings) -> Result<(), ServerError> {
        checked(settings).await.map(|_| ())
    }

    /// Checks the settings, and then generates the keys that are missing.
    ///
    /// # Errors
    /// [`ServerError`].
    pub(super) async fn open(settings: &Settings) -> Result<Self, ServerError> {
        api::pages::render(shop_pages(settings));
        let Checked {
            buyer_tokens,
            stripe,
            vapid,
            brand,
        } = checked(settings).await?;
        let templates = Templates::new(&brand).map_err(|error| ServerError::Pages(error.into()))?;
        let keys = load_keys(&settings.keys, &settings.database.data_dir, settings.listen)?;
        Ok(Self {
            keys,
            buyer_tokens,
            stripe,
            vapid,
            brand,
            templates,
        })
    }
}

async fn checked(settings: &Settings) -> Result<Checked, ServerError> {
    check_address(&settings.database)?;
    check_keys(&settings.keys, settings.listen)?;
    let brand = settings.brand.load(&settings.database.data_dir)?;
    let buyer_tokens = buyer_tokens(settings).map_err(ConfigError::Buyers)?;
    if let Some(tokens) = &buyer_tokens {
        load_key_file(tokens).await.map_err(ConfigError::Buyers)?;
    }
    Ok(Checked {
        buyer_tokens,
        stripe: stripe(&settings.payments)?,
        vapid: settings.push.given_key()?,
        brand,
    })
}

/// The settings that the pages of the shop know.
fn shop_pages(settings: &Settings) -> ShopPages {
    let buyers = &settings.buyers;
    ShopPages {
        needs_token: !buyers.are_believed(),
        sign_in_url: buyers.sign_in_url.clone(),
    }
}
