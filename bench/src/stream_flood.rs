//! Clients of the live stream that send without pause, in a separate process.
//!
//! Each client opens a stream and then writes as fast as the server reads; the server's output is
//! read and discarded. A disconnected client reconnects, as an attacker would.
//! Limit: one thread; two clients send about 100 MB/s each on loopback.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::error::{BenchError, Doing};
use crate::process::{Process, Reaper, lines_of_stdin};
use crate::wire::open_stream;

const CONNECTING: Duration = Duration::from_secs(60);
const CHUNK: usize = 64 * 1024;
/// The pause after a connection that ended or was refused.
const PAUSE: Duration = Duration::from_millis(20);

/// Options of the internal command `flood-stream`.
#[derive(Debug, Clone, Args)]
pub struct Flood {
    #[arg(long)]
    pub address: SocketAddr,
    #[arg(long)]
    pub drop_id: Uuid,
    #[arg(long)]
    pub clients: usize,
}

/// The result of the clients.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Flooded {
    /// The duration, in seconds.
    pub seconds: f64,
    /// Bytes that the server's side accepted.
    pub bytes: u64,
    /// Streams that were opened.
    pub opened: u64,
    /// Streams that the server ended.
    pub disconnected: u64,
}

/// The running process, seen from the run.
#[derive(Debug)]
pub struct StreamFlood(Process);

impl StreamFlood {
    /// Starts it, and waits until the first client sends.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn start(reaper: &Reaper, flood: &Flood) -> Result<Self, BenchError> {
        let mut command = Command::new(std::env::current_exe().doing("find this program")?);
        command
            .arg("flood-stream")
            .args(["--address", &flood.address.to_string()])
            .args(["--drop-id", &flood.drop_id.to_string()])
            .args(["--clients", &flood.clients.to_string()]);
        let mut process = Process::spawn(reaper, "the stream flood", command)?;
        process.line("sending", CONNECTING).await?;
        Ok(Self(process))
    }

    /// # Errors
    /// [`BenchError`].
    pub async fn end(mut self) -> Result<Flooded, BenchError> {
        self.0.send_line("end").await?;
        let text = self.0.line("result", CONNECTING).await?;
        serde_json::from_str(&text).doing("read the stream flood's result")
    }
}

/// Runs the flood.
pub fn flood(flood: &Flood) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => LocalSet::new().block_on(&runtime, run(flood)),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the stream flood failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flood: &Flood) -> std::io::Result<()> {
    let tally = Rc::new(RefCell::new(Flooded::default()));
    let began = Instant::now();
    for _client in 0..flood.clients {
        spawn_local(client(flood.clone(), Rc::clone(&tally)));
    }
    // Any line, or the end of the run, ends the flood.
    lines_of_stdin().recv().await;
    let mut tally = tally.borrow().clone();
    tally.seconds = began.elapsed().as_secs_f64();
    println!("result {}", serde_json::to_string(&tally)?);
    Ok(())
}

async fn client(flood: Flood, tally: Rc<RefCell<Flooded>>) {
    loop {
        if let Ok(stream) = open_stream(flood.address, flood.drop_id).await {
            let opened = {
                let mut tally = tally.borrow_mut();
                tally.opened += 1;
                tally.opened
            };
            if opened == 1 {
                println!("sending");
            }
            send_until_gone(stream, &tally).await;
            tally.borrow_mut().disconnected += 1;
        }
        sleep(PAUSE).await;
    }
}

async fn send_until_gone(stream: TcpStream, tally: &RefCell<Flooded>) {
    let (mut receiver, mut sender) = stream.into_split();
    let reading = spawn_local(async move { copy(&mut receiver, &mut sink()).await });
    let chunk = vec![b'x'; CHUNK];
    while let Ok(taken) = sender.write(&chunk).await {
        tally.borrow_mut().bytes += taken as u64;
        // A server that only half closes has ended the stream as well.
        if reading.is_finished() {
            return;
        }
    }
    reading.abort();
}
