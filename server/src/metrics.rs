//! Figures for Prometheus: what the shards and their front doors count, read
//! when somebody asks. Nothing is counted here.
//!
//! All per-shard figures have the label `shard`. Histograms are counted by
//! powers of two of microseconds and shown in seconds. The page is OpenMetrics;
//! `metrics/classic.rs` has it in the format before.

pub(crate) mod classic;

use std::fmt;
use std::fs;
use std::sync::Arc;

use corelet_shard::{BlobService, Histogram, ShardHandle, ShardStats, UploadService};
use corelet_wasm_host::{HostStats, Limits};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::facts::{Board, Facts};
use crate::figures::FIGURES;
use crate::log;
use crate::refusal::Code;

/// The text format that this page is in.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All figures as text.
pub(crate) fn page(facts: &Arc<Facts>, shard: &ShardHandle) -> String {
    let mut registry = Registry::default();
    let source = Source {
        facts: Arc::clone(facts),
        host: shard.host().stats(),
        blobs: shard.blobs().clone(),
        uploads: shard.uploads().clone(),
    };
    registry.register_collector(Box::new(source));
    let mut text = String::with_capacity(64 << 10);
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

struct Source {
    facts: Arc<Facts>,
    host: HostStats,
    blobs: BlobService,
    uploads: UploadService,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl prometheus_client::collector::Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for figure in FIGURES {
            let (kind, read) = (figure.kind, figure.read);
            let write = |stats: &ShardStats, encoder: MetricEncoder<'_>| match kind {
                MetricType::Counter => ConstCounter::new(read(stats)).encode(encoder),
                _ => ConstGauge::new(read(stats) as i64).encode(encoder),
            };
            self.per_shard(&mut encoder, figure.name, figure.help, kind, write)?;
        }
        self.per_shard(
            &mut encoder,
            "corelet_clock_ahead_seconds",
            "How far the shard's stamps are ahead of this machine's clock; 0 if they follow it",
            MetricType::Gauge,
            |stats, encoder| {
                let seconds = stats.clock_ahead_micros.get() as f64 * MICROS;
                ConstGauge::new(seconds).encode(encoder)
            },
        )?;
        self.histogram(
            &mut encoder,
            "corelet_query_seconds",
            "From admission to answer, queries",
            MICROS,
            |s| &s.query_micros,
        )?;
        self.histogram(
            &mut encoder,
            "corelet_update_seconds",
            "From admission to durable answer, updates",
            MICROS,
            |s| &s.update_micros,
        )?;
        self.histogram(
            &mut encoder,
            "corelet_timer_lag_seconds",
            "From the time of a timer to when its run is begun, or tried",
            MICROS,
            |s| &s.timer_lag_micros,
        )?;
        self.histogram(
            &mut encoder,
            "corelet_send_lag_seconds",
            "From when a context sent a call to another until that had taken it",
            MICROS,
            |s| &s.send_lag_micros,
        )?;
        self.histogram(
            &mut encoder,
            "corelet_subscription_lag_seconds",
            "From when the first of some events was told until a handler had heard them",
            MICROS,
            |s| &s.hearing_lag_micros,
        )?;
        self.histogram(
            &mut encoder,
            "corelet_batch_seconds",
            "A batch, its flush included",
            MICROS,
            |s| &s.batch_micros,
        )?;
        self.histogram(
            &mut encoder,
            "corelet_checkpoint_seconds",
            "A checkpoint, its flush included",
            MICROS,
            |s| &s.checkpoint_micros,
        )?;
        self.histogram(
            &mut encoder,
            "corelet_collector_step_seconds",
            "A step of the collector or the scrub, without checkpoints",
            MICROS,
            |s| &s.collector_micros,
        )?;
        self.histogram(
            &mut encoder,
            "corelet_sweep_step_seconds",
            "A step of the sweep of what deleted contexts leave, without checkpoints",
            MICROS,
            |s| &s.sweep_micros,
        )?;
        self.histogram(
            &mut encoder,
            "corelet_batch_changes",
            "Changes in a batch",
            1.0,
            |s| &s.batch_changes,
        )?;
        self.door(&mut encoder)?;
        self.host(&mut encoder)?;
        self.limits_reached(&mut encoder)?;
        self.blobs(&mut encoder)?;
        self.uploads(&mut encoder)?;
        self.process(&mut encoder)
    }
}

/// Seconds per microsecond.
const MICROS: f64 = 1e-6;

impl Source {
    fn boards(&self) -> impl Iterator<Item = (String, &Board)> {
        self.facts
            .boards
            .iter()
            .enumerate()
            .map(|(number, board)| (number.to_string(), board))
    }

    fn per_shard(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl Fn(&ShardStats, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (shard, board) in self.boards() {
            if let Some(stats) = board.shard.get() {
                write(stats, family.encode_family(&[("shard", shard.as_str())])?)?;
            }
        }
        Ok(())
    }

    fn histogram(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        scale: f64,
        read: fn(&ShardStats) -> &Histogram,
    ) -> fmt::Result {
        self.per_shard(
            encoder,
            name,
            help,
            MetricType::Histogram,
            |stats, mut encoder| {
                let histogram = read(stats);
                let buckets: Vec<(f64, u64)> = histogram
                    .buckets()
                    .map(|(bound, count)| (bound * scale, count))
                    .collect();
                let count = buckets.iter().map(|(_, count)| count).sum();
                let sum = histogram.sum() as f64 * scale;
                encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
            },
        )
    }

    fn door(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut calls = encoder.encode_descriptor(
            "corelet_calls",
            "JSON-RPC calls by outcome: ok, or the name of the error",
            None,
            MetricType::Counter,
        )?;
        for (shard, board) in self.boards() {
            let shard = shard.as_str();
            let ok = [("shard", shard), ("outcome", "ok")];
            ConstCounter::new(board.door.calls_ok.get()).encode(calls.encode_family(&ok)?)?;
            for code in Code::ALL {
                let count = board.door.calls_refused.of(*code).get();
                // A series for each error that never happened would only make noise.
                if count > 0 {
                    let labels = [("shard", shard), ("outcome", code.entry().name)];
                    ConstCounter::new(count).encode(calls.encode_family(&labels)?)?;
                }
            }
        }
        let mut by_limit = encoder.encode_descriptor(
            "corelet_refused_by_limit",
            "Calls and other requests refused at a limit, by its name",
            None,
            MetricType::Counter,
        )?;
        for (shard, board) in self.boards() {
            for (limit, count) in board.door.refused_by_limit.all() {
                let labels = [("shard", shard.as_str()), ("limit", limit)];
                ConstCounter::new(count).encode(by_limit.encode_family(&labels)?)?;
            }
        }
        let mut requests = encoder.encode_descriptor(
            "corelet_http_requests",
            "Requests that are not calls, by the class of their status",
            None,
            MetricType::Counter,
        )?;
        for (shard, board) in self.boards() {
            for (class, counter) in board.door.requests.iter().enumerate().skip(2) {
                let class = format!("{class}xx");
                let labels = [("shard", shard.as_str()), ("status", class.as_str())];
                ConstCounter::new(counter.get()).encode(requests.encode_family(&labels)?)?;
            }
        }
        let mut connections = encoder.encode_descriptor(
            "corelet_connections_by_fate",
            "Connections accepted, turned away at the limit, and closed for being slow or idle",
            None,
            MetricType::Counter,
        )?;
        for (shard, board) in self.boards() {
            let door = &board.door;
            let fates = [
                ("accepted", &door.accepted),
                ("turned_away", &door.turned_away),
                ("cut", &door.cut),
            ];
            for (fate, counter) in fates {
                let labels = [("shard", shard.as_str()), ("fate", fate)];
                ConstCounter::new(counter.get()).encode(connections.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn host(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let host = &self.host;
        let mut compilations = encoder.encode_descriptor(
            "corelet_compilations",
            "Compilations of applications by outcome",
            None,
            MetricType::Counter,
        )?;
        for (outcome, count, _) in host.compilations {
            let labels = [("outcome", outcome.name())];
            ConstCounter::new(count).encode(compilations.encode_family(&labels)?)?;
        }
        let mut seconds = encoder.encode_descriptor(
            "corelet_compilation_seconds",
            "Time that compilations took by the clock, by outcome",
            None,
            MetricType::Counter,
        )?;
        for (outcome, _, micros) in host.compilations {
            let labels = [("outcome", outcome.name())];
            let spent = micros as f64 * MICROS;
            ConstCounter::new(spent).encode(seconds.encode_family(&labels)?)?;
        }
        for (name, help, value) in [
            (
                "corelet_compile_cache_hits",
                "Applications found compiled on disk",
                host.cache_hits,
            ),
            (
                "corelet_compile_cache_misses",
                "Applications not found compiled on disk",
                host.cache_misses,
            ),
            (
                "corelet_compile_cache_rejects",
                "Damaged or foreign files in the compile cache",
                host.cache_rejects,
            ),
            (
                "corelet_compile_cache_evictions",
                "Files removed from the compile cache to stay below limits.cache_bytes_max",
                host.cache_evictions,
            ),
            (
                "corelet_compile_cache_write_failures",
                "Applications that were compiled and could not be written into the compile cache",
                host.cache_write_failures,
            ),
            (
                "corelet_refusals_remembered",
                "Components refused again without a look, as they are among limits.refusals_kept_max",
                host.refusals_remembered,
            ),
            (
                "corelet_pool_exhausted",
                "Instances refused because all slots were in use",
                host.pool_exhausted,
            ),
        ] {
            counter(encoder, name, help, value)?;
        }
        gauge(
            encoder,
            "corelet_instances_bytes",
            "Linear memory of all instances, as far as it has grown",
            host.memory_bytes_live as f64,
        )?;
        gauge(
            encoder,
            "corelet_instances",
            "Instances, warm and running",
            host.instances_live as f64,
        )
    }

    /// A guest that runs for a timer, another context's call, an event or a hook has no caller who is
    /// refused: this counts it all the same.
    fn limits_reached(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut reached = encoder.encode_descriptor(
            "corelet_limits_reached",
            "Times that a guest reached a limit while it ran, whatever it ran for, by the limit's name",
            None,
            MetricType::Counter,
        )?;
        for (info, count) in Limits::TABLE.iter().zip(self.host.limits_reached) {
            // A series for each limit that was never reached would only make noise.
            if count > 0 {
                let limit = format!("limits.{}", info.name);
                let labels = [("limit", limit.as_str())];
                ConstCounter::new(count).encode(reached.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn blobs(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.blobs.stats();
        for (name, help, value) in [
            (
                "corelet_blobs",
                "Blobs, as of the last time that the sweep went through all of them",
                stats.blobs.get(),
            ),
            (
                "corelet_blob_bytes",
                "Bytes of their contents, as of then",
                stats.bytes.get(),
            ),
            (
                "corelet_blobs_kept_all",
                "Whether no blob is removed, as damage hides who refers to them",
                stats.kept_all.get(),
            ),
            (
                "corelet_blob_uploads_under_way",
                "Uploads of blobs under way",
                self.blobs.uploads(),
            ),
            (
                "corelet_blob_downloads_under_way",
                "Downloads of blobs under way",
                self.blobs.downloads(),
            ),
        ] {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value as i64).encode(encoder)?;
        }
        for (name, help, value) in [
            (
                "corelet_blobs_uploaded",
                "Uploads that have become blobs",
                stats.uploaded.get(),
            ),
            (
                "corelet_blob_bytes_uploaded",
                "Bytes that uploads have brought, finished or not",
                stats.uploaded_bytes.get(),
            ),
            (
                "corelet_blob_bytes_read",
                "Bytes of blobs read and verified for clients",
                stats.read_bytes.get(),
            ),
            (
                "corelet_blob_sweeps",
                "Times that the sweep has gone through all blobs",
                stats.sweeps.get(),
            ),
            (
                "corelet_blobs_swept",
                "Blobs removed because nobody referred to them any more",
                stats.swept.get(),
            ),
            (
                "corelet_blob_bytes_swept",
                "Bytes of the contents of these",
                stats.swept_bytes.get(),
            ),
            (
                "corelet_blobs_damaged",
                "Times that a blob was found damaged, and neither served nor attached",
                stats.damaged.get(),
            ),
        ] {
            counter(encoder, name, help, value)?;
        }
        Ok(())
    }

    fn uploads(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.uploads.stats();
        for (name, help, value) in [
            (
                "corelet_uploads",
                "Uploads in pieces that were neither installed nor ended",
                stats.count.get(),
            ),
            (
                "corelet_upload_bytes",
                "Bytes that were announced of them, or are on disk if that is more",
                stats.bytes.get(),
            ),
        ] {
            gauge(encoder, name, help, value as f64)?;
        }
        for (name, help, value) in [
            (
                "corelet_uploads_begun",
                "Uploads in pieces that were begun",
                stats.begun.get(),
            ),
            (
                "corelet_upload_bytes_received",
                "Bytes of such uploads that have come and are on disk",
                stats.received_bytes.get(),
            ),
            (
                "corelet_uploads_installed",
                "Uploads in pieces of which an application was made",
                stats.installed.get(),
            ),
            (
                "corelet_uploads_expired",
                "Uploads in pieces that were removed, as nothing had come to them for too long",
                stats.expired.get(),
            ),
        ] {
            counter(encoder, name, help, value)?;
        }
        Ok(())
    }

    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let facts = &self.facts;
        gauge(
            encoder,
            "corelet_ready",
            "Whether new work is welcome",
            u8::from(facts.is_ready()).into(),
        )?;
        gauge(
            encoder,
            "process_start_time_seconds",
            "Start, since 1970",
            facts.started_unix() as f64,
        )?;
        gauge(
            encoder,
            "corelet_uptime_seconds",
            "Since the start",
            facts.uptime_seconds() as f64,
        )?;
        if let Some(bytes) = resident_bytes() {
            gauge(
                encoder,
                "process_resident_memory_bytes",
                "Memory in use",
                bytes as f64,
            )?;
        }
        if let Some(count) = open_files() {
            gauge(
                encoder,
                "process_open_fds",
                "Open file descriptors",
                count as f64,
            )?;
        }
        let mut lost = encoder.encode_descriptor(
            "corelet_log_lines_lost",
            "Log lines that were not read in time, or could not be written",
            None,
            MetricType::Counter,
        )?;
        let log::Lost {
            overflowed,
            unwritable,
        } = log::lost();
        for (reason, count) in [("overflowed", overflowed), ("unwritable", unwritable)] {
            ConstCounter::new(count).encode(lost.encode_family(&[("reason", reason)])?)?;
        }
        let mut info = encoder.encode_descriptor(
            "corelet_build_info",
            "The program",
            None,
            MetricType::Gauge,
        )?;
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        ConstGauge::new(1i64).encode(info.encode_family(&labels)?)
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(encoder.encode_descriptor(
        name,
        help,
        None,
        MetricType::Counter,
    )?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = status.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn open_files() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count())
}
