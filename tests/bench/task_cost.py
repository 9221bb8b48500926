#!/usr/bin/env python3
"""The cost of a plain task for the Postgres server: instructions and bytes of WAL of its
claim and its outcome, by INSERT and by COPY, in batches of 500 and 10.

    tests/bench/task_cost.py [--rev COMMIT] [--after SQL] [--claim FILE] [--set SQL] [--keep DIRECTORY]

A private server runs under `valgrind --tool=callgrind`. A small client uses the protocol
like a runner: named statements of runner/store/src/sql, binary parameters. Each figure is
the difference of two sessions of different length, divided by the number of tasks, so that
the start of a session and the first plans do not count. The server has no autovacuum, no
fsync and no full-page writes.

--rev reads the schema, the statements and the session settings from a commit instead of the
working tree; --after runs SQL after the migrations, --set in each session; --claim uses
another claim.sql; --keep keeps the files for callgrind_annotate in a directory that the
server can write to. PGTQ_PG_BIN is the directory of the Postgres programs. As root it runs
them as nobody. It takes about three minutes.
"""
import argparse, os, pathlib, re, signal, socket, struct, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = os.environ.get("PGTQ_PG_BIN", "/usr/lib/postgresql/15/bin")
BATCHES = {500: 6, 10: 50}  # batch size: rounds of the short session; the long one has 3 times as many
OIDS = {"bigint": 20, "integer": 23, "text": 25, "json": 114, "jsonb": 3802, "float8": 701, "bytea": 17, "timestamptz": 1184}
NOW = int((time.time() - 946_684_800) * 1e6)


def text_of(path, rev):
    if rev:
        known = subprocess.check_output(["git", "-C", ROOT, "ls-tree", "--name-only", rev, path], text=True)
        # Revisions before the store was a crate.
        path = path if known else path.replace("runner/store/src/", "runner/src/store/")
        return subprocess.check_output(["git", "-C", ROOT, "show", f"{rev}:{path}"], text=True)
    return (ROOT / path).read_text()


def rendered(path, rev):
    text = text_of(path, rev).replace("{{schema}}", "pgtq").replace("{{channel}}", "pgtq")
    if "{{carried" not in text:
        return text
    listed = re.search(r"CARRIED[^=]*= \[(.*?)\]", text_of("runner/store/src/carried.rs", rev), re.S)[1]
    names = re.findall(r'"(\w+)"', listed)
    return re.sub(r"\{\{carried ?(\w*)\}\}", lambda m: ", ".join(f"{m[1]}.{n}" if m[1] else n for n in names), text)


def settings(rev):
    """What a session for claims and endings is told, but for timeouts."""
    found = re.search(r'Role::Claim \| Role::Finish => \{?\s*"(SET.*?)"', text_of("runner/store/src/connection.rs", rev), re.S)
    return re.sub(r"\\\s*", "", found[1]).strip("; ") + "; SET search_path = pg_catalog, pg_temp; SET timezone = 'UTC'; "


def scalar(kind, value):
    if kind == "text" or kind == "json":
        return value.encode()
    if kind == "bytea":
        return value
    return struct.pack({"integer": "!i", "float8": "!d"}.get(kind, "!q"), value)


def sized(data):
    return struct.pack("!i", -1) if data is None else struct.pack("!i", len(data)) + data


def array(kind, values):
    """NULL as a whole for None, as the traits of plain tasks are."""
    if values is None:
        return None
    head = struct.pack("!iiiii", 1 if values else 0, None in values, OIDS[kind], len(values), 1)
    if not values:
        head = head[:12]
    return head + b"".join(sized(None if v is None else scalar(kind, v)) for v in values)


def ending(claim, task, handler):
    """Columns of an ending; those that are not here are NULL."""
    return {
        "queue": ("text", "default"), "handler": ("text", handler), "priority": ("integer", 0), "pushed_at": ("timestamptz", NOW),
        "args": ("json", ARGS), "claim_id": ("bigint", claim), "id": ("bigint", task), "state": ("text", "complete"),
        "result": ("json", "3"), "logs_dropped": ("bigint", 0), "attempts": ("integer", 0), "crashes": ("integer", 0),
        "due_at": ("timestamptz", NOW), "since_start": ("float8", 0.002), "since_end": ("float8", 0.001),
        "started_at": ("timestamptz", NOW), "finished_at": ("timestamptz", NOW), "fuel": ("bigint", 1234),
        "peak_memory": ("bigint", 65536), "wall_us": ("bigint", 20), "digest": ("bytea", b"d" * 32), "runner_id": ("bigint", 1),
    }


ARGS = '{"to": "somebody@example.org", "n": 1}'


class Session:
    """One connection."""

    def __init__(self, directory):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(f"{directory}/.s.PGSQL.5432")
        self.file = self.socket.makefile("rb")
        body = b"".join(s.encode() + b"\0" for s in ("user", "postgres", "database", "postgres", "client_encoding", "UTF8")) + b"\0"
        self.socket.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
        self.pid = None
        self.read()

    def message(self, kind, body=b""):
        return kind + struct.pack("!i", len(body) + 4) + body

    def read(self, until=b"Z"):
        rows = []
        while True:
            kind = self.file.read(1)
            body = self.file.read(struct.unpack("!i", self.file.read(4))[0] - 4)
            if kind == b"E":
                sys.exit(body.replace(b"\0", b" ").decode())
            if kind == b"K":
                self.pid = struct.unpack("!i", body[:4])[0]
            if kind == b"D":
                row, at = [], 2
                for _ in range(struct.unpack("!h", body[:2])[0]):
                    size = struct.unpack("!i", body[at:at + 4])[0]
                    row.append(None if size < 0 else body[at + 4:at + 4 + size])
                    at += 4 + max(size, 0)
                rows.append(row)
            if kind == until or kind == b"Z":
                return rows

    def simple(self, sql):
        self.socket.sendall(self.message(b"Q", sql.encode() + b"\0"))
        return self.read()

    def prepare(self, name, sql):
        self.socket.sendall(self.message(b"P", f"{name}\0{sql}\0".encode() + b"\0\0") + self.message(b"S"))
        self.read()

    def bound(self, name, values):
        body = f"\0{name}\0".encode() + struct.pack("!hhh", 1, 1, len(values)) + b"".join(map(sized, values)) + struct.pack("!hh", 1, 1)
        return self.message(b"B", body) + self.message(b"E", b"\0" + struct.pack("!i", 0)) + self.message(b"S")

    def run(self, name, values):
        self.socket.sendall(self.bound(name, values))
        return self.read()

    def copy(self, sql, rows):
        self.socket.sendall(self.message(b"P", b"\0" + sql.encode() + b"\0\0\0") + self.message(b"B", b"\0\0" + bytes(6))
                            + self.message(b"E", b"\0" + struct.pack("!i", 0)) + self.message(b"H"))
        self.read(until=b"G")
        data = b"PGCOPY\n\xff\r\n\0" + bytes(8)
        data += b"".join(struct.pack("!h", len(row)) + b"".join(map(sized, row)) for row in rows) + b"\xff\xff"
        self.socket.sendall(self.message(b"d", data) + self.message(b"c") + self.message(b"S"))
        self.read()


class Statements:
    def __init__(self, rev, claim):
        path = "runner/store/src/sql/"
        self.claim = rendered(path + "claim.sql", rev) if claim is None else pathlib.Path(claim).read_text().replace("{{schema}}", "pgtq")
        self.final = rendered(path + "finish_final.sql", rev)
        self.take = rendered(path + "finish_take.sql", rev)
        self.copy = re.sub(r"--.*\n", "", rendered(path + "finish_copy.sql", rev))
        columns = re.search(r"AS e \((.*?), ordinal\)", self.final, re.S)[1]
        kinds = dict(re.findall(r"\$(\d+)::(\w+)\[\]", self.final))
        self.columns = [(name.strip(), kinds[str(n)]) for n, name in enumerate(columns.split(","), 2)]
        self.copied = [name.strip() for name in re.search(r"\((.*?)\)", self.copy, re.S)[1].split(",")]

    def prepare(self, session):
        session.prepare("claim", self.claim)
        session.prepare("final", self.final)
        session.prepare("take", self.take)


def work(session, statements, how, batch, rounds, handler, first):
    one = scalar("bigint", 1)
    after = 0
    n_values = max(int(n) for n in re.findall(r"\$(\d+)", statements.claim))
    for _ in range(rounds):
        values = [one, array("text", ["default"]), array("text", [handler]), array("integer", [0]), array("bigint", [after]),
                  array("bigint", [batch]), scalar("bigint", batch), scalar("bigint", 8 << 20), array("bigint", [])]
        row = session.run("claim", values[:n_values])[0]
        claim = next(struct.unpack("!q", c)[0] for c in row if c is not None and len(c) == 8)
        ids, after = range(first, first + batch), first + batch - 1
        first += batch
        if how == "claim":
            continue
        endings = [ending(claim, task, handler) for task in ids]
        kept, closing = array("bigint", []), array("bigint", [claim])
        if how == "insert":
            columns = [array(kind, None if name == "traits" else [e[name][1] if name in e else None for e in endings])
                       for name, kind in statements.columns]
            if session.run("final", [one, *columns, kept, closing]):
                sys.exit("an ending came too late")
        else:
            session.simple("BEGIN ISOLATION LEVEL READ COMMITTED")
            if len(session.run("take", [one, kept, closing])) != 1:
                sys.exit("an ending came too late")
            session.copy(statements.copy, [[scalar(*e[c]) if c in e else None for c in statements.copied] for e in endings])
            session.simple("COMMIT")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rev")
    parser.add_argument("--after", default="")
    parser.add_argument("--claim")
    parser.add_argument("--what", default="claim,insert,copy")
    parser.add_argument("--set", default="")
    parser.add_argument("--keep")
    args = parser.parse_args()
    user = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    hows = args.what.split(",")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        server = None

        def start(prefix):
            nonlocal server
            options = ["-k", directory, "-c", "listen_addresses="] + [x for o in (
                "fsync=off", "full_page_writes=off", "autovacuum=off", "jit=off", "checkpoint_timeout=1d", "max_wal_size=4GB",
                "shared_buffers=256MB") for x in ("-c", o)]
            server = subprocess.Popen([*user, *prefix, f"{BIN}/postgres", "-D", f"{directory}/data", *options],
                                      stdout=subprocess.DEVNULL, stderr=open(f"{directory}/log", "ab"), cwd=directory)
            for _ in range(600):
                try:
                    return Session(directory)
                except (FileNotFoundError, ConnectionRefusedError, struct.error, SystemExit):
                    if server.poll() is not None:
                        sys.exit(pathlib.Path(f"{directory}/log").read_text())
                    time.sleep(0.1)
            sys.exit("the server does not start")

        def stop(session):
            session.socket.close()
            server.send_signal(signal.SIGINT)
            server.wait()

        try:
            subprocess.run([*user, f"{BIN}/initdb", "-D", f"{directory}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
                            "--locale=C"], check=True, stdout=subprocess.DEVNULL, cwd=directory)
            session = start([])
            names = [str(path.relative_to(ROOT)) for path in (ROOT / "migrations").rglob("*.sql")]
            if args.rev:
                names = subprocess.check_output(["git", "-C", ROOT, "ls-tree", "-r", "--name-only", args.rev, "migrations/"], text=True).split()
                names = [name for name in names if name.endswith(".sql")]
            # Numbered files, then views, then functions.
            order = lambda name: ("/functions/" in name, not name.endswith("/views.sql"), name)
            session.simple("CREATE SCHEMA pgtq")
            session.simple("CREATE TABLE IF NOT EXISTS pgtq.migrations (version integer PRIMARY KEY)")
            for name in sorted(names, key=order):
                session.simple(rendered(name, args.rev))
            if args.after:
                session.simple(args.after)
            session.simple("INSERT INTO pgtq.runners (id, name, host, pid, version, slots, queues, expires_at) "
                           "VALUES (1, 'a', 'a', 1, '1', 1, '{}', now() + interval '1 day')")
            sessions, first = [], 1
            for how in hows:
                for batch, rounds in BATCHES.items():
                    for times in (1, 3):
                        handler = f"h{len(sessions):02}"
                        sessions.append((how, batch, rounds * times, handler, first))
                        session.simple(f"INSERT INTO pgtq.runnable_tasks (queue, handler, priority, position, id, args) SELECT 'default', '{handler}', 0, n, n, "
                                       f"'{ARGS}' FROM generate_series({first}, {first + batch * rounds * times - 1}) AS n")
                        first += batch * rounds * times
            session.simple("ANALYZE pgtq.runnable_tasks; CHECKPOINT")
            stop(session)

            out = args.keep or directory
            session = start(["valgrind", "--tool=callgrind", "--trace-children=yes", "--log-file=/dev/null", f"--callgrind-out-file={out}/out.%p"])
            statements, found = Statements(args.rev, args.claim), {}
            for how, batch, rounds, handler, first in sessions:
                print(how, batch, rounds, file=sys.stderr, flush=True)
                session.simple("TRUNCATE pgtq.history, pgtq.claims")
                worker = Session(directory)
                worker.simple(settings(args.rev) + args.set)
                statements.prepare(worker)
                wal = session.simple("SELECT pg_current_wal_insert_lsn() - '0/0'")[0][0]
                work(worker, statements, how, batch, rounds, handler, first)
                wal = int(session.simple("SELECT pg_current_wal_insert_lsn() - '0/0'")[0][0]) - int(wal)
                worker.socket.sendall(worker.message(b"X"))
                worker.file.read()
                path, total = f"{out}/out.{worker.pid}", None
                while total is None:
                    time.sleep(0.1)
                    text = pathlib.Path(path).read_text() if os.path.exists(path) else ""
                    total = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
                found.setdefault((how, batch), []).append((int(total[1]), wal, batch * rounds))
            stop(session)
        finally:
            if server and server.poll() is None:
                server.send_signal(signal.SIGINT)
                server.wait()
    print("what\tbatch\tinstructions a task\tWAL B a task")
    for (how, batch), ((i1, w1, n1), (i2, w2, n2)) in found.items():
        print(f"{how}\t{batch}\t{(i2 - i1) / (n2 - n1):.0f}\t{(w2 - w1) / (n2 - n1):.1f}", flush=True)


main()
