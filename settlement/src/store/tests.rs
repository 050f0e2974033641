//! Positions, leases, and changes of administrators.

use infrastructure::log::postgres::connect;
use private_postgres::testing::fresh_database;

use super::*;

async fn store() -> (Store, PgPool) {
    let database = fresh_database().await;
    let migrated = connect(database.url.parse().unwrap(), 5).await.unwrap();
    let pool = PgPool::clone(&migrated);
    (Store::new(pool.clone()), pool)
}

fn money() -> Money {
    let currency = Currency::new("EUR").unwrap();
    Money {
        amount: 1_999,
        currency,
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn start(payment: u128) -> Derived {
    Derived::Started(Start {
        payment_id: id(payment),
        order_id: id(1),
        provider: "demo".to_owned(),
        amount: money(),
        provider_reference: None,
        succeeded: false,
    })
}

fn succeeded(payment: u128) -> Derived {
    Derived::Succeeded {
        payment_id: id(payment),
        order_id: id(1),
        intent: vec![1; 16],
        provider_reference: Some(format!("demo_{payment}")),
    }
}

fn ended() -> Derived {
    Derived::OrderEnded {
        order_id: id(1),
        position: Position(9),
    }
}

fn refund() -> Derived {
    Derived::Job(NewJob {
        id: id(30),
        kind: JobKind::Refund,
        order_id: id(1),
        payment_id: id(10),
        intent: Some(vec![1; 16]),
        amount: money(),
        cause: Some("late"),
        position: Position(8),
    })
}

fn every<'a>(status: Option<&'a str>, kind: Option<JobKind>) -> Slice<'a> {
    Slice {
        status,
        kind,
        after: None,
        limit: 100,
    }
}

/// A store with one due refund.
async fn with_refund() -> (Store, PgPool) {
    let (store, pool) = store().await;
    let rows = [start(10), succeeded(10), refund()];
    assert!(store.follow(Position(0), Position(9), &rows).await.unwrap());
    (store, pool)
}

#[tokio::test]
async fn position_and_rows_are_stored_together_and_by_one_server() {
    let (store, _) = store().await;
    let rows = [start(10), start(11), succeeded(10), ended(), refund()];
    let follow = async || store.follow(Position(0), Position(9), &rows).await.unwrap();
    assert!(follow().await);
    assert_eq!(store.position().await.unwrap(), Position(9));
    let ids = async |store: &Store| -> Vec<Uuid> {
        let jobs = store.jobs(every(None, None)).await.unwrap();
        jobs.into_iter().map(|job| job.id).collect()
    };
    // Only the payment without money is cancelled.
    assert_eq!(ids(&store).await, [id(11), id(30)]);
    // Another server derived the same and lost; deriving it again adds nothing.
    assert!(!follow().await);
    assert!(store.follow(Position(9), Position(0), &[]).await.unwrap());
    assert!(follow().await);
    assert_eq!(ids(&store).await, [id(11), id(30)]);
    let reference = store.reference(&[1; 16]).await.unwrap();
    assert_eq!(reference.as_deref(), Some("demo_10"));
    let found = store.payment_of("demo", "demo_10").await.unwrap();
    assert_eq!(found, Some((id(1), id(10))));
    let page = Slice {
        after: Some((Position(9), id(11))),
        ..every(None, None)
    };
    assert_eq!(store.jobs(page).await.unwrap()[0].id, id(30));
    let cancels = store.jobs(every(Some("pending"), Some(JobKind::Cancel)));
    assert_eq!(cancels.await.unwrap().len(), 1);
}

#[tokio::test]
async fn answer_of_a_provider_may_precede_the_follower() {
    let (store, _) = store().await;
    let Derived::Started(mut answered) = start(10) else {
        unreachable!()
    };
    answered.provider_reference = Some("demo_10".to_owned());
    store.started(&answered).await.unwrap();
    let rows = [start(10)];
    store.follow(Position(0), Position(1), &rows).await.unwrap();
    assert_eq!(store.start(id(10)).await.unwrap(), Some(answered));
}

#[tokio::test]
async fn one_server_works_on_a_job_until_its_lease_has_ended_by_the_database_clock() {
    let (store, pool) = with_refund().await;
    let [first, second] = [(); 2].map(|()| Uuid::new_v4());
    let taken = store.take_due(first, 10).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert!(store.take_due(second, 10).await.unwrap().is_empty());
    assert!(store.renew(id(30), first).await.unwrap());
    assert!(!store.renew(id(30), second).await.unwrap());
    sqlx::query("UPDATE payment_jobs SET lease_until = clock_timestamp()")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(store.take_due(second, 10).await.unwrap().len(), 1);
    // The first one's result is not stored any more.
    store.finish(id(30), first, &Finish::Done).await.unwrap();
    assert_eq!(store.job(id(30)).await.unwrap().unwrap().status, "pending");
    store.finish(id(30), second, &Finish::Done).await.unwrap();
    let job = store.job(id(30)).await.unwrap().unwrap();
    assert_eq!((job.status.as_str(), job.attempts), ("done", 1));
    for changed in [store.retry(id(30)).await, store.cancel(id(30)).await] {
        assert_eq!(changed.unwrap(), Changed::AlreadyDone);
    }
}

#[tokio::test]
async fn refund_that_the_provider_failed_is_retried_as_another_one() {
    let (store, _) = with_refund().await;
    let failed = Derived::RefundSettled {
        refund_id: id(30),
        failure: Some("card_expired".to_owned()),
    };
    store
        .follow(Position(9), Position(10), &[failed])
        .await
        .unwrap();
    let job = store.job(id(30)).await.unwrap().unwrap();
    assert_eq!(
        (job.status.as_str(), job.operation_id),
        ("failed", Some(id(30)))
    );
    let matters = store.needs_attention(None, 10).await.unwrap();
    assert_eq!(matters[0].job.id, id(30));
    let Changed::Done(job) = store.retry(id(30)).await.unwrap() else {
        panic!("it is retried");
    };
    let operation = job.operation_id.unwrap();
    assert_ne!(operation, id(30));
    assert_eq!((job.status.as_str(), job.attempts), ("pending", 0));
    // A late report about the first one does not end the second one.
    store.fail_operation(id(30), "card_expired").await.unwrap();
    assert_eq!(store.job(id(30)).await.unwrap().unwrap().status, "pending");
    let found = store.refund_of_operation(operation).await.unwrap();
    assert_eq!(found.unwrap().id, id(30));
    // A retry of a pending job is the same refund.
    let Changed::Done(job) = store.retry(id(30)).await.unwrap() else {
        panic!("it is due now");
    };
    assert_eq!(job.operation_id, Some(operation));
    let Changed::Done(job) = store.cancel(id(30)).await.unwrap() else {
        panic!("it is cancelled");
    };
    assert!(job.is_cancelled);
    assert!(store.needs_attention(None, 10).await.unwrap().is_empty());
    assert_eq!(store.cancel(id(31)).await.unwrap(), Changed::NotFound);
}

#[tokio::test]
async fn references_of_erased_buyers_stay_while_a_job_needs_them() {
    let (store, pool) = with_refund().await;
    sqlx::query("INSERT INTO erasures (position, drop_id, buyer) VALUES (1, $1, $1)")
        .bind(id(1))
        .execute(&pool)
        .await
        .unwrap();
    store.prune().await.unwrap();
    assert!(store.reference(&[1; 16]).await.unwrap().is_some());
    let holder = Uuid::new_v4();
    store.take_due(holder, 1).await.unwrap();
    store.finish(id(30), holder, &Finish::Done).await.unwrap();
    store.prune().await.unwrap();
    assert!(store.reference(&[1; 16]).await.unwrap().is_none());
}

#[tokio::test]
async fn seed_of_the_demo_is_chosen_once() {
    let (store, _) = store().await;
    let first = store.demo_seed().await.unwrap();
    assert_eq!(store.demo_seed().await.unwrap(), first);
    assert_eq!(first.expose().len(), 64);
}
