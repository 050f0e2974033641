#!/usr/bin/env bash
# PostgreSQL 16.2: statement_timeout does not end a commit that waits for a synchronous standby, and
# a transaction that has an xid but wrote no WAL of its own does not wait for the standby.
#
# Behaviour: the timer of statement_timeout is disabled before the implicit commit, so an INSERT
# with statement_timeout = '1s' stays in wait_event SyncRep indefinitely. A transaction that shall
# prove the replication of all earlier ones has to write a record: one that only took an xid
# (pg_current_xact_id()) commits immediately with the standby absent, while
# pg_logical_emit_message(true, …), which writes one record and needs no table, waits. Output:
# insert: SyncRep / xid only: committed / message: SyncRep. Affected: timeouts that are meant to
# bound an append, and cheap probes of the replication.
set -euo pipefail
work=$(mktemp -d); chmod 711 "$work"
cleanup() { [ -f "$work/data/postmaster.pid" ] && kill -QUIT "$(head -1 "$work/data/postmaster.pid")" || true; sleep 1; rm -rf "$work"; }
trap cleanup EXIT
python3 -m pip download -q --no-deps --only-binary :all: --python-version 3.11 -d "$work" pgserver==0.1.4
python3 -m zipfile -e "$work"/pgserver-*.whl "$work/wheel"
chmod -R a+rX "$work/wheel"; chmod a+x "$work"/wheel/pgserver/pginstall/bin/*
bin=$work/wheel/pgserver/pginstall/bin
export LD_LIBRARY_PATH=$work/wheel/pgserver.libs:$work/wheel/pgserver/pginstall/lib
port=$((20000 + RANDOM % 20000))
# PostgreSQL refuses to run as root.
as_user() { if [ "$EUID" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi; }
mkdir "$work/data"; [ "$EUID" = 0 ] && chown nobody:nogroup "$work/data"
(cd / && as_user "$bin/initdb" -D "$work/data" -U me -A trust >/dev/null)
(cd / && as_user "$bin/postgres" -D "$work/data" -p "$port" -k "$work/data" -c listen_addresses=127.0.0.1 \
  -c synchronous_standby_names=absent >"$work/server.log" 2>&1 &)
sql() { "$bin/psql" -h 127.0.0.1 -p "$port" -U me -d postgres -Atqc "$1" "${@:2}"; }
until sql 'SELECT 1' >/dev/null 2>&1; do sleep 0.2; done
PGOPTIONS='-c synchronous_commit=local' sql 'CREATE TABLE t (n int)'
# Runs a statement with a timeout of 1 s and prints the state of its session after 5 s.
after_five_seconds() {
  PGAPPNAME=$1 PGOPTIONS='-c statement_timeout=1s' sql "$2" >/dev/null 2>&1 &
  sleep 5
  local waits
  waits=$(sql "SELECT wait_event FROM pg_stat_activity WHERE application_name = '$1'")
  echo "${waits:-committed}"
}
said="insert: $(after_five_seconds one 'INSERT INTO t VALUES (1)')
xid only: $(after_five_seconds two 'SELECT pg_current_xact_id()')
message: $(after_five_seconds three "SELECT pg_logical_emit_message(true, 'p', '')")"
echo "$said"
[ "$said" = $'insert: SyncRep\nxid only: committed\nmessage: SyncRep' ]
