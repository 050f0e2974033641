//! Counts, limits and deletions under concurrency.

use std::sync::Arc;

use domain::values::{CatalogueId, DropId, DropName, Position};
use infrastructure::erasure::erase;
use infrastructure::log::postgres::{LogPool, connect};
use private_postgres::testing::fresh_database;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;

async fn store() -> (Store, LogPool) {
    let database = fresh_database().await;
    let pool = connect(database.url.parse().unwrap(), 20).await.unwrap();
    (Store::new(PgPool::clone(&pool)), pool)
}

fn id(id: &str) -> CatalogueId {
    CatalogueId::new(id).unwrap()
}

fn actor(buyer: &str) -> Actor {
    Actor {
        buyer_id: BuyerId::new(buyer).unwrap(),
        is_account: false,
    }
}

fn account(buyer: &str) -> Actor {
    Actor {
        is_account: true,
        ..actor(buyer)
    }
}

async fn creator(store: &Store, name: &str) {
    let new = NewCreator {
        name: DropName::new(name).unwrap(),
        description: None,
        image_url: None,
    };
    store.put_creator(&id(name), &new).await.unwrap();
}

async fn followers(store: &Store, name: &str) -> u64 {
    store.creator(&id(name)).await.unwrap().unwrap().followers
}

/// The rows of follows, counted.
async fn rows(store: &Store) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM follows");
    count.fetch_one(&store.0).await.unwrap()
}

#[tokio::test]
async fn number_of_followers_is_that_of_the_follows_under_concurrency() {
    let (store, pool) = store().await;
    creator(&store, "nord").await;
    creator(&store, "sued").await;
    let mut tasks = JoinSet::new();
    for number in 0..60 {
        let (store, pool) = (store.clone(), pool.clone());
        tasks.spawn(async move {
            let actor = actor(&format!("buyer {}", number % 20));
            for name in ["nord", "sued"] {
                store.follow(&actor, &id(name)).await.unwrap();
                if number % 3 == 1 {
                    store.unfollow(&actor, &id(name)).await.unwrap();
                }
            }
            if number % 10 == 9 {
                erase(&pool, &actor.buyer_id).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let counted = followers(&store, "nord").await + followers(&store, "sued").await;
    assert_eq!(counted, rows(&store).await.unsigned_abs());
    for number in 0..20 {
        let actor = actor(&format!("buyer {number}"));
        store.unfollow(&actor, &id("nord")).await.unwrap();
        store.unfollow(&actor, &id("sued")).await.unwrap();
    }
    assert_eq!(followers(&store, "nord").await, 0);
    assert_eq!(rows(&store).await, 0);
    let buyers: i64 = sqlx::query_scalar("SELECT count(*) FROM following_buyers")
        .fetch_one(&store.0)
        .await
        .unwrap();
    assert_eq!(buyers, 0, "no buyer without a choice is kept");
}

#[tokio::test]
async fn limit_of_follows_is_exact_under_concurrency() {
    let (store, _) = store().await;
    let ann = actor("ann");
    let most = i64::from(MOST_FOLLOWS);
    sqlx::query(
        "WITH made AS (INSERT INTO creators (id, uid, name) \
             SELECT 'c' || n, gen_random_uuid(), 'c' FROM generate_series(1::bigint, $1::bigint) n RETURNING id, uid) \
         INSERT INTO follows (buyer, creator, shard, position) \
         SELECT 'ann', uid, 0, 0 FROM made WHERE id NOT IN ('c1', 'c2', 'c3', 'c4')",
    )
    .bind(most + 2)
    .execute(&store.0)
    .await
    .unwrap();
    let mut tasks = JoinSet::new();
    for number in 1..=4 {
        let (store, ann) = (store.clone(), ann.clone());
        tasks.spawn(async move {
            store
                .follow(&ann, &id(&format!("c{number}")))
                .await
                .unwrap()
        });
    }
    let mut outcomes = vec![];
    while let Some(chosen) = tasks.join_next().await {
        outcomes.push(chosen.unwrap());
    }
    let count = |wanted| outcomes.iter().filter(|chosen| **chosen == wanted).count();
    assert_eq!((count(Chosen::Done), count(Chosen::Full)), (2, 2));
    assert_eq!(rows(&store).await, most);
    // One that is followed already does not count again.
    assert_eq!(store.follow(&ann, &id("c9")).await.unwrap(), Chosen::Done);
}

#[tokio::test]
async fn creator_is_deleted_at_once_and_its_follows_in_batches() {
    let (store, _) = store().await;
    creator(&store, "nord").await;
    creator(&store, "sued").await;
    for buyer in ["ann", "bob"] {
        store.follow(&actor(buyer), &id("nord")).await.unwrap();
    }
    store.follow(&actor("bob"), &id("sued")).await.unwrap();
    assert!(store.delete_creator(&id("nord")).await.unwrap());
    assert!(!store.delete_creator(&id("nord")).await.unwrap());
    let choices = store.choices_of(&actor("bob")).await.unwrap();
    assert_eq!(choices.creators, [(id("sued"), Position(0))]);
    assert_eq!(store.follows(&actor("ann"), None, 9).await.unwrap(), []);
    // Another creator with the same id begins without followers.
    creator(&store, "nord").await;
    assert_eq!(followers(&store, "nord").await, 0);
    store.follow(&actor("cid"), &id("nord")).await.unwrap();
    while store.clean_batch().await.unwrap() {}
    assert_eq!(followers(&store, "nord").await, 1);
    assert_eq!(rows(&store).await, 2);
    let buyers: Vec<String> =
        sqlx::query_scalar("SELECT buyer FROM following_buyers ORDER BY buyer")
            .fetch_all(&store.0)
            .await
            .unwrap();
    assert_eq!(buyers, ["bob", "cid"]);
}

#[tokio::test]
async fn spelling_of_another_account_chooses_nothing() {
    let (store, _) = store().await;
    creator(&store, "nord").await;
    let drop_id = DropId(Uuid::from_u128(7));
    let follow = |actor: Actor| {
        let store = store.clone();
        async move { store.follow(&actor, &id("nord")).await.unwrap() }
    };
    assert_eq!(follow(account("Maß")).await, Chosen::Done);
    assert_eq!(follow(account("MAß")).await, Chosen::Done);
    assert_eq!(follow(account("mass")).await, Chosen::OtherAccount);
    let reminded = store.remind(&account("mass"), drop_id).await.unwrap();
    assert_eq!(reminded, Chosen::OtherAccount);
    assert!(!store.unfollow(&account("mass"), &id("nord")).await.unwrap());
    assert_eq!(store.follows(&account("mass"), None, 9).await.unwrap(), []);
    let none = store.choices_of(&account("mass")).await.unwrap();
    assert_eq!(none, Choices::default());
    // A trusted caller compares as drops do.
    assert_eq!(follow(actor("mass")).await, Chosen::Done);
    assert_eq!(followers(&store, "nord").await, 1);
    let shown = store
        .followers(&id("nord"), None, 9)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(shown[0].buyer_id.as_str(), "Maß");
    assert!(store.unfollow(&actor("MASS"), &id("nord")).await.unwrap());
    assert_eq!(followers(&store, "nord").await, 0);
}

#[tokio::test]
async fn pages_of_followers_are_complete() {
    let (store, _) = store().await;
    creator(&store, "nord").await;
    for number in 0..7 {
        let actor = actor(&format!("buyer {number}"));
        store.follow(&actor, &id("nord")).await.unwrap();
    }
    let (mut seen, mut start) = (vec![], None);
    loop {
        let page = store
            .followers(&id("nord"), start, 3)
            .await
            .unwrap()
            .unwrap();
        let Some(last) = page.last() else { break };
        start = store.follower(&id("nord"), &last.buyer_id).await.unwrap();
        seen.extend(page.iter().map(|row| row.buyer_id.as_str().to_owned()));
    }
    let newest_first: Vec<String> = (0..7)
        .rev()
        .map(|number| format!("buyer {number}"))
        .collect();
    assert_eq!(seen.len(), 7);
    // Follows within one millisecond are in the order of their buyers.
    seen.sort_by(|one, other| other.cmp(one));
    assert_eq!(seen, newest_first);
    let unknown = store.follower(&id("nord"), &actor("zoe").buyer_id).await;
    assert!(unknown.unwrap().is_none());
    assert!(
        store
            .followers(&id("none"), None, 3)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn choices_of_several_buyers_are_read_at_once() {
    let (store, _) = store().await;
    creator(&store, "nord").await;
    let drop_id = DropId(Uuid::from_u128(7));
    store.follow(&actor("Ann"), &id("nord")).await.unwrap();
    store.remind(&actor("ann"), drop_id).await.unwrap();
    store.remind(&actor("bob"), drop_id).await.unwrap();
    let names = ["ann", "bob", "cid"].map(Arc::<str>::from);
    let found = store.choices(&names).await.unwrap();
    assert_eq!(found.len(), 2);
    let ann = &found["ann"];
    assert_eq!((ann.creators.len(), ann.drops.len()), (1, 1));
    assert_eq!(found["bob"].drops, [(drop_id, Position(0))]);
    assert!(store.forget_reminder(&actor("BOB"), drop_id).await.unwrap());
    assert!(!store.forget_reminder(&actor("bob"), drop_id).await.unwrap());
    assert_eq!(store.choices(&names).await.unwrap().len(), 1);
}
