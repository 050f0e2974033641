//! The pools of connections to the database.

use std::sync::{Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use sqlx::PgPool;

use super::{made, whole};

/// The pools by name, as they are added at the start.
#[derive(Debug, Default)]
pub(super) struct Pools(Mutex<Vec<(&'static str, PgPool)>>);

impl Pools {
    pub(super) fn add(&self, name: &'static str, pool: PgPool) {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.push((name, pool));
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let connections = made(IntGaugeVec::new(
            Opts::new(
                "holdfast_database_pool_connections",
                "Open connections to the database, by pool and state. A pool with as many in use \
                 as its limit lets further reads wait.",
            ),
            &["pool", "state"],
        ));
        let limits = made(IntGaugeVec::new(
            Opts::new(
                "holdfast_database_pool_limit",
                "The largest number of connections of the pool.",
            ),
            &["pool"],
        ));
        let pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, pool) in pools.iter() {
            let idle = pool.num_idle() as u64;
            let in_use = u64::from(pool.size()).saturating_sub(idle);
            let of = |state: &str| connections.with_label_values(&[*name, state]);
            of("idle").set(whole(idle));
            of("in_use").set(whole(in_use));
            let limit = pool.options().get_max_connections();
            limits.with_label_values(&[*name]).set(limit.into());
        }
        [connections.collect(), limits.collect()].concat()
    }
}
