//! Deliveries that fail: which others wait, when they are given up, and when they are repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Answer, Launch, Received, Receiver, distinct, eventually, fetch, in_order, text};
use reqwest::Method;
use serde_json::{Value, json};

use super::{WEBHOOKS, call, deliveries, post, read, server, subscribe, wait_for};

#[tokio::test]
async fn failing_delivery_holds_back_its_own_drop_only() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let endpoint = subscribe(
        &app,
        &receiver.url(),
        json!({ "event_types": ["hold.placed"] }),
    )
    .await;
    let failing = app.create_drop(9, json!({})).await;
    let healthy = app.create_drop(9, json!({})).await;
    let is_broken = Arc::new(AtomicBool::new(true));
    let (broken, of) = (Arc::clone(&is_broken), failing.clone());
    receiver.respond(move |one| {
        let fails = one.drop_id() == of && broken.load(Ordering::SeqCst);
        Answer::Status(if fails { 500 } else { 200 })
    });
    for buyer in 0..3 {
        app.held(&failing, &format!("a{buyer}")).await;
        app.held(&healthy, &format!("b{buyer}")).await;
    }
    receiver.wait_for(4).await;
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0]["drop_id"], failing.as_str());
    assert_eq!(pending[0]["last_error"], "500 Internal Server Error");
    assert_eq!(pending[0]["attempts"], 1);
    let at_head = eventually("the endpoint is at the head", || async {
        let endpoint = read(&app, &endpoint).await;
        (endpoint["position"] == 10).then_some(endpoint)
    });
    assert_eq!(at_head.await["pending"], 1);
    let received = receiver.received();
    let of_failing = |received: &[Received]| -> Vec<u64> {
        let own = received.iter().filter(|one| one.drop_id() == failing);
        own.map(Received::position).collect()
    };
    assert_eq!(of_failing(&received), [5], "the later ones wait");
    // It is also a job, with the same id.
    let jobs = read(&app, "/v1/admin/jobs?kind=webhook&status=pending").await;
    assert_eq!(jobs["data"][0]["id"], pending[0]["id"]);
    assert_eq!(jobs["data"][0]["subject"], endpoint.as_str());
    assert_eq!(
        read(&app, "/v1/admin/jobs?kind=refund").await["data"],
        json!([])
    );
    is_broken.store(false, Ordering::SeqCst);
    let id = text(&pending[0]["id"]);
    let retried = call(
        &app,
        Method::POST,
        &format!("{endpoint}/deliveries/{id}/retry"),
    )
    .await;
    retried.ok(200);
    let received = receiver.wait_for(7).await;
    assert_eq!(of_failing(&received), [5, 5, 7, 9]);
    assert_eq!(in_order(&received).len(), 6);
    wait_for(&app, &endpoint, "done", 6).await;
    assert_eq!(
        deliveries(&app, &endpoint, "pending").await,
        [] as [Value; 0]
    );
    let jobs = read(&app, "/v1/admin/jobs?status=done").await;
    assert_eq!(
        jobs["data"].as_array().unwrap().len(),
        1,
        "those of one attempt are not jobs"
    );
    assert_eq!(jobs["data"][0]["attempts"], 2);
    let cancel = format!("/v1/admin/jobs/{id}/cancel");
    call(&app, Method::POST, &cancel)
        .await
        .problem(409, "job_done");
}

#[tokio::test]
async fn delivery_is_given_up_after_the_schedule_and_needs_attention() {
    let app = server("5ms,5ms,5ms").await;
    let receiver = Receiver::start().await;
    let endpoint = subscribe(
        &app,
        &receiver.url(),
        json!({ "event_types": ["hold.placed"] }),
    )
    .await;
    let drop = app.create_drop(9, json!({})).await;
    receiver.respond(|one| Answer::Status(if one.position() == 3 { 422 } else { 200 }));
    app.held(&drop, "alice").await;
    app.held(&drop, "bob").await;
    let received = receiver.wait_for(5).await;
    let positions: Vec<u64> = received.iter().map(Received::position).collect();
    assert_eq!(
        positions,
        [3, 3, 3, 3, 4],
        "four attempts, and then the next event"
    );
    assert_eq!(distinct(received[..4].iter().map(Received::id)).len(), 1);
    let failed = wait_for(&app, &endpoint, "failed", 1).await;
    assert_eq!(
        (&failed[0]["attempts"], &failed[0]["next_attempt_at"]),
        (&json!(4), &Value::Null)
    );
    let matters = read(&app, "/v1/admin/needs-attention").await;
    let matter = &matters["data"][0];
    assert_eq!(
        (&matter["id"], &matter["kind"]),
        (&failed[0]["id"], &json!("webhook"))
    );
    assert_eq!(
        (&matter["position"], &matter["subject"]),
        (&json!(3), &json!(endpoint))
    );
    assert!(text(&matter["detail"]).contains("422"), "{matter}");
    assert_eq!(read(&app, &endpoint).await["failed"], 1);

    // Once more, by itself: accepted now.
    receiver.respond(|_| Answer::Status(200));
    let id = text(&failed[0]["id"]);
    call(&app, Method::POST, &format!("/v1/admin/jobs/{id}/retry"))
        .await
        .ok(200);
    let received = receiver.wait_for(6).await;
    assert_eq!(received[5].id(), received[0].id());
    assert_eq!(received[5].body, received[0].body);
    eventually("nothing needs attention", || async {
        let matters = read(&app, "/v1/admin/needs-attention").await;
        (matters["data"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn cancelled_job_lets_its_drop_continue_and_needs_no_attention() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let endpoint = subscribe(
        &app,
        &receiver.url(),
        json!({ "event_types": ["hold.placed"] }),
    )
    .await;
    let drop = app.create_drop(9, json!({})).await;
    receiver.respond(|one| Answer::Status(if one.position() == 3 { 400 } else { 200 }));
    app.held(&drop, "alice").await;
    app.held(&drop, "bob").await;
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    let id = text(&pending[0]["id"]);
    let job = call(&app, Method::POST, &format!("/v1/admin/jobs/{id}/cancel"))
        .await
        .ok(200);
    assert_eq!(
        (&job["status"], &job["cancelled"]),
        (&json!("failed"), &json!(true))
    );
    let received = receiver.wait_for(2).await;
    assert_eq!(received[1].position(), 4, "3 is not sent again");
    assert_eq!(
        read(&app, "/v1/admin/needs-attention").await["data"],
        json!([])
    );
    for path in ["retry", "cancel"] {
        let unknown = format!("/v1/admin/jobs/{}/{path}", uuid::Uuid::nil());
        call(&app, Method::POST, &unknown)
            .await
            .problem(404, "job_not_found");
    }
}

#[tokio::test]
async fn gone_disables_the_endpoint_and_enabling_continues_without_a_gap() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let endpoint = subscribe(
        &app,
        &receiver.url(),
        json!({ "event_types": ["hold.placed"] }),
    )
    .await;
    let drop = app.create_drop(9, json!({})).await;
    app.held(&drop, "alice").await;
    receiver.wait_for(1).await;
    receiver.respond(|_| Answer::Status(410));
    app.held(&drop, "bob").await;
    let disabled = eventually("the endpoint is disabled", || async {
        let endpoint = read(&app, &endpoint).await;
        (endpoint["status"] == "disabled").then_some(endpoint)
    })
    .await;
    assert_eq!(disabled["disabled_reason"], "gone");
    let matters = read(&app, "/v1/admin/needs-attention").await;
    assert_eq!(matters["data"][0]["kind"], "webhook_endpoint");
    assert_eq!(matters["data"][0]["id"], disabled["id"]);
    app.held(&drop, "carol").await;
    let test = format!("{endpoint}/test");
    call(&app, Method::POST, &test)
        .await
        .problem(409, "webhook_disabled");
    assert_eq!(receiver.received().len(), 2, "nothing is sent to it");
    receiver.respond(|_| Answer::Status(200));
    let enable = app
        .admin(Method::PATCH, &endpoint)
        .json(&json!({ "status": "enabled" }));
    assert_eq!(fetch(enable).await.ok(200)["disabled_reason"], Value::Null);
    let received = receiver.wait_for(4).await;
    let positions: Vec<u64> = received.iter().map(Received::position).collect();
    assert_eq!(positions, [3, 4, 4, 5]);
    assert_eq!(
        read(&app, "/v1/admin/needs-attention").await["data"],
        json!([])
    );
    let disable = app
        .admin(Method::PATCH, &endpoint)
        .json(&json!({ "status": "disabled" }));
    let disabled = fetch(disable).await.ok(200);
    assert_eq!(disabled["disabled_reason"], "administrator");
    assert_eq!(
        read(&app, "/v1/admin/needs-attention").await["data"],
        json!([])
    );
}

#[tokio::test]
async fn redirects_are_failures_and_are_not_followed() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let elsewhere = format!("http://{}/elsewhere", receiver.address());
    receiver.respond(move |one| match one.path.as_str() {
        "/hooks" => Answer::With(307, "location", elsewhere.clone()),
        _ => Answer::Status(200),
    });
    let endpoint = subscribe(&app, &receiver.url(), json!({})).await;
    app.create_drop(1, json!({})).await;
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    assert_eq!(pending[0]["last_error"], "307 Temporary Redirect");
    assert!(receiver.received().iter().all(|one| one.path == "/hooks"));
}

#[tokio::test]
async fn retry_after_is_obeyed_in_both_forms() {
    let app = server("5ms,5ms").await;
    let receiver = Receiver::start().await;
    let in_two_hours = chrono::Utc::now() + chrono::TimeDelta::hours(2);
    let date = in_two_hours.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    receiver.respond(move |one| match one.kind().as_str() {
        "drop.scheduled" => Answer::With(500, "retry-after", "7200".to_owned()),
        _ => Answer::With(500, "retry-after", date.clone()),
    });
    let endpoint = subscribe(&app, &receiver.url(), json!({})).await;
    app.create_drop(1, json!({})).await;
    let test = format!("{endpoint}/test");
    let test = call(&app, Method::POST, &test).await.ok(202);
    assert_eq!(
        (&test["event_type"], &test["drop_id"]),
        (&json!("webhook.test"), &Value::Null)
    );
    let pending = eventually("both are attempted", || async {
        let pending = deliveries(&app, &endpoint, "pending").await;
        let is_attempted = |one: &Value| one["attempts"] == 1;
        (pending.len() == 2 && pending.iter().all(is_attempted)).then_some(pending)
    })
    .await;
    let (soon, late) = (harness::in_seconds(7_100), harness::in_seconds(7_300));
    for one in pending {
        let next = text(&one["next_attempt_at"]);
        assert!(soon < next && next < late, "{next}");
    }
}

#[tokio::test]
async fn request_without_a_response_times_out() {
    let launch = Launch::fresh().await;
    let launch = launch.with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.1");
    let app = launch
        .with("HOLDFAST_WEBHOOK_TIMEOUT_SECONDS", "1")
        .start()
        .await;
    let receiver = Receiver::start().await;
    let endpoint = subscribe(&app, &receiver.url(), json!({})).await;
    let hanging = app.create_drop(1, json!({})).await;
    let of = hanging.clone();
    receiver.respond(move |one| match one.drop_id() == of {
        true => Answer::Hang,
        false => Answer::Status(200),
    });
    app.held(&hanging, "alice").await;
    let other = app.create_drop(1, json!({})).await;
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    assert_eq!(pending[0]["last_error"], "no response within 1 s");
    let received = receiver.wait_for(3).await;
    assert!(
        received.iter().any(|one| one.drop_id() == other),
        "other drops do not wait"
    );
    let metrics = app.get("/metrics").await.text();
    assert!(metrics.contains("holdfast_webhook_attempts_total{outcome=\"no_response\"} 1"));
    assert!(metrics.contains("holdfast_webhook_endpoints 1"));
}

#[tokio::test]
async fn endpoint_that_was_away_receives_everything_in_order() {
    let app =
        server("20ms,20ms,20ms,20ms,20ms,20ms,20ms,20ms,20ms,20ms,1s,1s,1s,1s,1s,1s,1s,1s,1m")
            .await;
    let mut receiver = Receiver::start().await;
    let endpoint = subscribe(&app, &receiver.url(), json!({})).await;
    let drops = [
        app.create_drop(50, json!({})).await,
        app.create_drop(50, json!({})).await,
    ];
    receiver.wait_for(4).await;
    receiver.stop().await;
    for buyer in 0..20 {
        app.held(&drops[buyer % 2], &format!("buyer-{buyer}")).await;
    }
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    assert!(
        text(&pending[0]["last_error"]).starts_with("cannot connect"),
        "{pending:?}"
    );
    receiver.start_again().await;
    let received = eventually("everything arrives", || async {
        let received = receiver.received();
        (in_order(&received).len() == 24).then_some(received)
    })
    .await;
    assert_eq!(in_order(&received).len(), 24);
    eventually("nothing is pending", || async {
        let endpoint = read(&app, &endpoint).await;
        (endpoint["pending"] == 0 && endpoint["position"] == 24).then_some(())
    })
    .await;
}

#[tokio::test]
async fn replay_delivers_everything_after_a_position_again_with_the_same_ids() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let drop = app.create_drop(9, json!({})).await;
    for buyer in 0..4 {
        app.held(&drop, &format!("buyer-{buyer}")).await;
    }
    let endpoint = subscribe(
        &app,
        &receiver.url(),
        json!({ "event_types": ["hold.placed"] }),
    )
    .await;
    let ahead = post(&app, &format!("{endpoint}/replay"), &json!({ "after": 7 })).await;
    ahead.invalid("/after");
    let replayed = post(&app, &format!("{endpoint}/replay"), &json!({ "after": 0 })).await;
    assert_eq!(replayed.ok(202)["position"], 0);
    receiver.wait_for(4).await;
    eventually("the endpoint is at the head", || async {
        (read(&app, &endpoint).await["position"] == 6).then_some(())
    })
    .await;
    post(&app, &format!("{endpoint}/replay"), &json!({ "after": 4 }))
        .await
        .ok(202);
    let received = receiver.wait_for(6).await;
    let positions: Vec<u64> = received.iter().map(Received::position).collect();
    assert_eq!(positions, [3, 4, 5, 6, 5, 6]);
    assert_eq!(in_order(&received).len(), 4);
    let unknown = format!("{WEBHOOKS}/{}/replay", uuid::Uuid::nil());
    post(&app, &unknown, &json!({ "after": 0 }))
        .await
        .problem(404, "webhook_not_found");
    for body in [json!({}), json!({ "after": -1 }), json!({ "after": "x" })] {
        post(&app, &format!("{endpoint}/replay"), &body)
            .await
            .invalid("/after");
    }
    for after in [json!(-1), json!(1.5), json!("x"), json!(1_u64 << 53)] {
        let body = json!({ "after": after });
        let refused = post(&app, &format!("{endpoint}/replay"), &body).await;
        refused.invalid("/after");
        let words = "must be a position: a whole number from 0 to 9007199254740991";
        assert_eq!(refused.json()["errors"][0]["detail"], words, "{after}");
    }
}
