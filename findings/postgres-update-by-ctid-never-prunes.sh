#!/usr/bin/env bash
# PostgreSQL 16.2: a row that is updated by its ctid is never pruned, so its table grows with every
# update although nothing holds the old versions back.
#
# Behaviour: a page is pruned on access by sequential, bitmap and index scans, not by a TID scan. A
# row that a log or a queue updates thousands of times (the head of the log, a counter) stays on one
# page if it is found by a scan and the table has a low fillfactor. If each update addresses the
# version that the one before returned, which makes the update independent of the number of dead
# versions next to a long snapshot, no version is removed until the next vacuum. Searches now and
# then help only if they come before the page is full (some 90 versions of this row): the row then
# moves to a new page, and pruning a page that was left does not enter it in the free space map.
# Output, pages after 20,000 updates with a search in 1, 0, 64 and 256 updates: few / many / few /
# many. Affected: an event log with one row for its head.
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
  -c autovacuum=off -c fsync=off -c synchronous_commit=off >"$work/server.log" 2>&1 &)
sql() { "$bin/psql" -h 127.0.0.1 -p "$port" -U me -d postgres -Atq "$@"; }
until sql -c 'SELECT 1' >/dev/null 2>&1; do sleep 0.2; done
# Updates the only row 20,000 times, each in a transaction of its own, and prints the table's pages.
# Every $1-th update searches for the row; 0: none does.
pages() {
  sql <<SQL
CREATE TABLE head_$1 (position bigint NOT NULL, hash text NOT NULL) WITH (fillfactor = 10);
INSERT INTO head_$1 VALUES (0, repeat('x', 48));
CREATE PROCEDURE update_$1() LANGUAGE plpgsql AS \$\$
DECLARE at tid;
BEGIN
  SELECT ctid INTO at FROM head_$1;
  FOR n IN 1..20000 LOOP
    IF $1 > 0 AND n % greatest($1, 1) = 0 THEN
      UPDATE head_$1 SET position = n WHERE position = n - 1 RETURNING ctid INTO at;
    ELSE
      UPDATE head_$1 SET position = n WHERE ctid = at AND position = n - 1 RETURNING ctid INTO at;
    END IF;
    COMMIT;
  END LOOP;
END \$\$;
CALL update_$1();
SELECT pg_relation_size('head_$1') / 8192 FROM head_$1 WHERE position = 20000;
SQL
}
few_or_many() { if [ "$1" -lt 20 ]; then echo few; else echo many; fi; }
said=
for every in 1 0 64 256; do
  found=$(pages "$every")
  echo "a search in $every updates: $found pages" >&2
  said+="$(few_or_many "$found") "
done
echo "$said"
[ "$said" = 'few many few many ' ]
