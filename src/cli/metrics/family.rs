//! Metrics with values that were counted elsewhere. `prometheus_client` has types for values that it counts itself.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use standpipe::Durations;

/// Labels with their values. None of them is a text that a client has chosen.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// Adds a value that may decrease.
pub(crate) fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

/// Adds a number. The name of its sample ends with `_total`.
pub(crate) fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

/// Adds a number of seconds. The name of its sample ends with `_total`.
pub(crate) fn seconds(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let counter = Counter::<f64, AtomicU64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

/// Adds numbers with labels. Numbers with the same labels are added up.
pub(crate) fn counters(
    registry: &mut Registry,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (Labels, u64)>,
) {
    let family = Family::<Labels, Counter>::default();
    for (labels, value) in rows {
        family.get_or_create(&labels).inc_by(value);
    }
    registry.register(name, help, family);
}

/// Adds a gauge with the value 1, whose labels say something.
pub(crate) fn info(registry: &mut Registry, name: &str, help: &str, labels: Labels) {
    let family = Family::<Labels, Gauge>::default();
    family.get_or_create(&labels).set(1);
    registry.register(name, help, family);
}

/// Adds a histogram of durations, in seconds.
pub(crate) fn histogram(registry: &mut Registry, name: &str, help: &str, durations: Durations) {
    registry.register(name, help, Histogram(durations));
}

#[derive(Debug)]
struct Histogram(Durations);

impl EncodeMetric for Histogram {
    fn encode(&self, encoder: MetricEncoder) -> fmt::Result {
        encode_durations::<NoLabelSet>(encoder, &self.0)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Writes the samples of one histogram.
pub(crate) fn encode_durations<S: EncodeLabelSet>(
    mut encoder: MetricEncoder,
    durations: &Durations,
) -> fmt::Result {
    let bounds = Durations::BOUNDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(durations.counts).collect();
    encoder.encode_histogram::<S>(durations.sum, durations.count(), &buckets, None)
}
