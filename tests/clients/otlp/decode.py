"""Decodes the requests in a folder, NUMBER.traces and NUMBER.metrics, into one JSON line."""

import json
import pathlib
import sys

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def span(resource, one):
    assert one.start_time_unix_nano <= one.end_time_unix_nano, one
    return {
        "resource": resource,
        "trace": one.trace_id.hex(),
        "id": one.span_id.hex(),
        "parent": one.parent_span_id.hex(),
        "name": one.name,
        "kind": Span.SpanKind.Name(one.kind),
        "status": Status.StatusCode.Name(one.status.code),
        "attributes": attributes(one.attributes),
        "start": one.start_time_unix_nano,
        "end": one.end_time_unix_nano,
    }


def point(kind, one):
    found = {"attributes": attributes(one.attributes)}
    assert one.time_unix_nano > 0
    if kind == "histogram":
        assert len(one.bucket_counts) == len(one.explicit_bounds) + 1
        assert sum(one.bucket_counts) == one.count
        return {**found, "bounds": list(one.explicit_bounds), "count": one.count}
    return {**found, "value": getattr(one, one.WhichOneof("value"))}


def metric(resource, one):
    kind = one.WhichOneof("data")
    points = getattr(one, kind).data_points
    return {
        "resource": resource,
        "name": one.name,
        "unit": one.unit,
        "kind": kind,
        "points": [point(kind, found) for found in points],
    }


spans, metrics = [], []
for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    if file.suffix == ".traces":
        for group in ExportTraceServiceRequest.FromString(file.read_bytes()).resource_spans:
            resource = attributes(group.resource.attributes)
            for scope in group.scope_spans:
                assert scope.scope.name == "holdfast"
                spans += [span(resource, one) for one in scope.spans]
    else:
        for group in ExportMetricsServiceRequest.FromString(file.read_bytes()).resource_metrics:
            resource = attributes(group.resource.attributes)
            for scope in group.scope_metrics:
                metrics += [metric(resource, one) for one in scope.metrics]
print(json.dumps({"spans": spans, "metrics": metrics}))
