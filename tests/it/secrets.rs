//! No output of the program contains passwords or secrets, including errors.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use pgtq_setup::postgres::{PrivatePostgres, ServerOptions};
use pgtq_tests::{HttpServer, Sql, cli, http_page, plugin_dir, program, wait_until};

/// Every planted secret contains one of these. Letters and digits survive every kind of
/// quoting.
const MARKS: [&str; 2] = ["hunter2", "zebra7"];
/// With characters that a URL must escape.
const PASSWORD: &str = "hunter2 p@s/s?w#r%d'&x=hunter2";
/// The password of the role of handler SQL.
const SECRET_OF_SQL: &str = "zebra7 of sql";
/// Inserted by the runner for a placeholder.
const SECRET_OF_MAIL: &str = "zebra7-of-mail";
/// Read by the handler.
const SECRET_OF_HOOK: &str = "zebra7 of hook";

const VERBS: &[&str] = &[
    "doctor",
    "config show --origin",
    "config show --json",
    "migrate",
    "roles",
    "tasks",
    "stats",
    "queues",
    "runners",
    "plugins",
    "health",
    "show 1",
    "push nobody_has_it --allow-unknown",
    "run --idle-exit 1ms",
];
/// The verbs that use a URL most, for URLs rejected before a connection.
const FEW: &[&str] = &["doctor", "config show --origin", "run --idle-exit 1ms"];

/// A server that requires passwords for two roles.
struct PasswordServer {
    server: PrivatePostgres,
    sql: Sql,
}

impl PasswordServer {
    fn start() -> Self {
        let server =
            PrivatePostgres::start(&ServerOptions::ephemeral(), &|line| eprintln!("{line}"))
                .unwrap_or_else(|error| panic!("{error}"));
        cli(&server.url(), &["migrate"], "").success();
        let sql = Sql::connect(&server.url());
        let password = PASSWORD.replace('\'', "''");
        sql.rows(&format!(
            "CREATE ROLE locked LOGIN SUPERUSER PASSWORD '{password}';
             CREATE ROLE reports LOGIN PASSWORD '{SECRET_OF_SQL}'; SELECT pgtq.allow_sql('reports');
             CREATE TABLE public.orders (id bigint PRIMARY KEY, day date, product text, quantity bigint, cents bigint);
             CREATE TABLE public.report_lines (report bigint, product text, orders bigint, quantity bigint, cents bigint,
                PRIMARY KEY (report, product));
             GRANT ALL ON public.orders, public.report_lines TO reports"
        ));
        let rules = PathBuf::from(sql.row("SHOW hba_file"));
        let others = fs::read_to_string(&rules).expect("the server's rules are read");
        let first = "local all locked,reports scram-sha-256\n";
        fs::write(&rules, format!("{first}{others}")).expect("the server's rules are written");
        sql.rows("SELECT pg_reload_conf()");
        let without = server.url().replace("user=pgtq", "user=locked");
        wait_until("a password is asked for", || {
            Sql::try_connect(&without).is_err()
        });
        PasswordServer { server, sql }
    }

    fn dir(&self) -> String {
        self.server.dir().display().to_string()
    }

    fn url(&self, password: &str) -> String {
        format!(
            "postgresql://locked:{}@/pgtq?host={}",
            escaped(password),
            self.dir()
        )
    }

    /// URLs of every form, and whether to try all verbs.
    fn addresses(&self) -> Vec<(String, bool)> {
        let (dir, escaped) = (self.dir(), escaped(PASSWORD));
        let quoted = PASSWORD.replace('\'', "\\'");
        let all = [
            self.url(PASSWORD),
            format!("host={dir} dbname=pgtq user=locked password='{quoted}'"),
            self.url("hunter2 is not it"),
        ];
        let few = [
            format!("postgresql:///pgtq?host={dir}&user=locked&password=hunter2"),
            format!("host={dir} dbname=nowhere user=locked password = hunter2"),
            format!("postgresql://locked:{escaped}@127.0.0.1:1/pgtq"),
            format!("postgresql://locked:{escaped}@127.0.0.1:1,localhost:2/pgtq"),
            "host=127.0.0.1,127.0.0.1 port=1,2 user=u password=hunter2".to_owned(),
            format!("postgresql://u:{escaped}@h:port/x"),
            format!("postgresql://u:{escaped}@h:99999/x"),
            format!("postgresql://u:{escaped}@127.0.0.1:1/x?sslmode=none&sslcert=y"),
            format!("postgresql://u:{PASSWORD}@127.0.0.1:1/x"),
            "postgresql://u:hunter2@hunter2@127.0.0.1:1/x".to_owned(),
            "postgresql://u:hunter2/hunter2@127.0.0.1:1/x".to_owned(),
            "postgresql://u:1/hunter2@127.0.0.1:1/x".to_owned(),
            "postgresql://u:hunter2?hunter2@127.0.0.1:1/x".to_owned(),
            "postgresql://u:x?hunter2=hunter2@127.0.0.1:1/x".to_owned(),
            "postgresql://u:hunter2#hunter2@127.0.0.1:1/x".to_owned(),
            "postgresql://u:hunter2%zzhunter2@127.0.0.1:1/x".to_owned(),
            "postgresql://u:hunter2@[::1/x".to_owned(),
            "mysql://u:hunter2@127.0.0.1:1/x".to_owned(),
            "u:hunter2@127.0.0.1:1/x".to_owned(),
            "hunter2".to_owned(),
            "host=127.0.0.1 port=1 user=u password='hunter2".to_owned(),
            "host=127.0.0.1 port=1 user=u password=x hunter2 dbname=y".to_owned(),
            "host=127.0.0.1 port=1 user=u password=x hunter2=y".to_owned(),
            "host=127.0.0.1 port=1 user=u password='x'hunter2 port=y".to_owned(),
        ];
        let all = all.into_iter().map(|url| (url, true));
        all.chain(few.into_iter().map(|url| (url, false))).collect()
    }
}

/// Percent-encodes the user part of a URL.
fn escaped(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    });
    escaped.collect()
}

#[track_caller]
fn assert_silent(who: &str, printed: &str) {
    for mark in MARKS {
        let place = printed.lines().find(|line| line.contains(mark));
        assert_eq!(place, None, "{who} prints {mark}");
    }
}

/// Runs each verb with `env` and the most verbose log. Returns all output.
fn output_of(verbs: &[&str], dir: &Path, env: &[(&str, &str)]) -> String {
    let mut all = String::new();
    for verb in verbs {
        let output = program()
            .args(["-vvv", "--timeout", "20s"])
            .args(verb.split(' '))
            .current_dir(dir)
            .env("ZEBRA", SECRET_OF_SQL)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("pgtq runs");
        let printed = [output.stdout, output.stderr]
            .map(|printed| String::from_utf8_lossy(&printed).into_owned());
        let who = format!("`{verb}` with {env:?}");
        assert_silent(&who, &printed.concat());
        assert!(!printed.concat().is_empty(), "{who} prints nothing");
        all.push_str(&printed.concat());
    }
    all
}

#[test]
fn no_verb_prints_a_password_or_a_secret_for_any_url() {
    let locked = PasswordServer::start();
    let dir = tempfile::tempdir().expect("a temporary directory is created");
    let toml = "[grants.report]\nsql = { role = 'reports', password = 'db' }\n[secrets.db]\nenv = 'ZEBRA'\n";
    fs::write(dir.path().join("pgtq.toml"), toml).expect("a file is written");
    fs::create_dir(dir.path().join("plugins")).expect("a directory is made");
    let addresses = locked.addresses();
    // Two runs at a time.
    std::thread::scope(|scope| {
        for part in 0..2 {
            let (addresses, dir) = (&addresses, dir.path());
            scope.spawn(move || {
                for (url, all) in addresses.iter().skip(part).step_by(2) {
                    let verbs = if *all { VERBS } else { FEW };
                    output_of(verbs, dir, &[("PGTQ_DATABASE_URL", url)]);
                }
            });
        }
    });
    let good = output_of(
        VERBS,
        dir.path(),
        &[("DATABASE_URL", &locked.url(PASSWORD))],
    );
    assert!(good.contains("registered"), "the login succeeded: {good}");
    let bad = output_of(
        FEW,
        dir.path(),
        &[("DATABASE_URL", &locked.url("hunter2!"))],
    );
    assert!(bad.contains("password authentication failed"), "{bad}");
    // The other ways to set a URL.
    let host = locked.dir();
    let variables = [
        ("PGHOST", host.as_str()),
        ("PGDATABASE", "pgtq"),
        ("PGUSER", "locked"),
        ("PGPASSWORD", PASSWORD),
    ];
    output_of(FEW, dir.path(), &variables);
    let listen = [
        ("PGTQ_DATABASE_URL", &*locked.url(PASSWORD)),
        ("PGTQ_LISTEN_URL", "postgresql://u:hunter2@127.0.0.1:1/x"),
    ];
    output_of(FEW, dir.path(), &listen);
    for url in [
        &*locked.url(PASSWORD),
        "postgresql://u:hunter2@hunter2@127.0.0.1:1/x",
    ] {
        let toml = format!("[database]\nurl = \"{url}\"\nurls = \"hunter\"\n");
        for toml in [toml.replace("urls", "schema"), toml] {
            fs::write(dir.path().join("pgtq.toml"), toml).expect("a file is written");
            output_of(FEW, dir.path(), &[]);
        }
    }
}

/// A process, killed at the end of the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command lines and environments of the children of `parent`.
fn children(parent: u32) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("there is /proc").flatten();
    let read =
        |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let of_parent = processes.filter(|one| {
        let stat = read(one.path().join("stat"));
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        fields.split(' ').nth(1) == Some(&parent.to_string())
    });
    let attempts = of_parent
        .map(|one| read(one.path().join("cmdline")) + "\n" + &read(one.path().join("environ")));
    attempts.collect()
}

#[test]
fn a_runner_and_its_handlers_use_secrets_and_print_none() {
    let locked = PasswordServer::start();
    let dir = plugin_dir(&["webhook", "mailer", "report"]);
    // Echoes requests: the worst case of a service that reveals a key.
    let service = HttpServer::start(|request| {
        let key = request.header("authorization").to_owned();
        (500, vec![("x-key", key.clone())], key.into_bytes())
    });
    let url = service.url("/");
    let toml = format!(
        "[grants.webhook]\nhttp = ['POST {url}']\nsecrets.webhook_signing = {{ read = true }}\n\
         [secrets.webhook_signing]\nfile = 'hook'\n\
         [grants.mailer]\nhttp = ['POST {url}']\nsecrets.mail_api = {{ hosts = ['127.0.0.1'] }}\n\
         [secrets.mail_api]\nenv = 'ZEBRA_MAIL'\n\
         [grants.report]\nsql = {{ role = 'reports', password = 'db' }}\n[secrets.db]\nenv = 'ZEBRA'\n"
    );
    fs::write(dir.path().join("pgtq.toml"), toml).expect("a file is written");
    fs::write(dir.path().join("hook"), SECRET_OF_HOOK).expect("a file is written");
    let address = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port is free")
        .to_string();
    let log_path = dir.path().join("log.txt");
    let file = File::create(&log_path).expect("a file is made");
    let good = locked.url(PASSWORD);
    let child = program()
        .args(["run", "--plugins", ".", "--listen", &address])
        .current_dir(dir.path())
        .envs([
            ("PGTQ_DATABASE_URL", good.as_str()),
            ("PGTQ_LOG", "trace"),
            // A separate cache, so that the plugins are compiled.
            ("PGTQ_CACHE", "cache"),
            ("ZEBRA", SECRET_OF_SQL),
            ("ZEBRA_MAIL", SECRET_OF_MAIL),
        ])
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a handle is copied"))
        .stderr(file)
        .spawn()
        .expect("pgtq starts");
    let runner = Process(child);
    let pid = runner.0.id();
    let mut seen = Vec::new();
    wait_until("a compiler is running", || {
        seen = children(pid);
        seen.iter().any(|child| child.contains("compile-plugin"))
    });
    assert_silent("a compiler's process", &seen.join("\n"));
    let own = fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
    assert_silent("the runner's command line", &String::from_utf8_lossy(&own));

    let sql = &locked.sql;
    wait_until("the plugins are loaded", || {
        sql.number("SELECT count(DISTINCT name) FROM pgtq.handlers WHERE name IN ('deliver', 'send_mail_api', 'order_report')") == 3
    });
    let ended = |n: i64| {
        wait_until("the tasks have ended", || {
            sql.number("SELECT count(*) FROM pgtq.history") == n
        });
    };
    let push = |handler: &str, args: &str| {
        sql.rows(&format!(
            "SELECT pgtq.push('{handler}', '{args}', retries => 0)"
        ));
    };
    push(
        "deliver",
        &format!(r#"{{"url": "{url}", "event": "e", "body": "b"}}"#),
    );
    push(
        "send_mail_api",
        &format!(r#"{{"to": "a@example.com", "subject": "s", "text": "t", "url": "{url}"}}"#),
    );
    push("order_report", "{}");
    ended(3);
    let states =
        "SELECT string_agg(handler || ' ' || state, ', ' ORDER BY handler) FROM pgtq.history";
    assert_eq!(
        sql.row(states),
        "deliver failed, order_report complete, send_mail_api failed"
    );
    let requests = service.requests();
    let key = format!("Bearer {SECRET_OF_MAIL}");
    assert!(
        requests
            .iter()
            .any(|one| one.header("authorization") == key),
        "the secret was sent: {requests:?}"
    );
    // Changes the passwords of the handlers' role and of the runner's role.
    sql.rows(
        "ALTER ROLE reports PASSWORD 'other'; ALTER ROLE locked PASSWORD 'other';
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reports'",
    );
    push("order_report", "{}");
    ended(4);
    sql.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'locked'");
    let log = || String::from_utf8_lossy(&fs::read(&log_path).expect("it is there")).into_owned();
    wait_until("the login of the runner is rejected", || {
        log().contains("password authentication failed for user \"locked\"")
    });
    for path in ["/metrics", "/readyz", "/healthz"] {
        let page = http_page(&address, path).expect("the page is there");
        assert!(page.starts_with("HTTP/1.1 "), "{page}");
        assert_silent(path, &page);
    }
    assert_silent("the runner", &log());
    let tables = sql.rows(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'pgtq' AND tablename !~ '_[0-9]+$'",
    );
    for table in tables {
        let rows = sql.rows(&format!("SELECT row.*::text FROM pgtq.{table} AS row"));
        assert_silent(&table, &rows.join("\n"));
    }
    for id in ["1", "2", "3", "4"] {
        for verb in ["show", "logs"] {
            let found = cli(&locked.server.url(), &[verb, id], "");
            assert_silent(verb, &(found.stdout + &found.stderr));
        }
    }
}
