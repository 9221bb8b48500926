//! The client of an attempt against real servers on loopback, without a guest: the tests
//! build the requests of a guest and check the responses and errors it would get.

mod cases;
mod exchange;
mod hostile;
mod proxy;
mod reuse;
mod rules;
mod secrets;
mod server;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use wasmtime_wasi_http::{Error, RequestOptions};

use crate::attempt::access::{Access, OwnHandlers, Requester};
use crate::attempt::account::MemoryAccount;
use crate::attempt::granted::PluginGrants;
use crate::attempt::logs::{LockedLogs, Logs, SharedLogs};
use crate::attempt::services::Services;
use crate::capability::http::client::Client;
use crate::capability::http::fake::FakeHttp;
use crate::capability::http::message::{Body, Io};
use crate::capability::http::reuse::Idle;
use crate::capability::http::service::HttpService;
use crate::net::network::Net;
use crate::net::resolve::Resolver;
use crate::net::scripted::Scripted;
use pgtq_task::{Grant, GrantBook, HandlerInfo, HttpProxy, Limits, Needs, Secret, SecretGrant};

/// The settings of a test; everything is requested and granted, but no network.
pub(super) struct Setup {
    pub(super) needs: Needs,
    pub(super) grant: Grant,
    pub(super) secrets: BTreeMap<String, Secret>,
    pub(super) limits: Limits,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) connections: usize,
    pub(super) fake: Option<Arc<dyn FakeHttp>>,
    pub(super) proxy: Option<HttpProxy>,
}

pub(super) fn rules<T: std::str::FromStr<Err = String>>(texts: &[&str]) -> Vec<T> {
    let rules = texts.iter().map(|text| text.parse().expect("a rule"));
    rules.collect()
}

/// Only what the test adds.
pub(super) fn bare() -> Setup {
    Setup {
        needs: Needs::default(),
        grant: Grant::default(),
        secrets: BTreeMap::new(),
        limits: Limits::default(),
        resolver: Scripted::new(&[]),
        connections: 10,
        fake: None,
        proxy: None,
    }
}

/// Everything except networks.
pub(super) fn open() -> Setup {
    let mut setup = bare();
    setup.needs.http = rules(&["http://*:*", "https://*:*"]);
    setup.grant.http = setup.needs.http.clone();
    setup
}

/// Everything on this machine.
pub(super) fn local() -> Setup {
    let mut setup = open();
    setup.grant.networks = rules(&["loopback"]);
    setup
}

impl Setup {
    /// Adds a secret that may be sent to `hosts` and that the handler requests.
    pub(super) fn secret(mut self, name: &str, value: &str, hosts: &[&str]) -> Self {
        let grant = SecretGrant {
            hosts: rules(hosts),
            read: false,
        };
        self.needs.secrets.push(name.to_owned());
        self.grant.secrets.insert(name.to_owned(), grant);
        self.secrets.insert(name.to_owned(), Secret::new(value));
        self
    }

    pub(super) fn asker(mut self) -> Asker {
        let resolver = Arc::clone(&self.resolver);
        let connections = std::mem::take(&mut self.connections);
        self.asker_in("mailer", &RunnerNet::new(resolver, connections))
    }

    /// An attempt of this plugin, whose runner has this network access.
    pub(super) fn asker_in(self, plugin: &str, runner: &RunnerNet) -> Asker {
        let info = serde_json::from_str::<HandlerInfo>(r#"{"name":"work"}"#);
        let info = HandlerInfo {
            needs: self.needs,
            ..info.expect("a handler")
        };
        let book = GrantBook {
            plugins: [(plugin.to_owned(), Arc::new(self.grant))].into(),
            secrets: self.secrets,
        };
        let book = Arc::new(ArcSwap::from_pointee(book));
        let granted = PluginGrants::new(plugin, &book).now();
        let mut services = Services::default();
        services.add(HttpService {
            net: Arc::clone(&runner.net),
            proxy: self.proxy.map(Arc::new),
            fake: self.fake,
            idle: Arc::clone(&runner.idle),
        });
        let requester = Requester::new(
            Arc::from(plugin),
            Arc::new(info),
            OwnHandlers::default(),
            Arc::new(services),
        );
        let access = Access::new(Arc::new(requester), granted);
        let account = MemoryAccount::new(self.limits.host_bytes);
        let mut logs = Logs::new(&self.limits, Instant::now(), &account);
        logs.hide(access.redactor());
        let logs: SharedLogs = Arc::new(LockedLogs::new(logs));
        let client = Client::new(Some(access), &self.limits, Instant::now(), &logs);
        Asker {
            client,
            logs,
            net: Arc::clone(&runner.net),
            idle: Arc::clone(&runner.idle),
        }
    }
}

/// The network access of one runner, with the connections that it keeps.
pub(super) struct RunnerNet {
    net: Arc<Net>,
    pub(super) idle: Arc<Idle>,
}

impl RunnerNet {
    pub(super) fn new(resolver: Arc<dyn Resolver>, connections: usize) -> Self {
        let net = Net::new(resolver, connections);
        let idle = Arc::new(Idle::default());
        net.may_close(Arc::clone(&idle) as _);
        RunnerNet { net, idle }
    }
}

/// Sends requests as one attempt.
pub(super) struct Asker {
    client: Client,
    logs: SharedLogs,
    pub(super) net: Arc<Net>,
    pub(super) idle: Arc<Idle>,
}

/// A response, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Vec<u8>,
}

pub(super) fn request(method: &str, url: &str, body: &str) -> http::Request<Body> {
    let body = Full::new(Bytes::from(body.to_owned()));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    let request = http::Request::builder().method(method).uri(url);
    request.body(body).expect("a request")
}

/// All timeouts set to `millis`.
pub(super) fn patience(millis: u64) -> RequestOptions {
    let time = Some(Duration::from_millis(millis));
    RequestOptions {
        connect_timeout: time,
        first_byte_timeout: time,
        between_bytes_timeout: time,
    }
}

impl Asker {
    pub(super) async fn get(&self, url: &str) -> Result<Answer, Error> {
        let options = RequestOptions::default();
        self.ask(request("GET", url, ""), options).await
    }

    pub(super) async fn ask(
        &self,
        request: http::Request<Body>,
        options: RequestOptions,
    ) -> Result<Answer, Error> {
        let (response, _io) = self.begin(request, options).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    /// As wasi:http does it: the connection is driven beside the reading, and ends when
    /// its handle is dropped.
    pub(super) async fn begin(
        &self,
        request: http::Request<Body>,
        options: RequestOptions,
    ) -> Result<
        (
            http::Response<Body>,
            wasmtime_wasi::runtime::AbortOnDropJoinHandle<()>,
        ),
        Error,
    > {
        let (response, io): (_, Io) = self.client.send(request, options).await?;
        let driven = wasmtime_wasi::runtime::spawn(async move {
            Pin::from(io).await.expect("io never fails");
        });
        Ok((response, driven))
    }

    /// The lines of the attempt's log so far.
    pub(super) fn log(&self) -> String {
        let (lines, _) = self.logs.lock().take();
        let lines: Vec<String> = lines.into_iter().map(|line| line.message).collect();
        lines.join("\n")
    }

    /// The error of a request that must not succeed, and the log lines.
    pub(super) async fn refused(&self, request: http::Request<Body>) -> String {
        let answer = self.ask(request, RequestOptions::default()).await;
        let error = answer.expect_err("must be refused");
        format!("{error}\n{}", self.log())
    }
}
