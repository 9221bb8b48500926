//! Iterates over the hosts of an address.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::connect::config::DatabaseConfig;

impl DatabaseConfig {
    /// How many hosts the address names.
    pub(crate) fn n_places(&self) -> usize {
        let (hosts, addresses) = (self.postgres.get_hosts(), self.postgres.get_hostaddrs());
        hosts.len().max(addresses.len())
    }

    /// Connect timeout for each host. One of several hosts may hang, and the heartbeat must
    /// reach the others before its lease expires.
    pub(crate) fn time_per_host(&self) -> Duration {
        match self.n_places() {
            1 => self.connect_timeout,
            _ => self.connect_timeout.min(Duration::from_secs(2)),
        }
    }

    /// The indexes of all hosts in the address, in the order in which to try them now.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let n = self.n_places();
        let first = self.first.load(Ordering::Relaxed);
        (0..n).map(move |i| (first + i) % n)
    }

    /// Makes this host the first to be tried.
    pub(crate) fn try_first(&self, place: usize) {
        self.first.store(place, Ordering::Relaxed);
    }

    /// Makes this host the last to be tried.
    pub(crate) fn try_last(&self, place: usize) {
        self.try_first(place + 1);
    }

    /// The driver's configuration with only this host.
    pub(crate) fn only(&self, place: usize) -> tokio_postgres::Config {
        let all = &self.postgres;
        let mut one = tokio_postgres::Config::new();
        if let Some(host) = all.get_hosts().get(place) {
            match host {
                tokio_postgres::config::Host::Tcp(name) => one.host(name),
                #[cfg(unix)]
                tokio_postgres::config::Host::Unix(path) => one.host_path(path),
            };
        }
        if let Some(address) = all.get_hostaddrs().get(place) {
            one.hostaddr(*address);
        }
        let ports = all.get_ports();
        if let Some(port) = ports.get(place).or(ports.first()) {
            one.port(*port);
        }
        if let Some(user) = all.get_user() {
            one.user(user);
        }
        if let Some(password) = all.get_password() {
            one.password(password);
        }
        if let Some(name) = all.get_dbname() {
            one.dbname(name);
        }
        if let Some(options) = all.get_options() {
            one.options(options);
        }
        if let Some(name) = all.get_application_name() {
            one.application_name(name);
        }
        if let Some(timeout) = all.get_connect_timeout() {
            one.connect_timeout(*timeout);
        }
        if let Some(timeout) = all.get_tcp_user_timeout() {
            one.tcp_user_timeout(*timeout);
        }
        if let Some(interval) = all.get_keepalives_interval() {
            one.keepalives_interval(interval);
        }
        if let Some(retries) = all.get_keepalives_retries() {
            one.keepalives_retries(retries);
        }
        one.keepalives(all.get_keepalives())
            .keepalives_idle(all.get_keepalives_idle())
            .ssl_mode(all.get_ssl_mode())
            .ssl_negotiation(all.get_ssl_negotiation())
            .target_session_attrs(all.get_target_session_attrs())
            .channel_binding(all.get_channel_binding())
            .load_balance_hosts(all.get_load_balance_hosts());
        one
    }
}
