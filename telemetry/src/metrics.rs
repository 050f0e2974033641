//! The metrics of `/metrics` in OTLP: under the names of the semantic conventions where one exists,
//! else under their own.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use prometheus::proto::{MetricFamily, MetricType};

use super::span::text;

/// A metric with a name of the conventions.
struct Conventional {
    ours: &'static str,
    name: &'static str,
    /// Labels, by their names in the conventions.
    labels: &'static [(&'static str, &'static str)],
    fixed: &'static [(&'static str, &'static str)],
}

const CONVENTIONAL: [Conventional; 2] = [
    Conventional {
        ours: "holdfast_http_request_duration_seconds",
        name: "http.server.request.duration",
        labels: &[("route", "http.route"), ("method", "http.request.method")],
        fixed: &[("url.scheme", "http")],
    },
    Conventional {
        ours: "holdfast_log_append_duration_seconds",
        name: "db.client.operation.duration",
        labels: &[],
        fixed: &[
            ("db.system.name", "postgresql"),
            ("db.operation.name", "append"),
        ],
    },
];

/// Returns the metrics at `now`; their counters began at `since`. Both are nanoseconds since the
/// Unix epoch.
pub(super) fn of(families: &[MetricFamily], since: u64, now: u64) -> Vec<Metric> {
    families
        .iter()
        .filter_map(|family| metric(family, since, now))
        .collect()
}

fn metric(family: &MetricFamily, since: u64, now: u64) -> Option<Metric> {
    let ours = family.name();
    let known = CONVENTIONAL.iter().find(|known| known.ours == ours);
    let (labels, fixed) = known.map_or((&[][..], &[][..]), |known| (known.labels, known.fixed));
    let attributes = |metric: &prometheus::proto::Metric| -> Vec<KeyValue> {
        let pairs = metric.get_label().iter().map(|pair| {
            let named = labels.iter().find(|(ours, _)| *ours == pair.name());
            text(named.map_or(pair.name(), |(_, name)| name), pair.value())
        });
        let fixed = fixed.iter().map(|(name, value)| text(name, value));
        pairs.chain(fixed).collect()
    };
    let number = |metric: &prometheus::proto::Metric, value: f64| NumberDataPoint {
        attributes: attributes(metric),
        start_time_unix_nano: since,
        time_unix_nano: now,
        value: Some(Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let metrics = family.get_metric();
    let temporality = AggregationTemporality::Cumulative.into();
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: metrics
                .iter()
                .map(|metric| number(metric, metric.get_counter().get_value()))
                .collect(),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        MetricType::GAUGE => Data::Gauge(Gauge {
            data_points: metrics
                .iter()
                .map(|metric| number(metric, metric.get_gauge().get_value()))
                .collect(),
        }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: metrics
                .iter()
                .map(|metric| HistogramDataPoint {
                    attributes: attributes(metric),
                    start_time_unix_nano: since,
                    time_unix_nano: now,
                    ..distribution(metric.get_histogram())
                })
                .collect(),
            aggregation_temporality: temporality,
        }),
        // The program has none.
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    Some(Metric {
        name: known.map_or(ours, |known| known.name).to_owned(),
        description: family.help().to_owned(),
        unit: unit(ours).to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

/// Returns the buckets, which Prometheus adds up and OTLP does not.
fn distribution(histogram: &prometheus::proto::Histogram) -> HistogramDataPoint {
    let mut below = 0;
    let (mut bounds, mut counts) = (vec![], vec![]);
    for bucket in histogram.get_bucket() {
        if bucket.upper_bound().is_finite() {
            bounds.push(bucket.upper_bound());
            counts.push(bucket.cumulative_count().saturating_sub(below));
            below = bucket.cumulative_count();
        }
    }
    let count = histogram.get_sample_count().max(below);
    counts.push(count - below);
    HistogramDataPoint {
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: counts,
        explicit_bounds: bounds,
        ..HistogramDataPoint::default()
    }
}

/// Returns the unit (UCUM), which Prometheus has in the name.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "1",
    }
}

#[cfg(test)]
mod tests {
    use prometheus::core::Collector;
    use prometheus::{HistogramOpts, HistogramVec};

    use super::*;

    #[test]
    fn histogram_keeps_its_bounds_and_has_counts_of_each_bucket() {
        let options = HistogramOpts::new("holdfast_http_request_duration_seconds", "Help.");
        let options = options.buckets(vec![0.000_5, 0.001, 0.002_5, 0.005]);
        let histogram = HistogramVec::new(options, &["route", "method"]).unwrap();
        for seconds in [0.000_4, 0.002, 0.002, 9.0] {
            histogram
                .with_label_values(&["/v1/drops", "GET"])
                .observe(seconds);
        }
        let metrics = of(&histogram.collect(), 1, 2);
        assert_eq!(metrics[0].name, "http.server.request.duration");
        assert_eq!(metrics[0].unit, "s");
        let Some(Data::Histogram(data)) = &metrics[0].data else {
            panic!("{metrics:?}");
        };
        let point = &data.data_points[0];
        assert_eq!(point.explicit_bounds, [0.000_5, 0.001, 0.002_5, 0.005]);
        assert_eq!(point.bucket_counts, [1, 0, 2, 0, 1]);
        assert_eq!((point.count, point.time_unix_nano), (4, 2));
        let names: Vec<&str> = point
            .attributes
            .iter()
            .map(|one| one.key.as_str())
            .collect();
        assert_eq!(names, ["http.request.method", "http.route", "url.scheme"]);
    }
}
