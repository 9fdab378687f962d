//! `gnomon run`: every function in this process, on the ports that the settings name.

use std::sync::Arc;

use gnomon_alert::Alerts;
use gnomon_api::Api;
use gnomon_bridge::BridgeOptions;
use gnomon_gateway::{Gateway, GatewayOptions, tell_stale};
use gnomon_host::port::{Queue, Sessions, Store};
use gnomon_host::share::work_share;
use gnomon_host::watch::Watch;
use gnomon_model::Waits;
use gnomon_rrpc::Rrpc;
use gnomon_run::ports::{Place, Ports};
use gnomon_run::{Failure, Flags, Part, Settings, Shelf, measure, stop_signal, unique};
use gnomon_shadow::Shadow;
use gnomon_telemetry::Telemetry;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Runs until Ctrl-C or SIGTERM, then drains.
pub(crate) fn run(flags: &Flags) -> Result<(), Failure> {
    let settings = Settings::load(flags)?;
    gnomon_run::start_logging();
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
    let ports = Ports::open(&settings).await?;
    let has = |part| settings.parts.contains(&part);
    let mut listeners = Listeners { gateway: None, bridge: None, http: None };
    if let Some(broker) = settings.broker.as_deref().filter(|_| has(Part::Gateway)) {
        let options = BridgeOptions::of(broker, &settings);
        let failed = |error| Failure::from_error("bridge", &error);
        listeners.bridge = Some(options.map_err(failed)?);
    } else if has(Part::Gateway) {
        let has_peers = matches!(settings.place, Place::Remote { .. });
        let options = GatewayOptions { has_peers, ..GatewayOptions::default() };
        let gateway = Gateway::bind(settings.mqtt, options).await;
        let failed = |error| Failure::from_error("listen for devices", &error);
        listeners.gateway = Some(gateway.map_err(failed)?);
    }
    if has(Part::Api) {
        let attempt = format!("listen for applications on {}", settings.http);
        let http = TcpListener::bind(settings.http).await;
        listeners.http = Some(http.map_err(|error| Failure::from_error(&attempt, &error))?);
    }
    greet(&settings, &shelf, &listeners);
    let waits = settings.waits();
    let result = match ports {
        Ports::Embedded(embedded) => {
            // Nobody else has had it open, so nobody else can hold a connection.
            if let Err(error) = tell_stale(&embedded, &embedded, |_| true).await {
                warn!(error = %error, "look for stale connections");
            }
            let (queue, store) = (embedded.clone(), embedded.clone());
            let app = App { shelf, queue, store, metrics, waits, parts: settings.parts };
            let result = app.run(listeners).await;
            embedded.close().await;
            result
        }
        Ports::Remote(queue, store) => {
            let app = App { shelf, queue, store, metrics, waits, parts: settings.parts };
            app.run(listeners).await
        }
    };
    info!("stopped");
    result
}

/// Where devices and applications connect, as far as this process serves them.
struct Listeners {
    gateway: Option<Gateway>,
    /// Instead of the gateway, if devices use another broker.
    bridge: Option<BridgeOptions>,
    http: Option<TcpListener>,
}

fn greet(settings: &Settings, shelf: &Shelf, listeners: &Listeners) {
    println!("gnomon {}", env!("CARGO_PKG_VERSION"));
    let mqtt = listeners.gateway.as_ref().map(Gateway::local_addr);
    if let Some(mqtt) = mqtt {
        println!(
            "  mqtt     {mqtt}  (MQTT 3.1.1 and 5; development mode: loopback only, no passwords)"
        );
    }
    if let Some(bridge) = &listeners.bridge {
        println!("  broker   {}:{}  (group {})", bridge.host, bridge.port, settings.broker_group);
    }
    if let Some(http) = &listeners.http {
        let bound = http.local_addr();
        let http = bound.map_or_else(|_| settings.http.to_string(), |at| at.to_string());
        println!("  http     {http}  (try http://{http}/v1/devices)");
    }
    let (partitions, namespace) = (settings.partitions, &settings.namespace);
    match &settings.place {
        Place::Embedded(dir) => {
            println!("  data     {}  ({partitions} partitions)", dir.display());
        }
        Place::Remote { .. } => {
            println!("  data     NATS and Redis  (namespace {namespace}, {partitions} partitions)");
        }
    }
    let models = shelf.models();
    let products: Vec<&str> = models.keys().map(|product| product.as_str()).collect();
    println!("  models   {}  ({})", settings.schemas.display(), products.join(", "));
    println!("  rules    {}  ({})", settings.rules.display(), shelf.rules().listing().len());
    for problem in shelf.problems() {
        println!("  problem  {problem}");
    }
    if let Some(mqtt) = mqtt {
        let (topic, port) = ("devices/coldroom/room-1/telemetry", mqtt.port());
        println!("try: mosquitto_pub -p {port} -t {topic} -m '{{\"temperature\": 9.5}}'");
    }
}

struct App<Q, S> {
    shelf: Shelf,
    queue: Q,
    store: S,
    metrics: PrometheusHandle,
    waits: Waits,
    parts: Vec<Part>,
}

impl<Q: Queue, S: Store + Sessions> App<Q, S> {
    /// Serves until a signal comes; then devices first, applications next, workers last, so that
    /// nothing is taken in that nobody works on.
    async fn run(self, listeners: Listeners) -> Result<(), Failure> {
        let (intake, working) = (CancellationToken::new(), CancellationToken::new());
        let watch = Watch::default();
        let mut workers = self.workers(&watch, &working);
        workers.spawn(self.shelf.clone().watch(working.clone()));
        workers.spawn(measure(self.queue.clone(), self.metrics.clone(), working.clone()));
        let mut serving = self.serve(listeners, &watch, &intake);
        let mut done = Ok(());
        tokio::select! {
            () = stop_signal() => info!("stopping: draining"),
            Some(ended) = serving.join_next() => done = flat(ended),
        }
        intake.cancel();
        while let Some(ended) = serving.join_next().await {
            done = done.and(flat(ended));
        }
        working.cancel();
        while let Some(worker) = workers.join_next().await {
            if let Err(error) = worker {
                error!(error = %error, "worker ended badly");
            }
        }
        done
    }

    /// Serves devices and applications until `intake` is cancelled.
    fn serve(
        &self,
        listeners: Listeners,
        watch: &Watch,
        intake: &CancellationToken,
    ) -> JoinSet<Result<(), Failure>> {
        let mut serving = JoinSet::new();
        if let Some(gateway) = listeners.gateway {
            let (queue, sessions) = (self.queue.clone(), self.store.clone());
            let (records, models) = (self.store.clone(), self.shelf.models.clone());
            let running = gateway.run(queue, sessions, records, models, intake.clone());
            serving.spawn(async move {
                let ended = running.await;
                ended.map_err(|error| Failure::from_error("listener for devices", &error))
            });
        }
        if let Some(options) = listeners.bridge {
            let running = gnomon_bridge::run(options, self.queue.clone(), intake.clone());
            serving.spawn(async move {
                running.await.map_err(|error| Failure::from_error("bridge", &error))
            });
        }
        if let Some(http) = listeners.http {
            let running = gnomon_api::serve(http, self.api(watch), intake.clone());
            serving.spawn(async move {
                let ended = running.await;
                ended.map_err(|error| Failure::from_error("listener for applications", &error))
            });
        }
        serving
    }

    fn workers(&self, watch: &Watch, stop: &CancellationToken) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        let (member, waits) = (unique(), self.waits);
        let ports = || (member.clone(), self.store.clone(), self.queue.clone());
        for part in &self.parts {
            let (shelf, (me, store, queue)) = (self.shelf.clone(), ports());
            let (watch, stop) = (watch.clone(), stop.clone());
            match part {
                Part::Telemetry => {
                    let make =
                        move || Telemetry { models: shelf.models(), rules: shelf.rules(), waits };
                    workers.spawn(work_share(make, me, store, queue, watch, stop));
                }
                Part::Shadow => {
                    let make =
                        move || Shadow { models: shelf.models(), rules: shelf.rules(), waits };
                    workers.spawn(work_share(make, me, store, queue, watch, stop));
                }
                Part::Rrpc => {
                    let make = move || Rrpc { models: shelf.models() };
                    workers.spawn(work_share(make, me, store, queue, watch, stop));
                }
                Part::Alert => {
                    let make = move || Alerts { waits };
                    workers.spawn(work_share(make, me, store, queue, watch, stop));
                }
                Part::Timer => {
                    workers.spawn(gnomon_timer::run(store, queue, me, stop));
                }
                Part::Gateway | Part::Api => {}
            }
        }
        workers
    }

    fn api(&self, watch: &Watch) -> Api<S, Q> {
        let (shelf, watch, metrics) = (self.shelf.clone(), watch.clone(), self.metrics.clone());
        Api {
            store: self.store.clone(),
            queue: self.queue.clone(),
            rules: Arc::new(move || shelf.document(&watch)),
            metrics: Arc::new(move || metrics.render()),
        }
    }
}

fn flat(ended: Result<Result<(), Failure>, JoinError>) -> Result<(), Failure> {
    ended.unwrap_or_else(|error| Err(Failure::from_error("a listener ended badly", &error)))
}
