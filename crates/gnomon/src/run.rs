//! `gnomon run`: the composition root. Everything in this process, on the embedded store.

use std::sync::Arc;
use std::time::Duration;

use gnomon_adapters::embedded::{Embedded, EmbeddedOptions};
use gnomon_api::Api;
use gnomon_gateway::{Gateway, GatewayOptions};
use gnomon_host::port::{Log, Queue, Store, Stream};
use gnomon_host::runner::work;
use gnomon_host::watch::{Watch, now_ms};
use gnomon_model::{DeviceKey, Envelope, EnvelopeId, Presence, What};
use gnomon_rrpc::Rrpc;
use gnomon_shadow::Shadow;
use gnomon_telemetry::Telemetry;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::reload::Shelf;
use crate::settings::{Flags, Settings};
use crate::{Failure, logging};

/// How many records the start-up sweep looks at in one round trip.
const SWEEP_PAGE: usize = 1000;

/// Runs until Ctrl-C or SIGTERM, then drains.
pub(crate) fn run(flags: &Flags) -> Result<(), Failure> {
    let settings = Settings::load(flags)?;
    logging::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error("start", &error))?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let metrics = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| Failure::from_error("start metrics", &error))?;
    let shelf = Shelf::open(settings.schemas.clone(), settings.rules.clone());
    let options = EmbeddedOptions::new(settings.partitions);
    let embedded = Embedded::open(&settings.data, options).map_err(|error| {
        Failure::from_error(&format!("open data directory {}", settings.data.display()), &error)
    })?;
    let gateway = Gateway::bind(settings.mqtt, GatewayOptions::default())
        .await
        .map_err(|error| Failure::from_error("listen for devices", &error))?;
    let http = TcpListener::bind(settings.http).await.map_err(|error| {
        Failure::from_error(&format!("listen for applications on {}", settings.http), &error)
    })?;
    greet(&settings, &shelf, &gateway, &http);
    let result = App { shelf, embedded: embedded.clone(), metrics }.run(gateway, http).await;
    embedded.close().await;
    info!("stopped");
    result
}

fn greet(settings: &Settings, shelf: &Shelf, gateway: &Gateway, http: &TcpListener) {
    let mqtt = gateway.local_addr();
    let http = http.local_addr().map_or_else(|_| settings.http.to_string(), |at| at.to_string());
    let models = shelf.models.load();
    let products: Vec<&str> = models.keys().map(|product| product.as_str()).collect();
    println!("gnomon {}", env!("CARGO_PKG_VERSION"));
    println!(
        "  mqtt     {mqtt}  (MQTT 3.1.1 and 5; development mode: loopback only, no passwords)"
    );
    println!("  http     {http}  (try http://{http}/v1/devices)");
    println!("  data     {}  ({} partitions)", settings.data.display(), settings.partitions);
    println!("  models   {}  ({})", settings.schemas.display(), products.join(", "));
    println!("  rules    {}  ({})", settings.rules.display(), shelf.rules.load().listing().len());
    for problem in shelf.problems() {
        println!("  problem  {problem}");
    }
    let topic = "devices/coldroom/room-1/telemetry";
    let port = mqtt.port();
    println!("try: mosquitto_pub -p {port} -t {topic} -m '{{\"temperature\": 9.5}}'");
}

struct App {
    shelf: Shelf,
    embedded: Embedded,
    metrics: PrometheusHandle,
}

impl App {
    /// Serves until a signal comes; then devices first, applications next, workers last, so that
    /// nothing is taken in that nobody works on.
    async fn run(self, gateway: Gateway, http: TcpListener) -> Result<(), Failure> {
        sweep(&self.embedded).await;
        let (intake, working) = (CancellationToken::new(), CancellationToken::new());
        let watch = Watch::default();
        let mut workers = self.workers(&watch, &working);
        workers.spawn(self.shelf.clone().watch(working.clone()));
        workers.spawn(measure(self.embedded.clone(), self.metrics.clone(), working.clone()));
        let models = self.shelf.models.clone();
        let (queue, sessions) = (self.embedded.clone(), self.embedded.clone());
        let mut gateway = tokio::spawn(gateway.run(queue, sessions, models, intake.clone()));
        let mut api = tokio::spawn(gnomon_api::serve(http, self.api(&watch), intake.clone()));
        let mut gateway_end = None;
        let mut api_end = None;
        tokio::select! {
            () = stop_signal() => info!("stopping: draining"),
            end = &mut gateway => gateway_end = Some(end),
            end = &mut api => api_end = Some(end),
        }
        intake.cancel();
        let gateway_end = match gateway_end {
            Some(end) => end,
            None => gateway.await,
        };
        let api_end = match api_end {
            Some(end) => end,
            None => api.await,
        };
        working.cancel();
        while let Some(worker) = workers.join_next().await {
            if let Err(error) = worker {
                error!(error = %error, "worker ended badly");
            }
        }
        let failed = |what: &str, reason: String| Failure::new(format!("{what}: {reason}"));
        gateway_end
            .map_err(|error| failed("listener for devices", error.to_string()))?
            .map_err(|error| Failure::from_error("listener for devices", &error))?;
        api_end
            .map_err(|error| failed("listener for applications", error.to_string()))?
            .map_err(|error| Failure::from_error("listener for applications", &error))
    }

    fn workers(&self, watch: &Watch, stop: &CancellationToken) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for partition in 0..self.embedded.partitions() {
            let (store, queue) = (self.embedded.clone(), self.embedded.clone());
            let (shelf, watch, stop) = (self.shelf.clone(), watch.clone(), stop.clone());
            workers.spawn(async move {
                let (models, rules) = (&shelf.models, &shelf.rules);
                let telemetry =
                    || Telemetry { models: models.load_full(), rules: (**rules.load()).clone() };
                let shadow =
                    || Shadow { models: models.load_full(), rules: (**rules.load()).clone() };
                let rrpc = || Rrpc { models: models.load_full() };
                let (again, more) =
                    ((store.clone(), queue.clone()), (store.clone(), queue.clone()));
                tokio::join!(
                    work(telemetry, partition, store, queue, watch.clone(), stop.clone()),
                    work(shadow, partition, again.0, again.1, watch.clone(), stop.clone()),
                    work(rrpc, partition, more.0, more.1, watch.clone(), stop.clone()),
                );
            });
        }
        workers
    }

    fn api(&self, watch: &Watch) -> Api<Embedded, Embedded> {
        let (shelf, watch, metrics) = (self.shelf.clone(), watch.clone(), self.metrics.clone());
        Api {
            store: self.embedded.clone(),
            queue: self.embedded.clone(),
            rules: Arc::new(move || rules_document(&shelf, &watch)),
            metrics: Arc::new(move || metrics.render()),
        }
    }
}

/// The listing of rules with how each fares, for `GET /v1/rules`.
fn rules_document(shelf: &Shelf, watch: &Watch) -> serde_json::Value {
    let health = watch.rules();
    let rules: Vec<serde_json::Value> = shelf
        .rules
        .load()
        .listing()
        .iter()
        .map(|rule| {
            let mut document = serde_json::to_value(rule).unwrap_or_default();
            let fares = health.get(&rule.name).cloned().unwrap_or_default();
            if let (Some(document), Ok(serde_json::Value::Object(fares))) =
                (document.as_object_mut(), serde_json::to_value(fares))
            {
                document.extend(fares);
            }
            document
        })
        .collect();
    serde_json::json!({ "rules": rules, "problems": shelf.problems() })
}

/// Devices that were online when this store was last in use are not: their connections ended with
/// the process that held them, perhaps without a chance to say so.
async fn sweep(embedded: &Embedded) {
    let mut after: Option<DeviceKey> = None;
    loop {
        let page = match embedded.list(None, after.as_ref(), SWEEP_PAGE).await {
            Ok(page) => page,
            Err(error) => return warn!(error = %error, "look for stale connections"),
        };
        match embedded.load(&page.devices).await {
            Ok(loaded) => {
                let online =
                    page.devices.iter().zip(loaded).filter(|(_, one)| one.record.presence.online);
                for (device, stored) in online {
                    tell_offline(embedded, device, stored.record.presence.connection).await;
                }
            }
            Err(error) => warn!(error = %error, "look for stale connections"),
        }
        after = page.next;
        if after.is_none() {
            return;
        }
    }
}

async fn tell_offline(embedded: &Embedded, device: &DeviceKey, connection: String) {
    let reason = "the process that held the connection ended".to_owned();
    let envelope = Envelope {
        id: EnvelopeId::parse(&format!("stale-{}", uuid())).expect("a uuid is a word"),
        device: device.clone(),
        received_at_ms: now_ms(),
        what: What::Presence(Presence { online: false, connection, reason, dialect: None }),
    };
    let log = Log { stream: Stream::Telemetry, partition: device.partition(embedded.partitions()) };
    let (id, body) = (envelope.id.to_string(), envelope.encode());
    let device_key = Some(device.clone());
    let message = gnomon_host::port::Message { log, id, device: device_key, body };
    if let Err(error) = embedded.append(vec![message]).await {
        warn!(%device, error = %error, "tell that a device is offline");
    }
}

fn uuid() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// Keeps the gauges of the queue up to date: appended = acknowledged + pending, per log.
async fn measure(embedded: Embedded, metrics: PrometheusHandle, stop: CancellationToken) {
    while !stop.is_cancelled() {
        for stream in Stream::ALL {
            let partitions = match stream {
                Stream::Telemetry | Stream::Shadow | Stream::Calls => embedded.partitions(),
                Stream::Downlink | Stream::Answers | Stream::Dead => 1,
            };
            for partition in 0..partitions {
                gauge(&embedded, Log { stream, partition }).await;
            }
        }
        metrics.run_upkeep();
        let _ = tokio::time::timeout(Duration::from_secs(1), stop.cancelled()).await;
    }
}

async fn gauge(embedded: &Embedded, log: Log) {
    let Ok(counts) = embedded.counts(log).await else { return };
    let name = log.to_string();
    let gauge = |what: &'static str, value: u64| {
        metrics::gauge!(what, "log" => name.clone()).set(value as f64);
    };
    gauge("gnomon_log_received", counts.appended);
    gauge("gnomon_log_acknowledged", counts.acknowledged);
    gauge("gnomon_log_pending", counts.appended.saturating_sub(counts.acknowledged));
}

async fn stop_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
