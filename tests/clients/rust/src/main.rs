//! The life of a drop with the Rust client that openapi-generator generates.
//!
//! Run as: life URL ADMIN_KEY

use openapi::apis::configuration::Configuration;
use openapi::apis::drops_api::{
    ListDropsError, ReadDropError, adjust_stock, cancel_drop, create_drop, edit_drop, list_drops,
    list_purchasers, read_buyer, read_drop,
};
use openapi::apis::health_api::{is_alive, is_ready};
use openapi::apis::holds_and_purchases_api::{
    PlaceHoldError, place_hold, purchase_hold, read_hold, release_hold,
};
use openapi::apis::log_api::{list_events, read_head};
use openapi::apis::waitlist_api::{join_waitlist, read_waitlist_entry};
use openapi::apis::{Error, admin_api};
use openapi::models::{
    DropEdit, DropStatus, HoldStatus, NewAdjustment, NewDrop, NewHold, NewWaitlistEntry, Payment,
    PlaceHold409Response, Price, WaitlistStatus,
};

/// The typed problem in a response with that status.
fn problem<T: std::fmt::Debug, E: std::fmt::Debug>(
    status: u16,
    response: Result<T, Error<E>>,
) -> E {
    match response {
        Err(Error::ResponseError(response)) if response.status.as_u16() == status => {
            let content = response.content;
            response
                .entity
                .unwrap_or_else(|| panic!("unknown problem: {content}"))
        }
        other => panic!("expected status {status}: {other:?}"),
    }
}

fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let [_, url, admin_key] = std::env::args().collect::<Vec<_>>().try_into().unwrap();
    let server = &Configuration {
        base_path: url,
        bearer_access_token: Some(admin_key),
        ..Configuration::default()
    };
    is_alive(server).await.unwrap();
    is_ready(server).await.unwrap();

    let amount = 999_999_999_999;
    let price = Price::new(amount, "EUR".to_owned());
    let new = NewDrop::new("Lamp 🪔".to_owned(), price, 1);
    let drop = create_drop(server, &key(), new).await.unwrap();
    assert_eq!((drop.status, drop.hold_seconds), (DropStatus::Live, 60));
    assert_eq!(drop.price.amount, amount);
    let id = drop.id.to_string();

    let ann = NewHold::new("ann".to_owned());
    let hold = place_hold(server, &id, &key(), ann, None).await.unwrap();
    assert_eq!((hold.status, hold.quantity), (HoldStatus::Held, 1));
    let fresh = read_drop(server, &id, Some(hold.position), None).await;
    assert_eq!(fresh.unwrap().status, DropStatus::SoldOut);

    let ben = NewHold::new("ben".to_owned());
    match problem(409, place_hold(server, &id, &key(), ben, None).await) {
        PlaceHoldError::Status409(PlaceHold409Response::SoldOutProblem(sold_out)) => {
            assert_eq!((sold_out.available, sold_out.requested), (Some(0), 1));
        }
        other => panic!("not sold out: {other:?}"),
    }

    let ben = NewWaitlistEntry {
        display_name: Some(Some("Ben".to_owned())),
        ..NewWaitlistEntry::new("ben".to_owned())
    };
    let entry = join_waitlist(server, &id, &key(), ben, None).await.unwrap();
    assert_eq!(
        (entry.status, entry.place),
        (WaitlistStatus::Waiting, Some(1))
    );
    let held = hold.id.to_string();
    release_hold(server, &held).await.unwrap();
    let hold = read_hold(server, &held, None, None).await.unwrap();
    assert_eq!(hold.status, HoldStatus::Released);
    let entry = entry.id.to_string();
    let entry = read_waitlist_entry(server, &entry, None, None)
        .await
        .unwrap();
    assert_eq!(entry.status, WaitlistStatus::Offered);

    let offered = entry.hold_id.unwrap().to_string();
    let payment = || Payment {
        payment_reference: Some(Some("payment-1".to_owned())),
    };
    let purchase = purchase_hold(server, &offered, Some(payment()))
        .await
        .unwrap();
    let again = purchase_hold(server, &offered, Some(payment()))
        .await
        .unwrap();
    assert_eq!(again.id, purchase.id);

    let more = NewAdjustment::new(2, "a second box".to_owned());
    let adjusted = adjust_stock(server, &id, &key(), more, None).await.unwrap();
    assert_eq!((adjusted.stock.total, adjusted.stock.sold), (3, 1));
    let edit = DropEdit {
        max_per_buyer: Some(Some(2)),
        ..DropEdit::new()
    };
    let edited = edit_drop(server, &id, "*", edit).await.unwrap();
    assert_eq!(edited.max_per_buyer, Some(2));

    let live = Some(DropStatus::Live);
    let listed = list_drops(server, None, None, None, None, None, None, live, None, None).await;
    assert_eq!(listed.unwrap().data[0].id, drop.id);
    list_purchasers(server, &id, None, None, None, None)
        .await
        .unwrap();
    let standing = read_buyer(server, &id, "ben", None, None).await.unwrap();
    assert_eq!((standing.purchased, standing.next_hold_at), (1, None));
    let metrics =
        admin_api::read_metrics(server, None, None, None, None, None, None, None, None).await;
    assert_eq!(metrics.unwrap().units_sold, 1);
    admin_api::read_timeline(server, None, None, None, None, None)
        .await
        .unwrap();

    let log = list_events(server, None, None, None, None).await.unwrap();
    assert_eq!(log.data[0].event_type, "DropScheduled");
    let head = read_head(server, None, None).await.unwrap();
    assert_eq!(usize::try_from(head.position).unwrap(), log.data.len());

    let nowhere = read_drop(server, &key(), None, None).await;
    let nowhere = problem(404, nowhere);
    assert!(
        matches!(nowhere, ReadDropError::Status404(_)),
        "{nowhere:?}"
    );
    let zero = Some(0);
    let wrong = list_drops(server, None, None, None, zero, None, None, None, None, None).await;
    match problem(400, wrong) {
        ListDropsError::Status400(wrong) => assert_eq!(wrong.errors[0].pointer, "/limit"),
        other => panic!("not refused: {other:?}"),
    }

    let cancelled = cancel_drop(server, &id, None, None).await.unwrap();
    assert_eq!(cancelled.status, DropStatus::Cancelled);
    println!("lived");
}
