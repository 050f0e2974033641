//! The command line: where flags stand, what help shows, and how a failure is printed.

use std::fs;
use std::process::Command;

use harness::{App, Launch, run};

use super::NOWHERE;

/// A variable that is left over in a shell or a unit file must not confirm a repair.
#[tokio::test]
async fn repair_is_confirmed_on_the_command_line_only() {
    let app = App::start().await;
    app.create_drop(1, serde_json::json!({})).await;
    let cut = ["log", "cut", "--after", "0", "--reason", "a test"];
    let launch = ["HOLDFAST_LOG_YES", "HOLDFAST_LOG_FORCE", "HOLDFAST_YES"]
        .iter()
        .fold(app.launch().clone(), |launch, name| launch.with(name, "1"));
    let planned = launch.run(&cut).await;
    assert_eq!(planned.code, Some(0), "{planned:?}");
    assert!(
        planned.stdout.contains("nothing was changed"),
        "{planned:?}"
    );
    let refused = launch.run(&[&cut[..], &["--yes"]].concat()).await;
    assert_eq!(refused.code, Some(1), "the server runs: {refused:?}");
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    assert_eq!(app.requested_events().await, 1);
    let help = launch.run(&["log", "cut", "--help"]).await;
    assert!(!help.stdout.contains("HOLDFAST_LOG_YES"), "{}", help.stdout);
    assert!(
        !help.stdout.contains("HOLDFAST_LOG_FORCE"),
        "{}",
        help.stdout
    );
}

#[tokio::test]
async fn global_flags_stand_before_and_after_a_command_and_others_after_it() {
    let launch = Launch::private();
    let file = launch.data_dir().join("shop.toml");
    fs::write(&file, "queue = 10\n").unwrap();
    let file = file.to_str().unwrap();
    let line = format!("queue = 10 # file {file}:1");
    for arguments in [
        &["--config", file, "config"][..],
        &["config", "--config", file],
        &["--config", file, "--log-format", "json", "config"],
    ] {
        let shown = launch.run(arguments).await;
        assert_eq!(shown.code, Some(0), "{arguments:?}: {shown:?}");
        assert!(shown.stdout.contains(&line), "{}", shown.stdout);
    }
    let inner = ["audit", "--config", "/nonexistent.toml", "verify"];
    let refused = launch.run(&inner).await;
    assert!(refused.stderr.contains("/nonexistent.toml"), "{refused:?}");
    let misplaced = launch.run(&["--queue", "5", "serve"]).await;
    let line = "holdfast: --queue stands before the command serve: flags of a command follow it\n";
    assert_eq!((misplaced.code, misplaced.stderr.as_str()), (Some(2), line));
}

#[tokio::test]
async fn command_that_needs_no_settings_reads_none() {
    // Unreadable for every user, as a file of another user is.
    let launch = Launch::private().with("HOLDFAST_QUEUE", "x");
    fs::create_dir(launch.data_dir().join("holdfast.toml")).unwrap();
    for arguments in [
        &["licences"][..],
        &["man"],
        &["completions", "bash"],
        &["theme", "example"],
        &["audit", "schema"],
    ] {
        let ran = launch.run(arguments).await;
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
    let refused = launch.with("HOLDFAST_QUEUE", "9").run(&["config"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("cannot read the settings in"),
        "{refused:?}"
    );
}

/// A collector of log lines reads nothing else.
#[tokio::test]
async fn failure_is_a_json_line_where_log_lines_are() {
    let launch = Launch::private();
    let file = launch.data_dir().join("json.toml");
    fs::write(&file, "log_format = \"json\"\n").unwrap();
    let with_file = ["--config", file.to_str().unwrap(), "serve", "--queue", "x"];
    let launch = launch.with("HOLDFAST_LISTEN", "127.0.0.1:0");
    let json = launch.clone().with("HOLDFAST_LOG_FORMAT", "json");
    for (launch, arguments, code, words) in [
        (&json, &["serve", "--queue", "x"][..], 2, "--queue"),
        (&json, &["serve", "--cue", "1"], 2, "--cue"),
        (&json, &["log", "void"], 2, "--reason"),
        (
            &json,
            &["serve", "--config", "/nonexistent.toml"],
            2,
            "/nonexistent.toml",
        ),
        (
            &json,
            &["serve", "--buyer-secret", ""],
            2,
            "HOLDFAST_BUYER_SECRET",
        ),
        (
            &json,
            &["serve", "--database-url", NOWHERE],
            1,
            "cannot connect",
        ),
        (&json, &["audit", "verify"], 2, "no log found"),
        (
            &launch,
            &["serve", "--log-format", "json", "--queue", "x"],
            2,
            "--queue",
        ),
        (&launch, &with_file, 2, "--queue"),
    ] {
        let ended = launch.run(arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        let lines: Vec<serde_json::Value> = ended
            .stderr
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let fatal = lines.last().unwrap();
        assert_eq!(
            (&fatal["level"], &fatal["target"]),
            (&"ERROR".into(), &"holdfast".into())
        );
        assert!(fatal["timestamp"].is_string(), "{fatal}");
        assert!(
            fatal["message"].as_str().unwrap().contains(words),
            "{fatal}"
        );
    }
}

#[tokio::test]
async fn help_shows_no_value_of_a_variable() {
    let secret = "https://ann:hunter2@127.0.0.1/hunter2";
    let launch = [
        "DATABASE_URL",
        "HOLDFAST_BUYER_JWKS",
        "HOLDFAST_PUBLIC_URL",
        "HOLDFAST_STRIPE_API_BASE",
        "HOLDFAST_WEBHOOK_NETWORKS",
        "HOLDFAST_DATA_DIR",
        "HOLDFAST_CONFIG",
    ]
    .iter()
    .fold(Launch::private(), |launch, name| launch.with(name, secret));
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["help", "demo"],
        &["audit", "-h"],
    ] {
        let help = launch.run(arguments).await;
        assert_eq!(help.code, Some(0), "{help:?}");
        assert!(!help.stdout.contains("hunter2"), "{}", help.stdout);
    }
    let help = launch.run(&["serve", "--help"]).await;
    assert!(
        help.stdout.contains("[env: HOLDFAST_BUYER_JWKS]"),
        "{}",
        help.stdout
    );
}

#[tokio::test]
async fn manual_and_completions_have_every_command() {
    let launch = Launch::private();
    let help = launch.run(&["--help"]).await.stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.split("\n\n").next().unwrap().lines();
    let commands: Vec<&str> = commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"serve") && commands.contains(&"config"));
    let page = launch.run(&["man"]).await;
    assert_eq!(page.code, Some(0), "{page:?}");
    assert!(page.stdout.contains(".TH holdfast 1"), "{}", page.stdout);
    let folder = launch.data_dir().join("man1");
    let written = launch.run(&["man", folder.to_str().unwrap()]).await;
    assert_eq!((written.code, written.stderr.as_str()), (Some(0), ""));
    for command in &commands {
        let name = format!("holdfast\\-{command}(1)");
        assert!(page.stdout.contains(&name), "{name}: {}", page.stdout);
        let file = folder.join(format!("holdfast-{command}.1"));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{text}");
    }
    let serve = fs::read_to_string(folder.join("holdfast-serve.1")).unwrap();
    assert!(serve.contains("HOLDFAST_MAX_WAITLIST"), "{serve}");
    for shell in ["bash", "zsh", "fish"] {
        let script = launch.run(&["completions", shell]).await;
        assert_eq!(script.code, Some(0), "{script:?}");
        for command in &commands {
            assert!(script.stdout.contains(command), "{shell}: {command}");
        }
        assert!(script.stdout.contains("max-waitlist"), "{shell}");
        if shell == "bash" {
            let file = launch.data_dir().join("completions");
            fs::write(&file, &script.stdout).unwrap();
            run(Command::new("bash").arg("-n").arg(&file));
        }
    }
    let unknown = launch.run(&["completions", "cmd"]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
}
