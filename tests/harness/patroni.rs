//! A real Patroni cluster of three PostgreSQL servers and one etcd, on loopback.
//!
//! Promise: the nodes run with `ops/patroni.yml`, except for addresses, directories, passwords and
//! shorter times; nothing is left behind, however the test program ends. A service `etcd` or
//! `patroni` of the machine is neither used nor disturbed: every port is a free one.
//! Limit: needs Patroni, etcd and an installed PostgreSQL with `pg_basebackup` and `pg_rewind`; as
//! root where apt-get exists, Debian's packages of the first two are installed if missing. `fsync`
//! is off: servers crash in these tests, the machine does not.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::Installed;
use private_postgres::testing::{TestDatabase, spawn_sweeper, temporary_directory};
use reqwest::Client;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Executor};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::debian::{install, on_path, run};
use crate::eventually;

const NAMES: [&str; 3] = ["one", "two", "three"];

/// The time after which a silent leader is replaced, and the interval of Patroni's own checks; in
/// seconds. In a lease of etcd of less than two seconds a busy machine would find no time to renew
/// it.
const TIMES: [(&str, &str); 3] = [
    ("ttl: 20", "ttl: 5"),
    ("loop_wait: 5", "loop_wait: 1"),
    ("retry_timeout: 5", "retry_timeout: 2"),
];

/// Ends every process that works in the directory: first those that would start others again.
const SWEEP: &str = r#"
read -r never
in_directory() {
  for link in /proc/[0-9]*/cwd; do
    case "$(readlink "$link" 2>/dev/null)" in "$1"/*/data) kind=server ;; "$1"/*) kind=other ;; *) continue ;; esac
    [ "$kind" != "$2" ] || { pid="${link#/proc/}"; echo "${pid%/cwd}"; }
  done
}
kill -KILL $(in_directory "$1" other) 2>/dev/null
kill -QUIT $(in_directory "$1" server) 2>/dev/null
seconds=0
while [ -n "$(in_directory "$1" server)" ] && [ "$seconds" -lt 30 ]; do sleep 1; seconds=$((seconds + 1)); done
rm -rf "$1"
"#;

/// The cluster. Dropping it ends every process of it.
#[derive(Debug)]
pub struct Patroni {
    directory: PathBuf,
    installed: Installed,
    members: [Member; 3],
    password: String,
    client: Client,
    etcd: Child,
    sweeper: Option<Child>,
}

#[derive(Debug)]
struct Member {
    name: &'static str,
    home: PathBuf,
    port: u16,
    rest_port: u16,
    process: Option<Child>,
}

/// A failover, in time since the end of the former leader.
#[derive(Debug, Clone, Copy)]
pub struct Promotion {
    /// Patroni's REST interface reported another leader.
    pub promoted: Duration,
    /// The other leader completed a synchronous commit of a session that was waiting for it.
    pub committed: Duration,
}

impl Patroni {
    /// Starts the cluster, and returns once two standbys follow its leader, one synchronously.
    ///
    /// # Panics
    /// If a program is missing or fails.
    pub async fn start() -> Self {
        let mut cluster = spawn_blocking(Self::create)
            .await
            .expect("the cluster is created");
        for index in 0..NAMES.len() {
            cluster.revive(index);
        }
        cluster.until_whole().await;
        cluster
    }

    fn create() -> Self {
        let is_missing = || on_path("patroni").is_none() || on_path("etcd").is_none();
        if is_missing() {
            install(&["patroni", "etcd-server"]);
        }
        assert!(
            !is_missing(),
            "this test needs Patroni and etcd (Debian: apt-get install patroni etcd-server)"
        );
        let installed = Installed::with(&["postgres", "initdb", "pg_basebackup", "pg_rewind"])
            .expect("an account for PostgreSQL exists")
            .expect("an installed PostgreSQL with pg_basebackup (Debian: postgresql)");
        let directory = temporary_directory().expect("the temporary directory is writable");
        let sweeper = spawn_sweeper(SWEEP, &directory).expect("a shell is available");
        let [client, peer, ports @ ..] = free_ports::<8>();
        let etcd = start_etcd(&installed, &directory.join("etcd"), client, peer);
        let password = Uuid::new_v4().simple().to_string();
        let mut members = NAMES.into_iter().zip(ports.chunks(2)).map(|(name, ports)| {
            let member = Member {
                name,
                home: directory.join(name),
                port: ports[0],
                rest_port: ports[1],
                process: None,
            };
            installed
                .create_dir(&member.home)
                .expect("it can be created");
            member.configure(&installed, client, &password);
            member
        });
        let mut next = || members.next().expect("three names");
        let members = [next(), next(), next()];
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(2));
        Self {
            directory,
            installed,
            members,
            password,
            client: http.build().expect("an HTTP client can be built"),
            etcd,
            sweeper: Some(sweeper),
        }
    }

    /// Creates a role and an empty database of the same name, and returns the database with the
    /// address of all three servers.
    ///
    /// # Panics
    /// If the leader does not respond.
    pub async fn database(&self, name: &str) -> TestDatabase {
        let leader = self.leader().await;
        let mut operator = self.operator(leader).await.expect("the leader responds");
        let password = &self.password;
        for statement in [
            format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"),
            format!("CREATE DATABASE {name} OWNER {name}"),
        ] {
            let created = operator.execute(statement.as_str()).await;
            created.expect("the leader accepts writes");
        }
        let hosts = self.members.each_ref();
        let hosts = hosts.map(|member| format!("127.0.0.1:{}", member.port));
        let hosts = hosts.join(",");
        let options = self.options(leader).database(name);
        TestDatabase {
            url: format!(
                "postgres://{name}:{password}@{hosts}/{name}?target_session_attrs=read-write"
            ),
            pool: PgPoolOptions::new().connect_lazy_with(options),
        }
    }

    /// The index of the leader, once there is one.
    pub async fn leader(&self) -> usize {
        eventually("the cluster has a leader", || async {
            for index in 0..self.members.len() {
                if self.is_leader(index).await {
                    return Some(index);
                }
            }
            None
        })
        .await
    }

    /// Sends SIGKILL to the leader: to its Patroni, to PostgreSQL and to all of its sessions.
    /// Returns its index.
    ///
    /// # Panics
    /// If the leader cannot be killed.
    pub async fn kill_leader(&mut self) -> usize {
        let leader = self.leader().await;
        let member = &mut self.members[leader];
        let server = member.server();
        let mut patroni = member.process.take().expect("it is running");
        patroni.kill().expect("it is our child");
        for pid in sessions_of(server).into_iter().chain([server]) {
            // A session may have ended by itself.
            let _ended = kill(pid, Signal::SIGKILL);
        }
        patroni.wait().expect("it is our child");
        leader
    }

    /// Waits until another node than `former` is the leader, and until it commits; the times are
    /// since `since`.
    ///
    /// # Panics
    /// If no other node becomes the leader.
    pub async fn promotion(&self, former: usize, since: Instant) -> Promotion {
        let leader = eventually("another node is the leader", || async {
            for index in (0..self.members.len()).filter(|index| *index != former) {
                if self.is_leader(index).await {
                    return Some(index);
                }
            }
            None
        })
        .await;
        let promoted = since.elapsed();
        eventually("it commits", || async {
            let mut session = self.operator(leader).await.ok()?;
            let commit = "SELECT pg_logical_emit_message(true, 'test', '')";
            session.execute(commit).await.ok()
        })
        .await;
        Promotion {
            promoted,
            committed: since.elapsed(),
        }
    }

    /// Starts the Patroni of a node that was killed, which joins the cluster.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn revive(&mut self, index: usize) {
        let member = &mut self.members[index];
        let program = on_path("patroni").expect("it was found before");
        let mut command = self.installed.other_command(&program, &member.home);
        let log = File::options()
            .create(true)
            .append(true)
            .open(member.log())
            .expect("the log can be written");
        let errors = log.try_clone().expect("the log can be written");
        command
            .arg(member.file())
            .env("LC_ALL", "C.UTF-8")
            .stdout(log)
            .stderr(errors);
        member.process = Some(command.spawn().expect("Patroni starts"));
    }

    /// Waits until all three nodes run, two as standbys without lag and one of them synchronously.
    pub async fn until_whole(&self) {
        eventually("two standbys follow the leader", || async {
            let members = self.roles().await?;
            let count = |wanted: &[&str]| {
                let of_role = |role: &&str| wanted.contains(role);
                members.iter().map(String::as_str).filter(of_role).count()
            };
            let is_whole = count(&["leader running"]) == 1
                && count(&["sync_standby running", "sync_standby streaming"]) == 1
                && count(&["replica running", "replica streaming"]) == 1;
            is_whole.then_some(())
        })
        .await;
        let leader = self.leader().await;
        eventually("both of them replicate", || async {
            let mut operator = self.operator(leader).await.ok()?;
            let replicating = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'
                 AND replay_lsn >= pg_current_wal_lsn()";
            let replicating: i64 = sqlx::query_scalar(replicating)
                .fetch_one(&mut operator)
                .await
                .ok()?;
            (replicating == 2).then_some(())
        })
        .await;
    }

    /// Hands the leadership over to the synchronous standby by `patronictl switchover`. Returns the
    /// index of the former leader.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn switch_over(&self) -> usize {
        let former = self.leader().await;
        let mut command = self.patronictl();
        command.args(["switchover", "shop", "--force", "--leader"]);
        command.arg(self.members[former].name);
        let said = spawn_blocking(move || run(&mut command)).await;
        let said = said.expect("it ends");
        assert!(said.contains("Successfully switched over"), "{said}");
        former
    }

    fn patronictl(&self) -> Command {
        let program = on_path("patronictl").expect("it comes with Patroni");
        let member = &self.members[0];
        let mut command = self.installed.other_command(&program, &member.home);
        command.arg("-c").arg(member.file());
        command.env("LC_ALL", "C.UTF-8");
        command
    }

    /// Role and state of each member, as some node sees them.
    async fn roles(&self) -> Option<Vec<String>> {
        for member in &self.members {
            let address = format!("http://127.0.0.1:{}/cluster", member.rest_port);
            let Ok(response) = self.client.get(address).send().await else {
                continue;
            };
            let body: Value = serde_json::from_slice(&response.bytes().await.ok()?).ok()?;
            let words = |member: &Value| {
                let word = |name: &str| member[name].as_str().unwrap_or_default().to_owned();
                format!("{} {}", word("role"), word("state"))
            };
            return Some(body["members"].as_array()?.iter().map(words).collect());
        }
        None
    }

    async fn is_leader(&self, index: usize) -> bool {
        let address = format!("http://127.0.0.1:{}/primary", self.members[index].rest_port);
        let response = self.client.get(address).send().await;
        response.is_ok_and(|response| response.status() == 200)
    }

    fn options(&self, index: usize) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.members[index].port)
            .username("postgres")
            .password(&self.password)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
    }

    async fn operator(&self, index: usize) -> Result<PgConnection, sqlx::Error> {
        self.options(index).connect().await
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for member in &self.members {
                let log = fs::read_to_string(member.log()).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(40)..].join("\n");
                eprintln!(
                    "--- end of the log of node {} ---\n{last}\n---",
                    member.name
                );
            }
        }
        if let Some(mut sweeper) = self.sweeper.take() {
            drop(sweeper.stdin.take());
            let _ended = sweeper.wait();
        }
        let processes = self
            .members
            .iter_mut()
            .filter_map(|one| one.process.as_mut());
        for child in processes.chain([&mut self.etcd]) {
            let _ended = child.wait();
        }
        debug_assert!(!self.directory.exists(), "the directory is removed");
    }
}

impl Member {
    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn file(&self) -> PathBuf {
        self.home.join("patroni.yml")
    }

    fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// Writes `ops/patroni.yml` for this node.
    fn configure(&self, installed: &Installed, etcd: u16, password: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let file = root.expect("the workspace").join("ops/patroni.yml");
        let home = self.home.display();
        let replacements = [
            ("name: one", format!("name: {}", self.name)),
            ("10.0.0.21:8008", format!("127.0.0.1:{}", self.rest_port)),
            ("10.0.0.21:5432", format!("127.0.0.1:{}", self.port)),
            (
                "10.0.0.31:2379,10.0.0.32:2379,10.0.0.33:2379",
                format!("127.0.0.1:{etcd}"),
            ),
            (
                "wal_keep_size: 4GB",
                // Segments of shared memory are files of the cluster, which are removed with it.
                "wal_keep_size: 256MB\n        fsync: \"off\"\n        dynamic_shared_memory_type: mmap"
                    .to_owned(),
            ),
            ("data-checksums", "data-checksums\n    - no-sync".to_owned()),
            (
                "/var/lib/postgresql/15/shop",
                self.data().display().to_string(),
            ),
            (
                "/usr/lib/postgresql/15/bin",
                installed.bin_dir().display().to_string(),
            ),
            ("/var/lib/postgresql/patroni.pgpass", format!("{home}/pgpass")),
            ("/var/run/postgresql", home.to_string()),
            ("10.0.0.0/24", "127.0.0.1/32".to_owned()),
            ("change-me", password.to_owned()),
        ];
        let times = TIMES.map(|(from, to)| (from, to.to_owned()));
        let text = fs::read_to_string(file).expect("ops/patroni.yml exists");
        let replaced = replacements.into_iter().chain(times);
        let text = replaced.fold(text, |text, (from, to)| {
            assert!(text.contains(from), "ops/patroni.yml has no {from}");
            text.replace(from, &to)
        });
        fs::write(self.file(), text).expect("the directory is writable");
    }

    /// The process of PostgreSQL.
    fn server(&self) -> Pid {
        let file = self.data().join("postmaster.pid");
        let lock = fs::read_to_string(file).expect("PostgreSQL is running");
        let pid = lock.lines().next().and_then(|line| line.parse().ok());
        Pid::from_raw(pid.expect("the first line is the process"))
    }
}

/// The processes that PostgreSQL's `server` has started.
fn sessions_of(server: Pid) -> Vec<Pid> {
    let parent = format!("PPid:\t{server}");
    let processes = fs::read_dir("/proc").expect("Linux");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == parent)
    };
    pids.filter(is_child).map(Pid::from_raw).collect()
}

fn start_etcd(installed: &Installed, home: &Path, client: u16, peer: u16) -> Child {
    installed.create_dir(home).expect("it can be created");
    let program = on_path("etcd").expect("it was found before");
    let (client, peer) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let mut command = installed.other_command(&program, home);
    command.args(["--name", "etcd", "--data-dir"]);
    command.arg(home.join("store"));
    for (option, value) in [
        ("--listen-client-urls", &client),
        ("--advertise-client-urls", &client),
        ("--listen-peer-urls", &peer),
        ("--initial-advertise-peer-urls", &peer),
        ("--initial-cluster", &format!("etcd={peer}")),
    ] {
        command.arg(option).arg(value);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("etcd starts")
}

/// Distinct free ports.
fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("the listener is bound").port())
}
