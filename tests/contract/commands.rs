//! The commands for a first try: the demo, the sample drops, and the stampede with its verdict.

mod tls;

use std::process::Stdio;

use harness::{ADMIN_KEY, App, Finished, Launch, SampleLog, eventually, finish_on_terminal};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::tls::TlsFront;

/// Runs a client command against a server.
async fn run(app: &App, arguments: &[&str]) -> Finished {
    let url = format!("http://{}", app.address());
    let server = ["--url", &url, "--admin-key", ADMIN_KEY];
    app.launch().run(&[arguments, &server].concat()).await
}

async fn statuses(app: &App) -> Vec<String> {
    let drops = app.get("/v1/drops").await.ok(200);
    let listed = drops["data"].as_array().expect("a list").clone();
    listed
        .iter()
        .map(|drop| drop["status"].as_str().expect("a status").to_owned())
        .collect()
}

#[tokio::test]
async fn demo_needs_no_setup_and_its_shop_is_active() {
    let app = Launch::private()
        .start_as(&["demo", "--shoppers-per-second", "40"])
        .await;
    eventually("three drops are live and one is upcoming", || async {
        let mut statuses = statuses(&app).await;
        statuses.retain(|status| status != "sold_out");
        (statuses.contains(&"scheduled".to_owned()) && statuses.len() >= 2).then_some(())
    })
    .await;
    eventually("shoppers hold, buy and release", || async {
        let log = app.log().await;
        let happened = |kind: &str| log.iter().any(|event| event.event_type == kind);
        let kinds = ["HoldPlaced", "PurchaseConfirmed", "HoldReleased"];
        kinds.into_iter().all(happened).then_some(())
    })
    .await;
    app.audit_verify().await;
    // The shoppers and the day of orders end in the middle of something, which is no fault.
    let log = app.stop_and_read().await;
    let end = log
        .split("SIGTERM: stopping")
        .nth(1)
        .expect("it was stopped");
    assert!(!end.contains(" WARN ") && !end.contains(" ERROR "), "{end}");
}

#[tokio::test]
async fn sample_drops_are_created_once() {
    let app = App::start().await;
    for _ in 0..2 {
        let seeded = run(&app, &["seed"]).await;
        assert_eq!(seeded.code, Some(0), "{seeded:?}");
    }
    let mut statuses = statuses(&app).await;
    statuses.sort_unstable();
    assert_eq!(statuses, ["live", "live", "live", "scheduled"]);
}

#[tokio::test]
async fn stampede_ends_with_a_verdict_counted_from_the_log() {
    let app = App::start().await;
    let stampede = run(&app, &["load", "--buyers", "300", "--units", "20"]).await;
    assert_eq!(stampede.code, Some(0), "{stampede:?}");
    assert!(stampede.stdout.contains("PASSED"), "{}", stampede.stdout);
    app.audit_verify().await;
}

#[tokio::test]
async fn stampede_leaves_no_drop_on_sale_even_if_interrupted() {
    let app = App::start().await;
    let stampede = run(&app, &["load", "--buyers", "20", "--units", "5"]).await;
    assert_eq!(stampede.code, Some(0), "{stampede:?}");
    assert_eq!(statuses(&app).await, ["cancelled"]);
    for (signal, expected) in [(Signal::SIGINT, 2), (Signal::SIGTERM, 3)] {
        let url = format!("http://{}", app.address());
        // It waits for holds to expire that last an hour.
        let mut command = app.launch().command(&[
            "load",
            "--abandon",
            "--buyers",
            "3",
            "--units",
            "3",
            "--hold-seconds",
            "3600",
            "--url",
            &url,
            "--admin-key",
            ADMIN_KEY,
        ]);
        let running = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("all buyers hold", || async {
            let log = app.log().await;
            let held = log.iter().filter(|event| event.event_type == "HoldPlaced");
            (held.count() == 5 + 3 * (expected - 1)).then_some(())
        })
        .await;
        let id = Pid::from_raw(running.id().try_into().unwrap());
        kill(id, signal).unwrap();
        let ended = tokio::task::spawn_blocking(move || running.wait_with_output());
        let ended = ended.await.unwrap().unwrap();
        let output = String::from_utf8_lossy(&ended.stderr);
        assert!(
            !ended.status.success() && output.contains("interrupted"),
            "{ended:?}"
        );
        assert_eq!(
            statuses(&app).await,
            vec!["cancelled"; expected],
            "{output}"
        );
        app.audit_verify().await;
    }
}

#[tokio::test]
async fn stampede_and_samples_reach_a_server_behind_tls_with_its_authority() {
    let app = App::start().await;
    let front = TlsFront::before(app.address()).await;
    let ca = app.launch().data_dir().join("ca.pem");
    std::fs::write(&ca, &front.authority).unwrap();
    let ca = ca.to_str().unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{}", front.port);
        let server = ["--url", &url, "--admin-key", ADMIN_KEY];
        for arguments in [
            vec![
                "load",
                "--buyers",
                "50",
                "--units",
                "5",
                "--connections",
                "10",
            ],
            vec!["seed"],
        ] {
            let trusting = [arguments.as_slice(), &server, &["--ca", ca]].concat();
            let trusted = app.launch().run(&trusting).await;
            assert_eq!(trusted.code, Some(0), "{trusted:?}");
            let doubting = [arguments.as_slice(), &server].concat();
            let refused = app.launch().run(&doubting).await;
            assert_eq!(refused.code, Some(1), "{refused:?}");
            assert!(
                refused.stderr.to_lowercase().contains("certificate"),
                "{refused:?}"
            );
        }
    }
    assert!(front.served() > 20, "{}", front.served());
    let plain = format!("http://127.0.0.1:{}", front.port);
    let refused = app
        .launch()
        .run(&["seed", "--url", &plain, "--admin-key", ADMIN_KEY])
        .await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let mut statuses = statuses(&app).await;
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, ["cancelled", "live", "scheduled"]);
}

#[tokio::test]
async fn abandoned_holds_all_expire_and_their_delay_is_reported() {
    let app = App::start().await;
    let arguments = [
        "load",
        "--abandon",
        "--buyers",
        "200",
        "--units",
        "200",
        "--hold-seconds",
        "1",
        "--connections",
        "20",
    ];
    let abandoned = run(&app, &arguments).await;
    assert_eq!(abandoned.code, Some(0), "{abandoned:?}");
    assert!(
        abandoned
            .stdout
            .contains("recorded after the deadline, p99"),
        "{}",
        abandoned.stdout
    );
}

#[tokio::test]
async fn command_without_a_server_or_a_key_fails_with_one_line() {
    let unconfigured = Launch::private();
    let refused = unconfigured
        .run(&[
            "seed",
            "--url",
            "http://127.0.0.1:9",
            "--admin-key",
            ADMIN_KEY,
        ])
        .await;
    assert_ne!(refused.code, Some(0));
    assert_eq!(refused.stderr.trim().lines().count(), 1, "{refused:?}");
    let keyless = unconfigured
        .run(&["load", "--url", "http://127.0.0.1:9"])
        .await;
    assert_ne!(keyless.code, Some(0));
    assert!(keyless.stderr.starts_with("holdfast: "), "{keyless:?}");
    let help = unconfigured.run(&["--help"]).await;
    assert_eq!(help.code, Some(0));
    for command in ["serve", "demo", "seed", "load", "audit"] {
        assert!(help.stdout.contains(command), "{command}: {}", help.stdout);
    }
    assert_eq!(unconfigured.run(&["sell"]).await.code, Some(2));
}

#[tokio::test]
async fn reader_that_closes_the_pipe_early_is_not_an_error() {
    let sample = SampleLog::create().await;
    let launch = Launch::on(sample.altered("SELECT 1").await);
    for arguments in [
        vec!["audit", "export"],
        vec!["audit", "export", "--format", "csv"],
        vec!["audit", "export", "--format", "parquet"],
        vec!["audit", "state"],
        vec!["audit", "replay", "--json"],
        vec!["projections", "list"],
        vec!["projections", "rebuild", "--all"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = launch.command(&arguments);
        command.stdout(writer);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        assert_eq!(
            (
                output.status.code(),
                String::from_utf8_lossy(&output.stderr)
            ),
            (Some(0), "".into()),
            "{arguments:?}"
        );
    }
}

#[tokio::test]
async fn progress_bar_shows_on_a_terminal_and_is_removed_at_the_end() {
    let sample = SampleLog::create().await;
    let launch = Launch::on(sample.altered("SELECT 1").await);
    let file = launch.data_dir().join("log.ndjson");
    std::fs::write(&file, &sample.export).expect("the directory is ours");
    let count = sample.log.len();
    for (doing, arguments) in [
        ("verifying", vec!["audit", "verify"]),
        ("exporting", vec!["audit", "export"]),
        ("replaying", vec!["audit", "state"]),
    ] {
        let shown = finish_on_terminal(launch.command(&arguments)).await;
        assert_eq!(shown.code, Some(0), "{shown:?}");
        let piped = launch.run(&arguments).await;
        assert_eq!((&piped.stdout, piped.stderr.as_str()), (&shown.stdout, ""));
        let (before, after) = shown
            .stderr
            .split_once(&format!(" {count}/{count} events, "))
            .unwrap_or_else(|| panic!("no bar: {shown:?}"));
        assert!(before.contains(doing), "{shown:?}");
        let (rate, left) = after.split_once("/s, ").expect("a rate");
        let is_whole = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b',')
        };
        assert!(is_whole(rate) && !rate.is_empty(), "{rate:?}");
        assert!(left.contains("s left"), "{shown:?}");
        assert!(shown.stderr.ends_with("\u{1b}[2K"), "{shown:?}");

        let of_file = ["--file", file.to_str().expect("UTF-8")];
        let arguments = [arguments.as_slice(), &of_file].concat();
        let shown = finish_on_terminal(launch.command(&arguments)).await;
        assert_eq!(shown.code, Some(0), "{shown:?}");
        for part in [doing, " KiB/", "/s, ", "s left"] {
            assert!(shown.stderr.contains(part), "{part}: {shown:?}");
        }
    }
}
