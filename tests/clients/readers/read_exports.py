"""Reads every format of `audit export` with third-party readers and compares each row with the log.
Usage: python read_exports.py DIRECTORY. It contains log.json (the table `events`, each text as
it is stored) and log.FORMAT of every format. Each file is read as docs/AUDIT.md recommends."""
import base64
import datetime
import hashlib
import json
import struct
import sys
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from cloudevents.core.formats.json import JSONFormat

folder = Path(sys.argv[1])
LOG = json.loads((folder / "log.json").read_text())
UTC = datetime.timezone.utc
TEXTS = ["aggregate_type", "aggregate_id", "event_type", "event_version", "payload", "metadata", "hash"]
NUMBERS = ["position", "sequence"]


def file(export):
    return str(folder / f"log.{export}")


def instant(time):
    """Converts a time with a zone, or its text, to UTC."""
    if isinstance(time, str):
        time = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
    if isinstance(time, pandas.Timestamp):
        time = time.to_pydatetime()
    assert time.tzinfo is not None, f"a time without a zone: {time!r}"
    return time.astimezone(UTC)


def same(reader, rows, expected):
    assert len(rows) == len(expected), f"{reader}: {len(rows)} rows of {len(expected)}"
    for row, wanted in zip(rows, expected):
        row = {name: row.get(name) for name in wanted}
        assert row == wanted, f"{reader}:\n{row}\nand in the log\n{wanted}"
    print(f"{reader}: {len(rows)} rows")


# Tables: every column is the stored text, number or time.

TABLE = [{**event, "recorded_at": instant(event["recorded_at"])} for event in LOG]


def same_table(reader, rows):
    same(reader, [{**row, "recorded_at": instant(row["recorded_at"])} for row in rows], TABLE)


def zoned(reader, kind, wanted):
    assert str(kind) == wanted, f"{reader} reads recorded_at as {kind}"


# Independent of the reader's time zone.
database = duckdb.connect()
database.execute("SET TimeZone = 'Asia/Tokyo'")


def queried(sql, *values):
    result = database.execute(sql, values)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row)) for row in result.fetchall()]


def kind_in(sql):
    return next(row["column_type"] for row in queried(f"DESCRIBE {sql}") if row["column_name"] == "recorded_at")


table = pyarrow.parquet.read_table(file("parquet"))
zoned("pyarrow", table.schema.field("recorded_at").type, "timestamp[ms, tz=UTC]")
same_table("pyarrow, parquet", table.to_pylist())
sql = f"SELECT * FROM '{file('parquet')}'"
zoned("DuckDB", kind_in(sql), "TIMESTAMP WITH TIME ZONE")
same_table("DuckDB, parquet", queried(sql))
frame = polars.read_parquet(file("parquet"))
zoned("polars", frame.schema["recorded_at"], "Datetime(time_unit='ms', time_zone='UTC')")
same_table("polars, parquet", frame.to_dicts())
frame = pandas.read_parquet(file("parquet"))
zoned("pandas", frame["recorded_at"].dtype, "datetime64[ms, UTC]")
same_table("pandas, parquet", frame.to_dict("records"))

# CSV has no types: without given types a reader takes "1.0" for a number, and "1.10" for 1.1.
table = pyarrow.csv.read_csv(
    file("csv"),
    parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
    convert_options=pyarrow.csv.ConvertOptions(
        column_types={name: pyarrow.string() for name in TEXTS} | {"recorded_at": pyarrow.timestamp("ms", "UTC")},
    ),
)
same_table("pyarrow, csv", table.to_pylist())
kinds = ", ".join(f"'{name}': 'VARCHAR'" for name in TEXTS)
sql = f"SELECT * FROM read_csv(?, types = {{{kinds}}}, force_not_null = {TEXTS})"
same_table("DuckDB, csv", queried(sql, file("csv")))
frame = polars.read_csv(
    file("csv"), schema_overrides={name: polars.String for name in TEXTS}, empty_string_is_null=False
)
same_table("polars, csv", frame.to_dicts())
frame = pandas.read_csv(file("csv"), dtype={name: "str" for name in TEXTS}, keep_default_na=False)
same_table("pandas, csv", frame.to_dict("records"))
# The method of docs/AUDIT.md for readers without this option.
newlines = pyarrow.csv.ParseOptions(newlines_in_values=True)
inferred = {
    "pyarrow": pyarrow.csv.read_csv(file("csv"), parse_options=newlines).column("event_version").to_pylist(),
    "DuckDB": [row["event_version"] for row in queried("SELECT * FROM read_csv(?)", file("csv"))],
    "polars": polars.read_csv(file("csv")).get_column("event_version").to_list(),
    "pandas": pandas.read_csv(file("csv"))["event_version"].to_list(),
    "pandas of ndjson, whose texts are in quotes": pandas.read_json(file("ndjson"), lines=True)["event_version"].to_list(),
}
for reader, versions in inferred.items():
    assert versions == [float(event["event_version"]) for event in LOG], f"{reader}: {versions}"

# NDJSON: payload and metadata are JSON values; readers with one type per column fill it up with
# nulls.

LINES = [
    {**event, "payload": json.loads(event["payload"]), "metadata": json.loads(event["metadata"])} for event in TABLE
]


def without_nulls(value):
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def parsed(value):
    return without_nulls(json.loads(value) if isinstance(value, str) else value or {})


def same_lines(reader, rows):
    rows = [
        {
            **row,
            "recorded_at": instant(row["recorded_at"]),
            "payload": parsed(row["payload"]),
            "metadata": parsed(row["metadata"]),
        }
        for row in rows
    ]
    same(reader, rows, [without_nulls(event) for event in LINES])


def lines_of(export):
    """Reads a file with every NDJSON reader."""
    path = file(export)
    names = list(json.loads(Path(path).read_text().split("\n")[0]))
    json_kinds = {"payload": "JSON", "metadata": "JSON", "data": "JSON", "position": "VARCHAR", "sequence": "VARCHAR"}
    kinds = ", ".join(f"'{name}': '{json_kinds.get(name, 'VARCHAR')}'" for name in names)
    sql = f"SELECT * FROM read_json(?, format = 'newline_delimited', columns = {{{kinds}}})"
    return {
        "pyarrow": pyarrow.json.read_json(path).to_pylist(),
        "DuckDB": queried(sql, path),
        "polars": polars.read_ndjson(path, infer_schema_length=None).to_dicts(),
        "pandas": pandas.read_json(path, lines=True, dtype=False).to_dict("records"),
    }


text = Path(file("ndjson")).read_text()
assert text.count("\n") == len(LOG), "an event is one line"
for reader, rows in lines_of("ndjson").items():
    rows = [{**row, **{name: int(row[name]) for name in NUMBERS}} for row in rows]
    for row in rows:
        if isinstance(row["recorded_at"], datetime.datetime) and row["recorded_at"].tzinfo is None:
            raise AssertionError(f"{reader} reads recorded_at as {row['recorded_at']!r}")
    same_lines(f"{reader}, ndjson", rows)

# CloudEvents.

first = bytearray.fromhex(LOG[0]["hash"])[:16]
first[6], first[8] = first[6] & 0x0F | 0x80, first[8] & 0x3F | 0x80
digits = first.hex()
source = f"urn:uuid:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def cloud(event):
    return {
        "specversion": "1.0",
        "id": str(event["position"]),
        "source": source,
        "type": f"holdfast.{event['event_type']}",
        "subject": event["aggregate_id"] or None,
        "time": event["recorded_at"],
        "datacontenttype": "application/json",
        "aggregatetype": event["aggregate_type"],
        "eventversion": event["event_version"],
        "position": str(event["position"]),
        "sequence": str(event["sequence"]),
        "hash": event["hash"],
        "data": without_nulls(event["payload"]),
    }


clouds = [cloud(event) for event in LINES]
lines = Path(file("cloudevents")).read_text().split("\n")[:-1]
assert len(lines) == len(LOG), "an event is one line"
read = [JSONFormat().read(None, line) for line in lines]
read = [{**event.get_attributes(), "data": parsed(event.get_data())} for event in read]
same("CloudEvents SDK, cloudevents", [{**event, "time": instant(event["time"])} for event in read], clouds)
for reader, rows in lines_of("cloudevents").items():
    rows = [{**row, "time": instant(row["time"]), "data": parsed(row["data"])} for row in rows]
    for row in rows:
        # pandas has a float instead of a missing value.
        if row.get("subject") != row.get("subject"):
            row["subject"] = None
    same(f"{reader}, cloudevents", rows, clouds)


# The hash can be recomputed from a CloudEvent, too: docs/AUDIT.md, "The encoding".
def integer(number):
    return struct.pack(">q", number)


def hashed(text):
    return integer(len(text)) + text


head = bytes(32)
for line in lines:
    event = json.loads(line)
    shown = line[line.index(',"data":') + 8 : -1].encode()
    payload = base64.b64decode(event["payloadbase64"]) if "payloadbase64" in event else shown
    metadata = base64.b64decode(event["metadatabase64"]) if "metadatabase64" in event else b"{}"
    parts = [integer(int(event["position"])), integer(round(instant(event["time"]).timestamp() * 1000))]
    parts += [hashed(event.get(name, "").encode()) for name in ("aggregatetype", "subject")]
    parts += [integer(int(event["sequence"])), hashed(event["type"].removeprefix("holdfast.").encode())]
    parts += [hashed(event["eventversion"].encode()), hashed(payload), hashed(metadata)]
    head = hashlib.sha256(b"holdfast.event.v1" + head + b"".join(parts)).digest()
    assert head.hex() == event["hash"], f"the hash of {line}"
