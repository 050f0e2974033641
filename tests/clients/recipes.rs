//! The programs of `examples/recipes/` against the real server, as their README runs them.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::{
    Answer, App, Launch, Node, Python, Received, Receiver, eventually, fetch, install, key,
    on_path, run, text,
};
use reqwest::{Client, Method, Url, redirect};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::task::spawn_blocking;

const SECRET: &str = "a secret of the shop with more than 32 bytes";
const AUDIENCE: &str = "holdfast";

fn recipe(name: &str) -> PathBuf {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/recipes");
    recipes.join(name)
}

async fn node() -> Command {
    if on_path("node").is_none() {
        spawn_blocking(|| install(&["nodejs"])).await.unwrap();
    }
    Command::new("node")
}

/// Starts a recipe that serves, and returns its URL.
async fn started(command: Command) -> (Child, String) {
    let mut command = tokio::process::Command::from(command);
    let piped = command.stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = piped.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let url = line.strip_prefix("listening on ").unwrap().to_owned();
    (child, url)
}

#[tokio::test]
async fn tokens_that_a_shop_signs_in_node_and_in_python_are_accepted() {
    let launch = Launch::fresh().await.with("HOLDFAST_BUYER_SECRET", SECRET);
    let app = launch.with("HOLDFAST_BUYER_AUDIENCE", AUDIENCE);
    let app = app.start().await;
    let drop = app.create_drop(9, json!({})).await;
    let mut in_node = node().await;
    in_node.arg(recipe("buyer_token.mjs"));
    let python = Python::with(include_str!("webhook_verifiers/requirements.txt")).await;
    let mut in_python = python.command();
    in_python.arg(recipe("buyer_token.py"));
    for (mut program, buyer) in [(in_node, "zoë"), (in_python, "ängel")] {
        program.arg(buyer).env("HOLDFAST_BUYER_SECRET", SECRET);
        program.env("HOLDFAST_BUYER_AUDIENCE", AUDIENCE);
        let token = spawn_blocking(move || run(&mut program)).await.unwrap();
        let hold = |buyer: &str| {
            let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
            let request = request.bearer_auth(token.trim());
            let request = request.header("idempotency-key", key());
            fetch(request.json(&json!({ "buyer_id": buyer })))
        };
        assert_eq!(hold(buyer).await.ok(201)["buyer_id"], buyer);
        hold("another").await.problem(403, "forbidden");
    }
}

/// A browser of one visitor of the shop.
struct Visitor {
    client: Client,
    shop: String,
    session: String,
}

impl Visitor {
    /// Opens the shop; returns its page too.
    async fn new(shop: &str) -> (Self, String) {
        let client = Client::builder().no_proxy();
        let client = client.redirect(redirect::Policy::none()).build().unwrap();
        let opened = client.get(shop).send().await.unwrap();
        let session = opened.headers()["set-cookie"].to_str().unwrap();
        let visitor = Self {
            client,
            shop: shop.to_owned(),
            session: session.split(';').next().unwrap().to_owned(),
        };
        (visitor, opened.text().await.unwrap())
    }

    async fn send(&self, method: Method, path: &str, form: &str) -> (u16, String) {
        let request = self.client.request(method, format!("{}{path}", self.shop));
        let request = request.header("cookie", &self.session);
        let response = request.body(form.to_owned()).send().await.unwrap();
        let location = response.headers().get("location").cloned();
        let status = response.status().as_u16();
        let body = response.text().await.unwrap();
        let location = location.map(|value| value.to_str().unwrap().to_owned());
        (status, location.unwrap_or(body))
    }
}

#[tokio::test]
async fn shop_in_front_sells_to_the_buyers_of_its_own_sessions() {
    // With a secret, only the shop's back end can act for its buyers.
    let launch = Launch::fresh().await.with("HOLDFAST_BUYER_SECRET", SECRET);
    let app = launch.start().await;
    let drop = app.create_drop(2, json!({ "name": "<Lamp> & more" })).await;
    let mut program = node().await;
    program.arg(recipe("behind_a_shop.mjs"));
    program.env("HOLDFAST_URL", format!("http://{}", app.address()));
    program.env("HOLDFAST_ADMIN_KEY", harness::ADMIN_KEY);
    program.env("DROP_ID", &drop);
    let (_running, shop) = started(program).await;

    let (ann, page) = Visitor::new(&shop).await;
    assert!(page.contains("2 of 2 left, customer-1"), "{page}");
    assert!(page.contains("&#60;Lamp&#62; &#38; more"), "{page}");
    let (_, rest) = page.split_once("name=\"key\" value=\"").unwrap();
    let form = format!(
        "key={}&buyer_id=customer-9",
        rest.split('"').next().unwrap()
    );
    let (status, hold) = ann.send(Method::POST, "/holds", &form).await;
    assert_eq!(status, 303);
    // A double click is one hold.
    assert_eq!(
        ann.send(Method::POST, "/holds", &form).await,
        (303, hold.clone())
    );
    assert_eq!(app.stock(&drop).await, [2, 1, 1, 0]);
    let (ben, page) = Visitor::new(&shop).await;
    assert!(page.contains("1 of 2 left, customer-2"), "{page}");
    assert_eq!(ben.send(Method::GET, &hold, "").await.0, 404);
    assert_eq!(
        ben.send(Method::POST, &format!("{hold}/pay"), "").await.0,
        404
    );
    let (status, page) = ann.send(Method::GET, &hold, "").await;
    assert!(status == 200 && page.contains("Reserved until"), "{page}");
    for _ in 0..2 {
        let (status, page) = ann.send(Method::POST, &format!("{hold}/pay"), "").await;
        assert!(status == 200 && page.contains("Thank you"), "{page}");
    }
    assert_eq!(app.stock(&drop).await, [2, 1, 0, 1]);
    let sold = fetch(app.admin(Method::GET, &format!("/v1/drops/{drop}/purchases"))).await;
    let sold = &sold.ok(200)["data"][0];
    assert_eq!(sold["buyer_id"], "customer-1");
    let reference = format!("payment-of-{}", hold.trim_start_matches("/holds/"));
    assert_eq!(sold["payment_reference"], reference.as_str());
    app.audit_verify().await;
}

/// Signs a visitor in and returns the response's status and its `Location`.
async fn hand_over(shop: &str, return_to: &str) -> (u16, String) {
    let client = Client::builder().no_proxy();
    let client = client.redirect(redirect::Policy::none()).build().unwrap();
    let url = format!("{shop}/sign-in");
    let url = Url::parse_with_params(&url, [("return_to", return_to)]).unwrap();
    let response = client.get(url).send().await.unwrap();
    let location = response.headers().get("location");
    let location = location.map(|value| value.to_str().unwrap().to_owned());
    if location.is_some() {
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
    (response.status().as_u16(), location.unwrap_or_default())
}

#[tokio::test]
async fn sign_in_pages_hand_tokens_over_to_pages_of_holdfast_only() {
    let launch = Launch::fresh().await.with("HOLDFAST_BUYER_SECRET", SECRET);
    let app = launch.start().await;
    let drop = app.create_drop(2, json!({})).await;
    let origin = format!("http://{}", app.address());
    let mut in_node = node().await;
    in_node.arg(recipe("sign_in.mjs"));
    let python = Python::with(include_str!("webhook_verifiers/requirements.txt")).await;
    let mut in_python = python.command();
    in_python.arg(recipe("sign_in.py"));
    for mut program in [in_node, in_python] {
        program.env("HOLDFAST_BUYER_SECRET", SECRET);
        program.env("HOLDFAST_ORIGIN", &origin);
        let (_running, shop) = started(program).await;
        let page = format!("{origin}/drops/{drop}?ref=mail");
        let (status, location) = hand_over(&shop, &page).await;
        assert_eq!(status, 303);
        let (returned, token) = location.split_once("#token=").unwrap();
        assert_eq!(returned, page);
        let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
        let request = request.bearer_auth(token).header("idempotency-key", key());
        let held = fetch(request.json(&json!({ "buyer_id": "customer-1" }))).await;
        held.ok(201);
        for other in [
            "https://other.example/",
            "//other.example/",
            "/\\other.example/",
            "javascript:alert(1)",
            "http://127.0.0.1:1/",
            &format!("{origin}.other.example/"),
            &format!("{origin}@other.example/"),
            &origin.replace("http:", "https:"),
            "http://[",
        ] {
            let (status, location) = hand_over(&shop, other).await;
            assert_eq!((status, location.as_str()), (404, ""), "{other}");
        }
    }
}

/// The last number of available units that the platform was sent.
fn last_available(platform: &Receiver) -> Option<Value> {
    let received = platform.received();
    received
        .last()
        .map(|write| write.json()["available"].clone())
}

#[tokio::test]
async fn stock_of_another_platform_follows_and_each_webhook_is_processed_once() {
    let launch = Launch::fresh().await;
    let launch = launch.with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.0/8");
    let app = launch
        .with("HOLDFAST_WEBHOOK_RETRIES", "1s,1s,1s")
        .start()
        .await;
    let platform = Receiver::start().await;
    // The endpoint exists before the program, because its secret is a setting of the program.
    let program_at = Receiver::start().await;
    let created = endpoint(&app, &program_at.url()).await;
    let node = Node::with(
        include_str!("webhook_verifiers/package.json"),
        include_str!("webhook_verifiers/package-lock.json"),
    )
    .await;
    let mut program = node.module(include_str!("../../examples/recipes/stock_sync.mjs"));
    program.env("HOLDFAST_URL", format!("http://{}", app.address()));
    program.env("WEBHOOK_SECRET", text(&created["secret"]));
    program.env("PLATFORM_URL", format!("http://{}", platform.address()));
    let (_running, url) = started(program).await;
    let path = format!("/v1/admin/webhooks/{}", text(&created["id"]));
    let edit = app.admin(Method::PATCH, &path).json(&json!({ "url": url }));
    fetch(edit).await.ok(200);

    // The first write fails, so its webhook is sent again.
    let mut is_first = true;
    platform.respond(move |_| {
        Answer::Status(if std::mem::take(&mut is_first) {
            500
        } else {
            204
        })
    });
    let drop = app.create_drop(3, json!({})).await;
    let hold = app.held(&drop, "ann").await;
    app.purchase(&hold).await.ok(201);
    app.held(&drop, "ben").await;
    let follows = |units: u64| {
        let platform = &platform;
        async move {
            let what = format!("the platform has {units} units");
            eventually(&what, || async {
                (last_available(platform) == Some(json!(units))).then_some(())
            })
            .await;
        }
    };
    follows(1).await;
    app.adjust(&drop, 4).await.ok(201);
    app.held(&drop, "carol").await;
    follows(4).await;
    settled(&app, &path).await;
    assert!(
        program_at.received().is_empty(),
        "the earlier address gets nothing"
    );
    let writes = platform.received();
    assert!(
        writes
            .iter()
            .all(|write| write.path == format!("/inventory/{drop}"))
    );

    // All webhooks are sent again with their ids, and none is processed again.
    let replay = app.admin(Method::POST, &format!("{path}/replay"));
    fetch(replay.json(&json!({ "after": 0 }))).await.ok(202);
    let cancel = app.admin(Method::POST, &format!("/v1/drops/{drop}/cancel"));
    fetch(cancel).await.ok(200);
    follows(0).await;
    settled(&app, &path).await;
    let of_cancellation = platform.received().split_off(writes.len());
    let is_nothing_left = |write: &Received| write.json()["available"] == 0;
    assert!(
        of_cancellation.iter().all(is_nothing_left),
        "{of_cancellation:?}"
    );

    let forged = Client::builder().no_proxy().build().unwrap();
    let forged = forged.post(&url).header("webhook-id", "forged");
    let forged = forged.header("webhook-timestamp", harness::seconds_now());
    let forged = forged.header("webhook-signature", "v1,bm90IHNpZ25lZA==");
    let body = json!({ "type": "hold.placed", "data": { "drop_id": drop, "position": 1 } });
    let refused = forged.body(body.to_string()).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 400);
}

/// Creates an endpoint for webhooks of stock.
async fn endpoint(app: &App, url: &str) -> Value {
    let types = [
        "drop.scheduled",
        "drop.cancelled",
        "drop.restocked",
        "hold.placed",
        "hold.expired",
        "hold.released",
        "purchase.refunded",
    ];
    let body = json!({ "url": url, "event_types": types });
    let request = app.admin(Method::POST, "/v1/admin/webhooks");
    fetch(request.json(&body)).await.ok(201)
}

/// Waits until the endpoint has sent everything.
async fn settled(app: &App, path: &str) {
    eventually("everything is delivered", || async {
        let endpoint = fetch(app.admin(Method::GET, path)).await.ok(200);
        let head = app.log().await.len();
        (endpoint["pending"] == 0 && endpoint["position"] == head).then_some(())
    })
    .await;
}
