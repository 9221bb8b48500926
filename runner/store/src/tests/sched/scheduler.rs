//! The scheduler: real stores on a real Postgres, whose transactions can be held.
//!
//! Triggers make every transaction of an actor wait at two points for an advisory lock: after a
//! statement that wrote (`mid`) and before the commit (`end`). The holder of that lock decides
//! when the transaction continues. So the store's own, unchanged verbs can be held with all
//! their row locks, committed, rolled back, or committed with their answer lost. At any time one
//! transaction runs and all others wait, so a seed determines everything.

use std::cell::RefCell;

use crate::connect::connection::Store;
use crate::testdb;
use crate::tests::sched::actors::Actors;
use crate::tests::sched::flight::{Doing, Fate, Flight, Observer, Outcome, Pause};
use crate::tests::sched::operation::{CLIENTS, PUSHER, RUNNERS};
use crate::tests::sched::verb::{Verb, forget_everything};

/// A separate schema with the connections of all actors.
pub(super) struct Scheduler {
    pub(super) observer: Observer,
    stores: Vec<Store>,
    apps: Vec<String>,
    pub(super) flights: Vec<Flight>,
    closed: Vec<bool>,
    /// How many schedules ran here.
    pub(super) n_runs: u64,
}

const GATES: &str = "
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext(current_setting('application_name') || TG_ARGV[0]));
    RETURN NULL;
END $$;
CREATE FUNCTION long_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    -- Leases expire when the schedule says so, not when the machine is slow.
    IF NEW.expires_at > now() THEN NEW.expires_at := now() + interval '1 day'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lease BEFORE INSERT OR UPDATE ON runners FOR EACH ROW EXECUTE FUNCTION long_lease();
CREATE CONSTRAINT TRIGGER gate_beat AFTER UPDATE ON runners DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gate(':beat');
CREATE CONSTRAINT TRIGGER gate_end AFTER INSERT OR DELETE ON runners DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gate(':end');
DO $$ DECLARE t text; BEGIN
    FOREACH t IN ARRAY ARRAY['runnable_tasks', 'scheduled_tasks', 'claims', 'history', 'attempts', 'keys', 'cancellations', 'pauses'] LOOP
        EXECUTE format('CREATE CONSTRAINT TRIGGER gate_end AFTER INSERT OR UPDATE OR DELETE ON %I DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gate('':end'')', t);
        EXECUTE format('CREATE TRIGGER gate_mid AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT EXECUTE FUNCTION gate('':mid'')', t);
    END LOOP;
END $$;";

const EMPTY: &str = "DELETE FROM runnable_tasks; DELETE FROM scheduled_tasks; DELETE FROM claims; DELETE FROM popped; DELETE FROM history;
    DELETE FROM attempts; DELETE FROM keys; DELETE FROM cancellations; DELETE FROM pauses; DELETE FROM handlers;
    DELETE FROM runners; DELETE FROM task_state; DELETE FROM crash_reports;";

const EMPTY_FOR_GOOD: &str =
    "TRUNCATE runnable_tasks, scheduled_tasks, claims, popped, history, attempts, keys, cancellations,
    pauses, handlers, runners, task_state, crash_reports;";

impl Scheduler {
    pub(super) async fn new() -> Scheduler {
        let config = testdb::config();
        let store = Store::connect(config.clone()).await.expect("connect");
        store.migrate().await.expect("migrate");
        let client = testdb::psql(&store).await;
        client.batch_execute(GATES).await.expect("gates");
        let pid = client
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .expect("pid")
            .get(0);
        let mut stores = Vec::new();
        let mut apps = Vec::new();
        for n in 0..CLIENTS - RUNNERS {
            let mut config = config.clone();
            let app = format!("{}_{n}", config.schema);
            config
                .postgres
                .application_name(&app)
                .options("-c deadlock_timeout=100ms");
            apps.push(app);
            let store = Store::connect(config).await.expect("connect");
            // Half of them copy their outcomes.
            store.set_many(if n % 2 == 0 { 1 } else { usize::MAX });
            stores.push(store);
        }
        let observer = Observer {
            client,
            pid,
            statements: RefCell::default(),
        };
        Scheduler {
            observer,
            stores,
            apps,
            flights: Vec::new(),
            closed: vec![false; CLIENTS],
            n_runs: 0,
        }
    }

    /// An empty queue and processes without state.
    pub(super) async fn clear(&mut self, full: bool) {
        assert!(self.flights.is_empty(), "a call is still running");
        let sql = if full { EMPTY_FOR_GOOD } else { EMPTY };
        for part in sql.split_inclusive(';').filter(|part| part.len() > 3) {
            self.observer
                .client
                .batch_execute(part)
                .await
                .expect("clear");
        }
        self.stores.iter().for_each(forget_everything);
    }

    /// Replaces a part of one function in the schema.
    pub(super) async fn mutate(&self, function: &str, from: &str, to: &str) {
        let sql = format!("SELECT pg_get_functiondef('{function}'::regprocedure)");
        let text = self.observer.text(&sql).await;
        let schema = &self.stores[0].config().schema;
        let mutant = text.replace(from, &schema.render(to));
        assert_ne!(text, mutant, "{function} looks different now");
        self.observer
            .client
            .batch_execute(&mutant)
            .await
            .expect("mutate");
    }

    /// Starts a call; with `gates`, it stops there if it writes.
    pub(super) async fn launch(
        &mut self,
        client: usize,
        verb: Verb,
        pause: Pause,
        gated: bool,
    ) -> usize {
        if gated {
            self.gate(client, pause == Pause::AfterFirstWrite, true)
                .await;
        }
        let store = Actors::store_of(client, &self.stores).clone();
        let shared = !self.flights.is_empty();
        let handle = tokio::spawn(verb.clone().perform(store));
        self.flights.push(Flight {
            client,
            verb,
            fate: Fate::Commit,
            until: 0,
            shared,
            mid: pause == Pause::AfterFirstWrite,
            pid: None,
            handle,
            heard: None,
        });
        self.flights.len() - 1
    }

    async fn gate(&mut self, client: usize, mid: bool, close: bool) {
        if self.closed[client] == close {
            return;
        }
        let app = &self.apps[Self::store_at(client)];
        let gates: &[&str] = match (client < PUSHER, client % 2, mid || !close) {
            (true, 1, _) => &[":beat"],
            (true, _, true) => &[":mid", ":end"],
            (true, _, false) => &[":end"],
            (false, _, true) => &[":beat", ":mid", ":end"],
            (false, _, false) => &[":beat", ":end"],
        };
        let verb = if close {
            "pg_advisory_lock"
        } else {
            "pg_advisory_unlock"
        };
        // Closing a gate that is open raises only a warning.
        let calls: Vec<String> = gates
            .iter()
            .map(|gate| format!("{verb}(hashtext('{app}{gate}'))"))
            .collect();
        let sql = format!("SELECT {}", calls.join(", "));
        self.observer
            .client
            .batch_execute(&sql)
            .await
            .expect("gate");
        self.closed[client] = close;
    }

    pub(super) async fn open(&mut self, client: usize) {
        self.gate(client, true, false).await;
    }

    fn store_at(client: usize) -> usize {
        if client < PUSHER {
            client / 2
        } else {
            client - RUNNERS
        }
    }

    /// Waits until the call has ended, or is held. `quiet`: its caller is gone, and only its
    /// server process counts.
    pub(super) async fn doing(&mut self, flight: usize, quiet: bool) -> Doing {
        let client = self.flights[flight].client;
        if !self.closed[client] && self.flights.len() == 1 && !quiet {
            // It can only wait for its own end.
            self.await_answer(flight).await;
            return Doing::Ended;
        }
        let app = &self.apps[Self::store_at(client)];
        let like = if client < PUSHER && client % 2 == 1 {
            "LIKE"
        } else {
            "NOT LIKE"
        };
        let sql = format!(
            "SELECT coalesce(json_agg(json_build_array(pid, wait_event_type = 'Lock', pg_blocking_pids(pid))), '[]')::text
             FROM pg_stat_get_activity(NULL)
             WHERE application_name = '{app}' AND state NOT LIKE 'idle' AND query {like} '-- Caller: Store::beat%'"
        );
        for _ in 0..50_000 {
            let patience = std::time::Duration::from_millis(1);
            if !quiet
                && tokio::time::timeout(patience, self.await_answer(flight))
                    .await
                    .is_ok()
            {
                return Doing::Ended;
            }
            let text = self.observer.text(&sql).await;
            let rows: Vec<(i32, Option<bool>, Vec<i32>)> =
                serde_json::from_str(&text).expect("rows");
            if quiet && rows.is_empty() {
                return Doing::Ended;
            }
            for (pid, waits, blockers) in &rows {
                if *waits != Some(true) || blockers.is_empty() {
                    continue;
                }
                if blockers.contains(&self.observer.pid) {
                    self.flights[flight].pid = Some(*pid);
                    return Doing::AtGate;
                }
                let others = self.flights.iter().enumerate();
                let holders: Vec<usize> = others
                    .filter(|(_, f)| f.pid.is_some_and(|pid| blockers.contains(&pid)))
                    .map(|(i, _)| i)
                    .collect();
                if !holders.is_empty() {
                    return Doing::Waits(holders);
                }
            }
            if quiet {
                tokio::time::sleep(patience).await;
            }
        }
        panic!(
            "{} is blocked for an unknown reason",
            self.flights[flight].verb
        );
    }

    pub(super) fn has_failed(&self, flight: usize) -> bool {
        matches!(self.flights[flight].heard, Some(Ok(Err(_))))
    }

    /// Waits for the answer of a call.
    async fn await_answer(&mut self, flight: usize) {
        let flight = &mut self.flights[flight];
        if flight.heard.is_none() {
            flight.heard = Some((&mut flight.handle).await);
        }
    }

    /// Continues the call according to its fate. Call [`Scheduler::doing`] next.
    pub(super) async fn release(&mut self, flight: usize) {
        let Flight {
            client, fate, pid, ..
        } = self.flights[flight];
        match (fate, pid) {
            (Fate::LoseAnswer, _) => self.flights[flight].handle.abort(),
            (Fate::Kill, Some(pid)) => self.signal("pg_terminate_backend", pid).await,
            (Fate::Interrupt, Some(pid)) => self.signal("pg_cancel_backend", pid).await,
            _ => {}
        }
        // Behind the closed gate, so that it cannot have committed.
        if matches!(fate, Fate::Kill | Fate::Interrupt) {
            return;
        }
        if self.flights[flight].mid {
            // It still stops before its commit: it may have to wait for others first.
            let app = &self.apps[Self::store_at(client)];
            let sql = format!("SELECT pg_advisory_unlock(hashtext('{app}:mid'))");
            self.observer
                .client
                .batch_execute(&sql)
                .await
                .expect("gate");
            self.flights[flight].mid = false;
        } else {
            self.open(client).await;
        }
    }

    async fn signal(&self, function: &str, pid: i32) {
        let sql = format!("SELECT {function}({pid})");
        self.observer
            .client
            .batch_execute(&sql)
            .await
            .expect("signal");
    }

    /// Removes an ended call.
    pub(super) async fn take(&mut self, flight: usize) -> (Flight, Result<Outcome, String>) {
        let client = self.flights[flight].client;
        let mut taken = self.flights.remove(flight);
        let heard = match taken.heard.take() {
            Some(heard) => heard,
            None => (&mut taken.handle).await,
        };
        let outcome = match heard {
            Ok(Ok(answer)) => Ok(Outcome::Answered(answer)),
            Ok(Err(error)) if error.is_transient() => Ok(Outcome::Interrupted(error.to_string())),
            Ok(Err(error)) => Err(format!("{}: {error:?}", super::run::ERROR)),
            Err(join) if join.is_cancelled() => Ok(Outcome::Lost),
            Err(join) => Err(format!("a panic: {join}")),
        };
        self.open(client).await;
        (taken, outcome)
    }
}
