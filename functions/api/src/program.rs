//! The interface as a program: what stands around it when it has a process of its own.

use std::sync::Arc;

use gnomon_host::watch::Watch;
use gnomon_run::{AnyError, Program, Shelf};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;

use crate::{Api, serve};

/// Serves on the address that the settings name until the program is to stop. The first line on
/// standard output says where.
///
/// # Errors
/// The address cannot be listened on.
pub async fn run(program: Program) -> Result<(), AnyError> {
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let (settings, stop) = (&program.settings, program.stop.clone());
    let listener = TcpListener::bind(settings.http).await;
    let listener = listener.map_err(|error| format!("listen on {}: {error}", settings.http))?;
    let shelf = Shelf::open(settings.schemas.clone(), settings.rules.clone());
    let reloading = tokio::spawn(shelf.clone().watch(stop.clone()));
    let measuring = gnomon_run::measure(program.queue.clone(), metrics.clone(), stop.clone());
    let measuring = tokio::spawn(measuring);
    program.ready(&format!("listens on http://{}", listener.local_addr()?));
    let api = Api {
        store: program.store,
        queue: program.queue,
        rules: Arc::new(move || shelf.document(&Watch::default())),
        metrics: Arc::new(move || metrics.render()),
    };
    serve(listener, api, stop.clone()).await?;
    stop.cancel();
    let _ = tokio::join!(reloading, measuring);
    Ok(())
}
