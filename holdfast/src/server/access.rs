//! Everything that follows from the settings alone: the keys and tokens of clients, payments and
//! pushes, and the brand with its pages.
//!
//! Promise: a setting that cannot be used is found before anything is started or written, without
//! the network. Limit: the files that settings name are read, so their faults are found here too.

use api::base_path::{self, BasePath};
use api::brand::Brand;
use api::keys::Keys;
use api::pages::ShopPages;
use api::pages::templates::Templates;
use database::check_address;
use payments::Stripe;
use push::vapid::Vapid;
use telemetry::Exporter;
use tokens::buyers::BuyerTokens;

use super::ServerError;
use crate::config::buyers::{buyer_tokens, load_key_file};
use crate::config::{ConfigError, Settings, check_keys, load_keys, mounted_at, stripe};

/// See the module.
pub(crate) struct Access {
    pub(super) keys: Keys,
    pub(super) buyer_tokens: Option<BuyerTokens>,
    pub(super) stripe: Option<Stripe>,
    pub(super) vapid: Option<Vapid>,
    pub(super) brand: Brand,
    pub(super) templates: Templates,
    pub(super) exporter: Option<Exporter>,
}

/// The values of the settings and of the files that they name.
struct Checked {
    buyer_tokens: Option<BuyerTokens>,
    stripe: Option<Stripe>,
    vapid: Option<Vapid>,
    brand: Brand,
    /// The path below which the shop is mounted.
    mounted: BasePath,
    exporter: Option<Exporter>,
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
        let Checked {
            buyer_tokens,
            stripe,
            vapid,
            brand,
            mounted,
            exporter,
        } = checked(settings).await?;
        base_path::set(mounted);
        api::pages::render(shop_pages(settings));
        let templates = Templates::new(&brand).map_err(|error| ServerError::Pages(error.into()))?;
        let keys = load_keys(&settings.keys, &settings.database.data_dir, settings.listen)?;
        Ok(Self {
            keys,
            buyer_tokens,
            stripe,
            vapid,
            brand,
            templates,
            exporter,
        })
    }
}

async fn checked(settings: &Settings) -> Result<Checked, ServerError> {
    check_address(&settings.database)?;
    check_keys(&settings.keys, settings.listen)?;
    let brand = settings.brand.load(&settings.database.data_dir)?;
    let mounted = mounted_at(settings.edge.base_path.as_ref(), &brand.path())?;
    let buyer_tokens = buyer_tokens(settings).map_err(ConfigError::Buyers)?;
    if let Some(tokens) = &buyer_tokens {
        load_key_file(tokens).await.map_err(ConfigError::Buyers)?;
    }
    Ok(Checked {
        buyer_tokens,
        stripe: stripe(&settings.payments)?,
        vapid: settings.push.given_key()?,
        brand,
        mounted,
        exporter: exporter(settings)?,
    })
}

/// Switches telemetry on, if there is a collector: that of the settings, or of the variable that
/// OpenTelemetry has for it, unless `OTEL_SDK_DISABLED` is true.
fn exporter(settings: &Settings) -> Result<Option<Exporter>, ConfigError> {
    let standard = || {
        let is_disabled = std::env::var("OTEL_SDK_DISABLED");
        let is_disabled = is_disabled.is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        let url = std::env::var(OTLP_VARIABLE).ok();
        url.filter(|url| !url.is_empty() && !is_disabled)
    };
    let endpoint = match (&settings.otlp_endpoint, standard()) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Some(url)) => url.parse().map_err(ConfigError::OtlpVariable)?,
        (None, None) => return Ok(None),
    };
    Exporter::new(endpoint).map_err(ConfigError::Exporter)
}

/// The variable of OpenTelemetry that names the collector.
const OTLP_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The settings that the pages of the shop know.
fn shop_pages(settings: &Settings) -> ShopPages {
    let buyers = &settings.buyers;
    ShopPages {
        needs_token: !buyers.are_believed(),
        sign_in_url: buyers.sign_in_url.clone(),
    }
}
