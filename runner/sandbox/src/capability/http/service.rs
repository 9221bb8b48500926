//! What the requests of all attempts of a runner share.

use std::sync::Arc;

use crate::attempt::services::Services;
use crate::capability::http::fake::FakeHttp;
use crate::capability::http::reuse::Idle;
use crate::config::SandboxConfig;
use crate::net::network::Net;
use pgtq_task::HttpProxy;

pub(super) struct HttpService {
    /// The runner's network access.
    pub(super) net: Arc<Net>,
    /// The proxy for requests to host names.
    pub(super) proxy: Option<Arc<HttpProxy>>,
    /// Answers in place of the network.
    pub(super) fake: Option<Arc<dyn FakeHttp>>,
    /// Connections that wait for another request.
    pub(super) idle: Arc<Idle>,
}

pub(super) fn add_services(services: &mut Services, config: &SandboxConfig, net: &Arc<Net>) {
    let idle = Arc::new(Idle::default());
    net.may_close(Arc::clone(&idle) as _);
    services.add(HttpService {
        net: Arc::clone(net),
        proxy: config.http_proxy.clone(),
        fake: config.fake_http.clone(),
        idle,
    });
}
