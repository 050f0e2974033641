//! Flags precede variables, which precede the file; and the faults of the file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::Launch;

use super::{NOWHERE, run_with};

#[tokio::test]
async fn flag_overrides_its_variable_and_a_switch_set_to_off_is_ignored() {
    let nowhere = ["load", "--url", "http://127.0.0.1:9", "--admin-key", "key"];
    let off = [
        ("HOLDFAST_LOAD_ABANDON", "no"),
        ("HOLDFAST_LOAD_BUYERS", "0"),
    ];
    let ran = run_with(
        &off,
        &[&nowhere[..], &["--purchase", "--buyers", "3"]].concat(),
    )
    .await;
    assert_eq!(ran.code, Some(1), "only the server is missing: {ran:?}");
    let refused = run_with(&off, &nowhere).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let pace = [("HOLDFAST_SHOPPERS_PER_SECOND", "many")];
    let refused = run_with(&pace, &["demo"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("--shoppers-per-second"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn flag_precedes_variable_precedes_file_precedes_default() {
    let launch = Launch::private()
        .with("HOLDFAST_MAX_WAITLIST", "30")
        .with("HOLDFAST_DEMO_SIGN_IN", "no");
    let file = launch.data_dir().join("holdfast.toml");
    let text = "queue = 10\nmax_waitlist = 10\nmax_watchers = 10\ndemo_sign_in = true\n\
                admin_key = \"a-key-in-the-file\"\nload_buyers = 5\n";
    fs::write(&file, text).unwrap();
    let shown = launch.run(&["config", "--queue", "20"]).await;
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    let path = file.display();
    let data_dir = launch.data_dir().display();
    for line in [
        "queue = 20 # flag --queue",
        "max_waitlist = 30 # environment HOLDFAST_MAX_WAITLIST",
        &format!("max_watchers = 10 # file {path}:3"),
        "demo_sign_in = false # environment HOLDFAST_DEMO_SIGN_IN",
        &format!("# admin_key = ******** # file {path}:5"),
        &format!("load_buyers = 5 # file {path}:6"),
        "stream_interval_ms = 50 # default",
        "address_limit = \"600/60\" # default",
        &format!("data_dir = \"{data_dir}\" # environment HOLDFAST_DATA_DIR"),
        "# auditor_key: not set",
    ] {
        assert!(
            shown.stdout.lines().any(|shown| shown == line),
            "{line}\n{}",
            shown.stdout
        );
    }
    assert!(!shown.stdout.contains("a-key-in-the-file"));
    // What it prints is a file with settings.
    let copy = launch.data_dir().join("copy.toml");
    fs::write(&copy, &shown.stdout).unwrap();
    let arguments = ["config", "--config", copy.to_str().unwrap()];
    let again = launch.run(&arguments).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    let line = format!("queue = 20 # file {}:", copy.display());
    assert!(again.stdout.contains(&line), "{}", again.stdout);
}

#[tokio::test]
async fn flag_precedes_settings_of_the_environment_and_the_file_that_it_excludes() {
    let launch = Launch::private();
    let text = "audit_file = \"/nonexistent.ndjson\"\nprojections_all = true\nload_abandon = true\n\
                audit_compare = true\n";
    fs::write(launch.data_dir().join("holdfast.toml"), text).unwrap();
    let url = ["--database-url", NOWHERE];
    let away = "cannot connect to the database";
    let no_file = "/nonexistent.ndjson";
    for (variables, command, of_command, words) in [
        // Of two settings that exclude each other, the one of the higher level is used.
        (&[][..], &["audit", "verify"][..], &url[..], away),
        (
            &[("DATABASE_URL", NOWHERE)],
            &["audit", "verify"],
            &[],
            away,
        ),
        (
            &[("HOLDFAST_AUDIT_FILE", no_file)],
            &["audit", "verify"],
            &url,
            away,
        ),
        (&[], &["audit", "verify"], &[], no_file),
        (
            &[("DATABASE_URL", NOWHERE)],
            &["audit", "verify"],
            &["--file", "/nonexistent.ndjson"],
            no_file,
        ),
        (
            &[("DATABASE_URL", NOWHERE), ("HOLDFAST_AUDIT_COMPARE", "1")],
            &["audit", "replay"],
            &["--at", "1"],
            away,
        ),
        (
            &[("DATABASE_URL", NOWHERE), ("HOLDFAST_PROJECTIONS_ALL", "1")],
            &["projections", "rebuild"],
            &["live_stock"],
            away,
        ),
        (
            &[("DATABASE_URL", NOWHERE)],
            &["projections", "rebuild"],
            &[],
            away,
        ),
        (
            &[
                ("HOLDFAST_LOAD_ABANDON", "1"),
                ("HOLDFAST_ADMIN_KEY", "key"),
            ],
            &["load", "--url", "http://127.0.0.1:9"],
            &["--purchase"],
            "no response",
        ),
        (
            &[
                ("HOLDFAST_LOAD_PURCHASE", "1"),
                ("HOLDFAST_ADMIN_KEY", "key"),
            ],
            &["load", "--url", "http://127.0.0.1:9"],
            &["--abandon"],
            "no response",
        ),
        // Two values of one level are a mistake.
        (
            &[("HOLDFAST_AUDIT_AT", "1"), ("HOLDFAST_AUDIT_COMPARE", "1")],
            &["audit", "replay"],
            &[],
            "cannot be used with",
        ),
    ] {
        let launch = variables
            .iter()
            .fold(launch.clone(), |launch, (name, value)| {
                launch.with(name, value)
            });
        let ran = launch.run(&[command, of_command].concat()).await;
        assert_ne!(ran.code, Some(0), "{ran:?}");
        assert!(
            ran.stderr.contains(words),
            "{variables:?} {command:?}: {ran:?}"
        );
    }
    let both = launch.data_dir().join("both.toml");
    fs::write(&both, "audit_at = \"1\"\naudit_compare = true\n").unwrap();
    let replay = ["audit", "replay", "--config", both.to_str().unwrap()];
    let refused = launch.run(&replay).await;
    let line = format!(
        "holdfast: {}:2: audit_compare cannot be used with audit_at (line 1)\n",
        both.display()
    );
    assert_eq!((refused.code, refused.stderr), (Some(2), line));
}

#[tokio::test]
async fn value_in_the_file_satisfies_a_rule_that_asks_for_it() {
    let launch = Launch::private().with("DATABASE_URL", NOWHERE);
    let file = launch.data_dir().join("holdfast.toml");
    let id = "00000000-0000-0000-0000-000000000001";
    for (text, arguments) in [
        (
            "log_position = 1\nlog_reason = \"a test\"".to_owned(),
            &["log", "void"][..],
        ),
        (format!("audit_hold = \"{id}\""), &["audit", "history"]),
        (
            "audit_output = \"/nonexistent/events\"".to_owned(),
            &["audit", "export", "--resume"],
        ),
    ] {
        fs::write(&file, "").unwrap();
        let refused = launch.run(arguments).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("required"), "{refused:?}");
        fs::write(&file, text).unwrap();
        let ran = launch.run(arguments).await;
        assert!(
            ran.stderr.contains("cannot connect"),
            "{arguments:?}: {ran:?}"
        );
    }
    let none = launch.run(&["projections", "rebuild"]).await;
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.stderr.contains("--all"), "{none:?}");
}

#[tokio::test]
async fn file_that_every_user_may_change_is_used_only_if_it_is_named() {
    let launch = Launch::private();
    let file = launch.data_dir().join("holdfast.toml");
    fs::write(&file, "queue = 10\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let refused = launch.run(&["config"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let line = format!("holdfast: {} belongs to another user, or", file.display());
    assert!(refused.stderr.starts_with(&line), "{refused:?}");
    let named = ["config", "--config", file.to_str().unwrap()];
    let named = launch.run(&named).await;
    assert!(named.stdout.contains("queue = 10 # file"), "{named:?}");
}

/// A command that is given a database must not work on another one.
#[tokio::test]
async fn direct_url_of_less_precedence_than_the_database_url_is_not_used() {
    let launch = Launch::private().with("HOLDFAST_DIRECT_URL", "mysql://127.0.0.1/other");
    let check = ["log", "check", "--database-url", NOWHERE];
    let checked = launch.run(&check).await;
    assert!(checked.stderr.contains("cannot connect"), "{checked:?}");
    let same_level = launch.clone().with("DATABASE_URL", NOWHERE);
    let same_level = same_level.run(&["log", "check"]).await;
    assert!(
        same_level.stderr.contains("HOLDFAST_DIRECT_URL"),
        "{same_level:?}"
    );
    let shown = launch.run(&["config", "--database-url", NOWHERE]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(
        shown.stdout.contains("# direct_url: not set"),
        "{}",
        shown.stdout
    );
}

#[tokio::test]
async fn server_uses_the_file_in_its_data_directory() {
    let launch = Launch::fresh().await;
    let file = launch.data_dir().join("holdfast.toml");
    fs::write(&file, "max_watchers = 1\n").unwrap();
    let app = launch.start().await;
    let watcher = app.watch("").await;
    assert_eq!(watcher.status, 200);
    app.get("/v1/stream").await.problem(503, "unavailable");
}

#[tokio::test]
async fn faulty_file_is_refused_by_every_command_with_its_line() {
    let launch = Launch::private();
    let file = launch.data_dir().join("holdfast.toml");
    for (text, words) in [
        (
            "# typed\nqueue = \"9\"\n",
            ":2: queue must be a number, without quotes; it is a text",
        ),
        (
            "max_waitlst = 9\n",
            ":1: no setting is named max_waitlst (did you mean max_waitlist?)",
        ),
        (
            "listen = \"8080\"\n",
            ":1: listen \"8080\": must be HOST:PORT",
        ),
    ] {
        fs::write(&file, text).unwrap();
        for arguments in [&["serve"][..], &[], &["audit", "verify"], &["config"]] {
            let refused = launch.run(arguments).await;
            assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:?}");
            let start = format!("holdfast: {}", file.display());
            assert!(refused.stderr.starts_with(&start), "{}", refused.stderr);
            assert!(refused.stderr.contains(words), "{}", refused.stderr);
            assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
        }
    }
    let help = launch.run(&["serve", "--help"]).await;
    assert_eq!(help.code, Some(0), "a faulty file does not prevent help");
    let missing = launch.run(&["audit", "verify", "--config", "/nonexistent.toml"]);
    let missing = missing.await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
    let words = "holdfast: cannot read the settings in /nonexistent.toml: ";
    assert!(missing.stderr.starts_with(words), "{}", missing.stderr);
}
