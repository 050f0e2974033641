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
    // And one that was taken while the clock was an hour ahead.
    assert_eq!(store.take_due(first, 10).await.unwrap().len(), 1);
    sqlx::query("UPDATE payment_jobs SET lease_until = clock_timestamp() + interval '1 hour'")
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
    // It stays a matter until it is cancelled once more: the buyer does not have the money.
    assert_eq!((job.is_cancelled, job.is_closed), (true, false));
    assert_eq!(store.needs_attention(None, 10).await.unwrap().len(), 1);
    let Changed::Done(job) = store.cancel(id(30)).await.unwrap() else {
        panic!("it is closed");
    };
    assert_eq!((job.is_cancelled, job.is_closed), (true, true));
    assert!(store.needs_attention(None, 10).await.unwrap().is_empty());
    let Changed::Done(job) = store.retry(id(30)).await.unwrap() else {
        panic!("it can be taken up again");
    };
    assert_eq!((job.is_cancelled, job.is_closed), (false, false));
    assert_eq!(store.cancel(id(31)).await.unwrap(), Changed::NotFound);
}

#[tokio::test]
async fn references_of_erased_buyers_stay_while_a_job_needs_them() {
    let (store, pool) = with_refund().await;
    erase(&pool).await;
    store.prune().await.unwrap();
    assert!(store.reference(&[1; 16]).await.unwrap().is_some());
    let holder = Uuid::new_v4();
    store.take_due(holder, 1).await.unwrap();
    store.finish(id(30), holder, &Finish::Done).await.unwrap();
    store.prune().await.unwrap();
    assert!(store.reference(&[1; 16]).await.unwrap().is_none());
}

/// Erases the buyer of the order.
async fn erase(pool: &PgPool) {
    sqlx::query("INSERT INTO erasures (position, drop_id, buyer) VALUES (1, $1, $1)")
        .bind(id(1))
        .execute(pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn references_of_sales_of_erased_buyers_stay_until_no_bank_takes_them_back() {
    let (store, pool) = store().await;
    let rows = [start(10), succeeded(10)];
    store.follow(Position(0), Position(9), &rows).await.unwrap();
    erase(&pool).await;
    let age = async |days: i32| {
        sqlx::query(
            "UPDATE payment_starts SET started_at = clock_timestamp() - make_interval(days => $1)",
        )
        .bind(days)
        .execute(&pool)
        .await
        .unwrap();
        store.prune().await.unwrap();
        store.reference(&[1; 16]).await.unwrap()
    };
    assert!(age(KEPT_REFERENCE_DAYS - 1).await.is_some());
    assert!(age(KEPT_REFERENCE_DAYS + 1).await.is_none());
}

fn withdrawal(number: u128, amount: i64, state: WithdrawalState) -> Withdrawal {
    Withdrawal {
        id: id(number),
        kind: WithdrawalKind::Refund,
        provider: "demo".to_owned(),
        provider_reference: format!("re_{number}"),
        intent: vec![1; 16],
        order_id: id(1),
        payment_id: id(10),
        amount: Money { amount, ..money() },
        state,
    }
}

#[tokio::test]
async fn states_of_a_withdrawal_only_move_forward() {
    use WithdrawalState::{Done, Pending, Undone};
    let (store, _) = store().await;
    let report = async |state| store.withdrawn(&withdrawal(50, 500, state)).await.unwrap();
    let open = async || {
        let open = store.open_withdrawals(None, 10).await.unwrap();
        open.iter()
            .map(|one| one.withdrawal.state)
            .collect::<Vec<_>>()
    };
    for (state, changes, left) in [
        (Pending, true, vec![Pending]),
        (Pending, false, vec![Pending]),
        (Done, true, vec![Done]),
        (Pending, false, vec![Done]),
        (Undone, true, vec![]),
        (Done, false, vec![]),
    ] {
        assert_eq!(report(state).await, changes, "{state:?}");
        assert_eq!(open().await, left, "{state:?}");
    }
}

#[tokio::test]
async fn each_unit_of_a_withdrawal_pays_one_refund() {
    let (store, _) = with_refund().await;
    for (number, amount) in [(50, 500), (51, 700)] {
        let done = withdrawal(number, amount, WithdrawalState::Done);
        store.withdrawn(&done).await.unwrap();
    }
    let cover = async |refund: u128, amount: i64| {
        let amount = Money { amount, ..money() };
        let covered = store.cover(id(refund), &[1; 16], amount).await.unwrap();
        (covered.amount, covered.is_pending)
    };
    for _ in 0..2 {
        assert_eq!(cover(30, 600).await, (600, false));
    }
    for _ in 0..2 {
        assert_eq!(cover(31, 900).await, (600, false), "the rest");
    }
    assert_eq!(cover(32, 1).await, (0, false));
    assert!(store.open_withdrawals(None, 10).await.unwrap().is_empty());
    // Of another intent, or in another currency.
    let other = store.cover(id(33), &[2; 16], money()).await.unwrap();
    assert_eq!(other.amount, 0);
    // One of them comes to nothing: the refund that is not made yet is paid otherwise.
    let undone = withdrawal(51, 700, WithdrawalState::Undone);
    store.withdrawn(&undone).await.unwrap();
    let (covered, _) = cover(30, 600).await;
    assert!(covered <= 500, "{covered}");
}

#[tokio::test]
async fn closed_withdrawal_pays_nothing_more_and_a_pending_one_is_waited_for() {
    let (store, _) = with_refund().await;
    let begun = withdrawal(50, 500, WithdrawalState::Pending);
    store.withdrawn(&begun).await.unwrap();
    let cover = async |refund: u128| {
        let covered = store.cover(id(refund), &[1; 16], money()).await.unwrap();
        (covered.amount, covered.is_pending)
    };
    assert_eq!(cover(30).await, (500, true));
    assert_eq!(store.open_withdrawals(None, 10).await.unwrap()[0].used, 500);
    assert!(store.close_withdrawal(id(50)).await.unwrap());
    assert!(store.open_withdrawals(None, 10).await.unwrap().is_empty());
    assert_eq!(cover(30).await, (500, true), "earlier coverage stays");
    let done = withdrawal(51, 500, WithdrawalState::Done);
    store.withdrawn(&done).await.unwrap();
    assert!(store.close_withdrawal(id(51)).await.unwrap());
    assert_eq!(cover(31).await, (0, false));
    assert!(!store.close_withdrawal(id(52)).await.unwrap());
}

#[tokio::test]
async fn capture_that_was_given_up_is_looked_at_when_the_provider_reports_it() {
    let (store, _) = store().await;
    let capture = Derived::Job(NewJob {
        id: id(40),
        kind: JobKind::Capture,
        order_id: id(1),
        payment_id: id(10),
        intent: Some(vec![1; 16]),
        amount: money(),
        cause: None,
        position: Position(8),
    });
    let rows = [start(10), succeeded(10), capture];
    store.follow(Position(0), Position(9), &rows).await.unwrap();
    let status = async || store.job(id(40)).await.unwrap().unwrap().status;
    store.cancel(id(40)).await.unwrap();
    store.look_at_capture(&[1; 16], false).await.unwrap();
    assert_eq!(status().await, "failed");
    store.look_at_capture(&[1; 16], true).await.unwrap();
    assert_eq!(status().await, "pending");
}

#[tokio::test]
async fn withheld_order_is_stored_with_its_first_event_until_it_is_derived() {
    let (store, _) = store().await;
    let withheld = |position| Derived::Withheld {
        order_id: id(1),
        position: Position(position),
    };
    let rows = [withheld(4), withheld(7)];
    store.follow(Position(0), Position(7), &rows).await.unwrap();
    assert_eq!(store.withheld().await.unwrap(), [(id(1), Position(4))]);
    let rows = [start(10), Derived::Readmitted { order_id: id(1) }];
    // Of a position that another server has stored meanwhile, nothing is derived.
    assert!(!store.follow(Position(6), Position(6), &rows).await.unwrap());
    assert!(store.follow(Position(7), Position(7), &rows).await.unwrap());
    assert_eq!(store.withheld().await.unwrap(), []);
    assert!(store.start(id(10)).await.unwrap().is_some());
}

#[tokio::test]
async fn seed_of_the_demo_is_chosen_once() {
    let (store, _) = store().await;
    let first = store.demo_seed().await.unwrap();
    assert_eq!(store.demo_seed().await.unwrap(), first);
    assert_eq!(first.expose().len(), 64);
}
