//! HTTP endpoints for monitoring: liveness, readiness and metrics.
//!
//! `/healthz` answers 200 while the process lives, also while it drains and whatever the
//! state of the database: restarting a fleet does not repair a database. `/readyz`
//! answers 503 with the failing checks by name. `/metrics` is the Prometheus text format,
//! base units, no ids in labels.
//!
//! No authentication, no contents of tasks, read-only: bind it to loopback or to the
//! prober's network.

mod metrics;
mod monitored;
mod ready;

pub use monitored::Monitored;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;

/// Serves until its future is dropped.
///
/// # Errors
///
/// If the listener fails.
pub async fn serve(listener: TcpListener, monitored: Monitored) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .with_state(monitored);
    axum::serve(listener, routes).await
}

async fn readyz(State(monitored): State<Monitored>) -> Response {
    let ready = ready::check(&monitored).await;
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(ready)).into_response()
}

async fn metrics_page(State(monitored): State<Monitored>) -> Response {
    let text = metrics::render(&monitored);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
