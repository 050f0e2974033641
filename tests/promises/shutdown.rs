//! A graceful shutdown drains in-flight requests, ends the streams, and leaves nothing behind.

use harness::{App, Launch, Raw, Tunnel, concurrently, eventually, key, tally, text};
use nix::sys::signal::Signal;
use private_postgres::testing::fresh_database;
use serde_json::json;

/// The head of a request whose body the server requests with 100 Continue; from then on the request
/// is in flight.
fn head(drop: &str, length: usize) -> String {
    format!(
        "POST /v1/drops/{drop}/holds HTTP/1.1\r\nhost: holdfast\r\nidempotency-key: {}\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n",
        key()
    )
}

#[tokio::test]
async fn in_flight_requests_are_answered_and_their_results_are_kept() {
    let app = App::start().await;
    let drop = app
        .create_drop(1_000, json!({ "hold_seconds": 3600 }))
        .await;
    let mut watcher = app.watch("").await;
    watcher.drop().await;
    let mut raw_stream = Raw::connect(app.address()).await;
    raw_stream.watch("").await;
    let bodies: Vec<String> = (0..50)
        .map(|buyer| json!({ "buyer_id": format!("buyer-{buyer}") }).to_string())
        .collect();
    let mut in_flight = vec![];
    for body in &bodies {
        let mut connection = Raw::connect(app.address()).await;
        connection.send(head(&drop, body.len()).as_bytes()).await;
        connection.expect_continue().await;
        in_flight.push(connection);
    }

    app.terminate();
    while watcher.frame().await.is_some() {} // The stream has ended: the server is stopping.
    let end = raw_stream.closed().await;
    let (_, delay) = end
        .rsplit_once("retry: ")
        .expect("the stream ends with a hint");
    let delay = delay.strip_suffix("\n\r\n0\r\n\r\n").unwrap();
    assert!((1_000..3_000).contains(&delay.parse().unwrap()), "{delay}");
    // While commands are in flight the server responds, and begins no new one.
    let late = app.hold(&drop, "a late buyer").await;
    late.problem(503, "unavailable");
    assert_eq!(late.header("retry-after"), "1");
    assert_eq!(late.header("connection"), "close");
    let unready = app.get("/health/ready").await;
    unready.problem(503, "unavailable");
    assert_eq!(app.stock(&drop).await, [1_000, 1_000, 0, 0]);
    let replies = concurrently(in_flight.into_iter().zip(bodies).map(
        |(mut connection, body)| async move {
            connection.send(body.as_bytes()).await;
            connection.reply().await
        },
    ))
    .await;

    assert!(
        replies.iter().all(|reply| reply.status == 201),
        "{:?}",
        tally(&replies)
    );
    let (status, launch) = app.ended().await;
    assert_eq!(status.code(), Some(0));
    let app = launch.start().await;
    let ledger = app.ledger().await;
    assert_eq!(ledger.count(&drop, "HoldPlaced"), 50);
    assert!(
        replies
            .iter()
            .all(|reply| ledger.has_hold(&text(&reply.json()["id"])))
    );
    app.audit_verify().await;
}

/// A drain that only a second signal ends.
const UNTIL_A_SECOND_SIGNAL: (&str, &str) = ("HOLDFAST_DRAIN_SECONDS", "600");

#[tokio::test]
async fn stopping_server_is_unready_and_serves_until_a_second_signal_ends_it() {
    let (name, value) = UNTIL_A_SECOND_SIGNAL;
    let launch = Launch::fresh().await.with(name, value);
    // Tests that are started by nohup ignore SIGHUP, and would pass that on.
    let default = "exec env --default-signal=HUP \"$0\" \"$@\"";
    let app = launch.after(default).start().await;
    let drop = app.create_drop(5, json!({})).await;
    app.signal(Signal::SIGHUP);
    let unready = eventually("the server is not ready", || async {
        let ready = app.get("/health/ready").await;
        (ready.status != 200).then_some(ready)
    })
    .await;
    let problem = unready.problem(503, "unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("The server is stopping"), "{detail}");
    assert!(!unready.header("retry-after").is_empty());
    assert_eq!(app.get("/health/live").await.ok(200)["status"], "live");
    // A proxy must not keep a connection that is about to be closed.
    let hold = app.hold(&drop, "alice").await;
    assert_eq!((hold.status, hold.header("connection")), (201, "close"));
    let mut watcher = app.watch("").await;
    watcher.until(|drop| drop["stock"]["held"] == 1).await;
    app.terminate();
    let (status, launch) = app.ended().await;
    assert_eq!(status.code(), Some(130));
    let app = launch.start().await;
    assert_eq!(app.stock(&drop).await, [5, 4, 1, 0]);
}

#[tokio::test]
async fn server_of_nohup_ignores_the_end_of_its_terminal() {
    let (name, value) = UNTIL_A_SECOND_SIGNAL;
    let launch = Launch::fresh().await.with(name, value);
    let app = launch.after("trap '' HUP").start().await;
    app.signal(Signal::SIGHUP);
    app.terminate();
    app.wait_for_log("SIGTERM: stopping").await;
    assert!(!app.stderr().contains("SIGHUP"), "{}", app.stderr());
    app.terminate();
    assert_eq!(app.ended().await.0.code(), Some(130));
}

#[tokio::test]
async fn server_stops_while_its_database_is_silent() {
    let tunnel = Tunnel::to(fresh_database().await).await;
    let app = Launch::on(tunnel.database()).start().await;
    let drop = app.create_drop(5, json!({ "hold_seconds": 3600 })).await;
    let hold = app.held(&drop, "alice").await;
    tunnel.stall();
    app.terminate();
    let (status, launch) = app.ended().await;
    assert_eq!(status.code(), Some(0));
    tunnel.restore();
    let app = launch.start().await;
    assert_eq!(app.read_hold(&hold).await.ok(200)["status"], "held");
}

#[tokio::test]
async fn too_few_open_files_are_refused_in_one_line() {
    let launch = Launch::private().after("ulimit -n 64");
    let refused = launch.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_one_line(&refused.stderr);
    let words = "the system permits 64 open files, and a server needs 512 or more";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
}

#[tokio::test]
async fn server_stopped_under_load_keeps_acknowledged_holds() {
    let app = App::start().await;
    let drop = app
        .create_drop(1_000_000, json!({ "hold_seconds": 3600 }))
        .await;
    let (api, drop_id) = (app.api(), drop.clone());
    let buyers = tokio::spawn(concurrently((0..16).map(move |buyer| {
        let (api, drop) = (api.clone(), drop_id.clone());
        async move {
            let mut held = vec![];
            while let Ok(reply) = api
                .try_hold_with(
                    &drop,
                    &key(),
                    &json!({ "buyer_id": format!("buyer-{buyer}") }),
                )
                .await
            {
                if reply.status != 201 {
                    reply.problem(503, "unavailable");
                    break;
                }
                held.push(text(&reply.json()["id"]));
            }
            held
        }
    })));
    eventually("holds are placed", || async {
        (app.stock(&drop).await[2] > 100).then_some(())
    })
    .await;
    let launch = app.stop().await;
    let held: Vec<String> = buyers.await.unwrap().into_iter().flatten().collect();

    let app = launch.start().await;
    let ledger = app.ledger().await;
    assert!(held.iter().all(|hold| ledger.has_hold(hold)));
    app.held(&drop, "a late buyer").await;
    app.audit_verify().await;
}

#[tokio::test]
async fn private_postgres_stops_and_starts_with_its_server() {
    let app = Launch::private().start().await;
    let drop = app.create_drop(5, json!({})).await;
    let hold = app.held(&drop, "alice").await;
    let data_dir = app.launch().data_dir().to_owned();
    assert!(data_dir.join("postgres/postmaster.pid").exists());
    let launch = app.stop().await;
    assert!(
        !data_dir.join("postgres/postmaster.pid").exists(),
        "Postgres was shut down cleanly"
    );
    let app = launch.start().await;
    assert_eq!(app.read_hold(&hold).await.ok(200)["status"], "held");
}

#[tokio::test]
async fn second_server_on_the_same_data_fails_with_one_line() {
    let app = Launch::private().start().await;
    let second = app
        .launch()
        .run(&["serve", "--listen", "127.0.0.1:0"])
        .await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert_eq!(second.stdout, "");
    assert_one_line(&second.stderr);
    let drop = app.create_drop(1, json!({})).await;
    app.held(&drop, "alice").await;
}

#[tokio::test]
async fn invalid_configuration_fails_with_one_line() {
    let database = harness::Launch::fresh().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let refusals: [(&[&str], i32); 5] = [
        (&["serve", "--listen", "0.0.0.0:0"], 2),
        (
            &[
                "serve",
                "--listen",
                "0.0.0.0:0",
                "--admin-key",
                "0123456789abcdef",
            ],
            2,
        ),
        (&["serve", "--listen", &taken], 1),
        (
            &[
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--database-url",
                "mysql://nobody@nowhere/nothing",
            ],
            2,
        ),
        (
            &[
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--database-url",
                "postgres://nobody@127.0.0.1:1/nothing",
            ],
            1,
        ),
    ];
    for (arguments, code) in refusals {
        let refused = database.run(arguments).await;
        assert_eq!(refused.code, Some(code), "{arguments:?}: {refused:?}");
        assert_eq!(refused.stdout, "", "{arguments:?}");
        assert_one_line(&refused.stderr);
    }
    for unusable in ["", "two words"] {
        let keys = ["--admin-key", unusable, "--auditor-key", "fedcba9876543210"];
        let refused = database
            .run(&[&["serve", "--listen", "0.0.0.0:0"], &keys[..]].concat())
            .await;
        assert_eq!(refused.code, Some(2), "{unusable:?}: {refused:?}");
        assert_one_line(&refused.stderr);
    }
}

#[tokio::test]
async fn generated_keys_are_stored_and_their_path_is_printed() {
    let launch = Launch::fresh().await;
    let mut server = launch
        .command(&["serve", "--listen", "127.0.0.1:0"])
        .spawn()
        .unwrap();
    let file = launch.data_dir().join("admin.key");
    eventually("the key file exists", || async {
        std::fs::read_to_string(&file)
            .is_ok_and(|key| key.len() > 16)
            .then_some(())
    })
    .await;
    let mut stdout = std::io::BufReader::new(server.stdout.take().unwrap());
    let mut output = String::new();
    while !output.contains("auditor key in ") {
        assert_ne!(
            std::io::BufRead::read_line(&mut stdout, &mut output).unwrap(),
            0,
            "{output}"
        );
    }
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(
        output.starts_with("listening on http://127.0.0.1:"),
        "{output}"
    );
    assert!(
        output.contains(&format!("admin key in {}", file.display())),
        "{output}"
    );
    assert!(
        !output.contains(std::fs::read_to_string(&file).unwrap().trim()),
        "a key is never printed"
    );
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[track_caller]
fn assert_one_line(stderr: &str) {
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("holdfast: "))
        .collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}
