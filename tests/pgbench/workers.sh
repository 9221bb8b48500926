#!/usr/bin/env bash
# Throughput of workers that use SQL only (pop and complete), measured with pgbench.
#
# usage: tests/pgbench/workers.sh [clients] [seconds]
#
# Needs psql and pgbench, a database chosen by PGHOST, PGDATABASE and so on, and the
# schema `pgtq` in it (pgtq migrate). Use an empty database: the script deletes all tasks.
# PGTQ_API=claims measures the functions before tokens (pop returned claim_id).
#
# Prints one line a case: name, tasks/s, mean latency of one pop and complete.
set -euo pipefail
clients=${1:-32} seconds=${2:-15}
here=$(cd "$(dirname "$0")" && pwd)
api=${PGTQ_API:-tokens}
days=${PGTQ_DAYS:-1 365}
cases=${PGTQ_CASES:-one ten handlers}
sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

empty() {
    # No TRUNCATE of partitioned tables: hundreds of new files would be synced during the run.
    sql -c "TRUNCATE pgtq.runnable_tasks, pgtq.scheduled_tasks, pgtq.claims, pgtq.keys"
    sql -c "DELETE FROM pgtq.history" -c "DELETE FROM pgtq.attempts"
    [ "$api" = claims ] || sql -c "TRUNCATE pgtq.popped, pgtq.lane_starts"
}

# Partitions of history and attempts as if they had been kept for that many days.
history() {
    sql -v days="$1" <<'SQL' >/dev/null
SELECT format('CREATE TABLE IF NOT EXISTS pgtq.%I PARTITION OF pgtq.%I FOR VALUES FROM (%L) TO (%L)',
    parent || to_char(day, '_YYYY_MM_DD'), parent, to_char(day, 'YYYY-MM-DD 00:00:00+00'), to_char(day + 1, 'YYYY-MM-DD 00:00:00+00'))
FROM unnest(ARRAY['history', 'attempts']) AS parent,
     LATERAL (SELECT (now() AT TIME ZONE 'UTC')::date - i AS day FROM generate_series(1, :days - 1) AS i) AS d
\gexec
SQL
}

push() { # tasks, handlers
    sql -c "SELECT count(pgtq.push('h' || i % $2, '{\"n\": 1}', queue => 'bench')) FROM generate_series(1, $1) AS i" >/dev/null
}

run() { # name, script, tasks of one transaction
    local out tps latency
    sql -c CHECKPOINT
    # One of the workers calls tend each second, as the documentation says.
    [ "$api" = claims ] || pgbench -n -c 1 -R 1 -T "$((seconds + 1))" -f "$here/tokens-tend.sql" >/dev/null 2>&1 &
    out=$(pgbench -n -M prepared -c "$clients" -j 2 -T "$seconds" -f "$here/$api-$2.sql" 2>&1) || { echo "$out" >&2; exit 1; }
    tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$out")
    wait
    latency=$(sed -n 's/^latency average = \(.*\)/\1/p' <<<"$out")
    echo "$1: $(awk -v t="$tps" -v n="$3" 'BEGIN { printf "%.0f", t * n }') tasks/s, $latency"
}

for d in $days; do
    history "$d"
    for c in $cases; do
        empty
        case $c in
            one) push 200000 1; run "$d days, $clients workers, 1 task a pop" one 1 ;;
            ten) push 1000000 1; run "$d days, $clients workers, 10 tasks a pop" ten 10 ;;
            handlers) push 200000 10; run "$d days, $clients workers, 1 task a pop, 10 handlers" one 1 ;;
        esac
    done
done
