//! What the HTTP server of a process offers: health always, SQL and HTTP ingest in the query role.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use headframe_ingest::http as http_ingest;
use headframe_pipelines::signature::SigningKey;
use headframe_query_engine::{DeltaTables, Source, StreamSource};
use headframe_query_front::{LiveTail, PlaceKey, Probe, QueryConfig, RouteHandler, Services};
use headframe_sinks::Lake;
use headframe_sinks::wallet::WalletKind;
use headframe_stratum::StatsHandle;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::Role;
use crate::service::accounts::AccountsProbe;
use crate::service::components::Components;
use crate::service::descriptors;
use crate::service::faults::{TaskFilter, TaskKind};
use crate::service::host_usage::ProcfsMonitor;
use crate::service::local_stream::LocalStream;
use crate::service::payment_service::StreamPaymentService;
use crate::service::photos::LakePhotos;
use crate::service::pool_chain::PoolChain;
use crate::service::probes::{
    NatsProbe, PaymentProbe, PoolProbe, StorageProbe, StreamProbe, TaskProbe,
};

/// The shortest time that a row may wait for its commit before the process calls itself late.
const LEAST_COMMIT_LIMIT: Duration = Duration::from_secs(30);

/// The HTTP server's own configuration, with as many connections as the miners of a pool leave.
pub fn query_config(components: &Components) -> QueryConfig {
    let mut query = components.config.query.clone();
    let miners = match components.runs(Role::Stratum) {
        true => components.config.stratum.max_sessions,
        false => 0,
    };
    query.max_connections = descriptors::http_connections(query.max_connections, miners);
    query
}

/// What the HTTP server needs for the roles of this process.
pub fn services(
    components: &Components,
    pool: Option<&StatsHandle>,
    metrics: Option<PrometheusHandle>,
) -> anyhow::Result<Services> {
    let host_monitor = Arc::new(ProcfsMonitor::new(components.config.data_dir.clone()));
    let mut services = Services {
        metrics: metrics.filter(|_| components.config.query.metrics),
        host_monitor: Some(host_monitor),
        postgres: components.config.postgres.clone(),
        access: components.config.access.clone(),
        ..Services::default()
    };
    let nats = components.nats.clone();
    services.health.push(Arc::new(NatsProbe(nats.clone())));
    services.ready.push(Arc::new(AccountsProbe(nats)));
    if let Some(pool) = pool {
        services.ready.push(Arc::new(PoolProbe(pool.clone())));
        services.chain_monitor = Some(Arc::new(PoolChain(pool.clone())));
    }
    if components.runs(Role::Pipelines) {
        // A key that cannot be used ends the pipeline with its own words; here it is only not
        // shown.
        services.payout_key =
            SigningKey::open(&components.config.data_dir.join("keys/payouts.key"))
                .ok()
                .map(|key| key.public_hex());
    }
    let Some((lake, streams)) = &components.tables else {
        return Ok(services);
    };
    services.health.push(Arc::new(StorageProbe(lake.clone())));
    services.ready.extend(task_probes(components));
    if components.runs(Role::Payments) {
        let payments = PaymentProbe(components.payer.clone());
        services.ready.push(Arc::new(payments));
    }
    if components.runs(Role::Query) || components.runs(Role::Pipelines) {
        let probes = streams
            .iter()
            .map(|stream| stream_probe(components, stream));
        services.ready.extend(probes);
    }
    if components.runs(Role::Query) {
        services.payment_service = Some(Arc::new(payment_service(components)));
        services.photos = Some(Arc::new(LakePhotos::new(lake)));
        let key_file = components.config.data_dir.join("keys/access.key");
        services.token_key_file = Some(key_file);
        let ingest = components.config.ingest.clone();
        services.max_ingest_bytes = Some(ingest.max_body_bytes);
        services.handlers.push(RouteHandler {
            method: Method::POST,
            path: http_ingest::PATH,
            answers: http_ingest::handler(components.publisher.clone(), ingest),
        });
        services.moves_money = components.config.payments.wallet.kind != WalletKind::None;
    }
    Ok(services)
}

/// The streams that statements are answered from; none without the role query.
pub fn sources(components: &Components) -> Vec<Arc<dyn Source>> {
    match &components.tables {
        Some((lake, streams)) if components.runs(Role::Query) => {
            let source = |stream| Arc::new(source(lake, stream)) as Arc<dyn Source>;
            streams.iter().map(source).collect()
        }
        _ => Vec::new(),
    }
}

/// The secret of the places that miners' subscriptions are told, where there are subscriptions.
pub fn place_key(components: &Components) -> anyhow::Result<PlaceKey> {
    let path = components.config.data_dir.join("keys/live.key");
    Ok(PlaceKey::open(&path)?)
}

/// The newest rows of the streams, for subscribers; none without the role query.
pub fn live_tails(components: &Components) -> Vec<Arc<dyn LiveTail>> {
    match &components.tables {
        Some((lake, streams)) if components.runs(Role::Query) => streams
            .iter()
            .map(|stream| Arc::new(source(lake, stream)) as Arc<dyn LiveTail>)
            .collect(),
        _ => Vec::new(),
    }
}

fn source(lake: &Lake, stream: &LocalStream) -> StreamSource {
    let tables = Arc::new(DeltaTables::open(lake, stream.handle.stream));
    StreamSource::new(
        stream.handle.stream,
        stream.handle.tail.clone(),
        tables,
        stream.acknowledged.clone(),
    )
}

fn payment_service(components: &Components) -> StreamPaymentService {
    let config = components.config.payments.clone();
    // What is wrong with the wallet's settings was an error of the start.
    let wallet = config.wallet.open().ok().flatten();
    let runs_payer = components.runs(Role::Payments);
    StreamPaymentService {
        config,
        publisher: components.publisher.clone(),
        wallet,
        payer: runs_payer.then(|| components.payer.clone()),
    }
}

fn task_probes(components: &Components) -> Vec<Arc<dyn Probe>> {
    let kinds: [(Role, &'static str, TaskFilter); 3] = [
        (Role::Pipelines, "pipelines", TaskKind::is_pipeline),
        (Role::Maintenance, "maintenance", |kind| {
            *kind == TaskKind::Maintenance
        }),
        (Role::Query, "tails", |kind| *kind == TaskKind::Tail),
    ];
    let wanted = kinds
        .into_iter()
        .filter(|(role, ..)| components.runs(*role));
    wanted
        .map(|(_, name, includes)| {
            Arc::new(TaskProbe {
                name,
                includes,
                faults: components.faults.clone(),
            }) as Arc<dyn Probe>
        })
        .collect()
}

fn stream_probe(components: &Components, stream: &LocalStream) -> Arc<dyn Probe> {
    let commit = Duration::from_millis(components.config.pipelines.commit_ms);
    let limit = LEAST_COMMIT_LIMIT.max(commit * 10);
    let commits = components.runs(Role::Pipelines);
    Arc::new(StreamProbe::new(
        components.nats.clone(),
        stream.handle.clone(),
        stream.acknowledged.clone(),
        commits.then_some(limit),
    ))
}
