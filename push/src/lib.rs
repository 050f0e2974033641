//! Web Push: encryption of notifications and the identity of this shop at push services.

pub mod encryption;
pub mod vapid;
