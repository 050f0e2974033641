//! The providers of this server.

use std::sync::Arc;

use payments::{Demo, PaymentProvider, Provider, Stripe, demo};

/// Which providers buyers may use, and which of them is the default.
#[derive(Debug, Clone)]
pub struct Providers {
    stripe: Option<Provider>,
    demo: Arc<Demo>,
    is_demo_offered: bool,
}

impl Providers {
    /// The demo settles its payments even if it is not offered: it may have been offered before.
    #[must_use]
    pub fn new(stripe: Option<Stripe>, demo: Demo, is_demo_offered: bool) -> Self {
        Self {
            stripe: stripe.map(|stripe| Provider::Stripe(Arc::new(stripe))),
            demo: Arc::new(demo),
            is_demo_offered,
        }
    }

    /// Returns the provider with which a buyer may start a payment: the named one, or the default.
    #[must_use]
    pub fn offered(&self, name: Option<&str>) -> Option<Provider> {
        let demo = || Provider::Demo(Arc::clone(&self.demo));
        let demo = self.is_demo_offered.then(demo);
        let mut offered = self.stripe.iter().cloned().chain(demo);
        match name {
            Some(name) => offered.find(|provider| provider.name() == name),
            None => offered.next(),
        }
    }

    /// Returns the provider of this name for payments that were started before.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<Provider> {
        match name {
            demo::NAME => Some(Provider::Demo(Arc::clone(&self.demo))),
            _ => self
                .stripe
                .clone()
                .filter(|provider| provider.name() == name),
        }
    }

    pub(crate) fn demo(&self) -> &Arc<Demo> {
        &self.demo
    }
}

#[cfg(test)]
mod tests {
    use domain::values::Timestamp;
    use payments::{Secret, StripeSettings};

    use super::*;

    fn providers(has_stripe: bool, is_demo_offered: bool) -> Providers {
        let settings = StripeSettings::new("sk_test_1", "whsec_1", Some("http://127.0.0.1:1"));
        let stripe = has_stripe.then(|| Stripe::new(settings.unwrap()).unwrap());
        let demo = Demo::new(Secret::new("seed"), Box::new(Timestamp::default));
        Providers::new(stripe, demo, is_demo_offered)
    }

    #[test]
    fn stripe_is_the_default_and_the_demo_is_offered_only_if_permitted() {
        let names = |providers: &Providers| {
            [None, Some("stripe"), Some("demo"), Some("other")].map(|name| {
                providers
                    .offered(name)
                    .map_or("none", |provider| provider.name())
            })
        };
        assert_eq!(
            names(&providers(true, true)),
            ["stripe", "stripe", "demo", "none"]
        );
        assert_eq!(
            names(&providers(true, false)),
            ["stripe", "stripe", "none", "none"]
        );
        assert_eq!(
            names(&providers(false, true)),
            ["demo", "none", "demo", "none"]
        );
        assert_eq!(names(&providers(false, false)), ["none"; 4]);
        assert!(providers(false, false).known("demo").is_some());
        assert!(providers(false, false).known("stripe").is_none());
    }
}
