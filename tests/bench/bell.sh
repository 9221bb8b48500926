#!/usr/bin/env bash
# The cost of waiting runners for pushers: pgbench with 32 clients and one push per
# transaction, with 0, 1, 2 and 4 mostly idle runners, which serve the same queue or another
# one, with notifications and with --poll-only.
#
#   PGTQ=target/release/pgtq PLUGINS=dir DATABASE_URL=postgres://... tests/bench/bell.sh
#
# DATABASE_URL is a database whose schema pgtq is dropped. PLUGINS is a directory with a
# plugin that has the handler $HANDLER (default add_numbers, of hello.wasm).
# SECONDS_EACH (8), ROUNDS (3), RUNNERS ("1 2 4"). OLD=1 holds a snapshot open and simulates
# two hours of heartbeats, requests and notifications.
set -euo pipefail
PGTQ=${PGTQ:-target/release/pgtq}
HANDLER=${HANDLER:-add_numbers}
SECONDS_EACH=${SECONDS_EACH:-8}
ROUNDS=${ROUNDS:-3}
work=$(mktemp -d)
pids=()
stop() {
    ((${#pids[@]} > 0)) || return 0
    kill "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
    pids=()
}
trap 'stop; exec 9>&- || true; rm -rf "$work"' EXIT
sql() { psql -qXAt -v ON_ERROR_STOP=1 "$DATABASE_URL" -c "$1"; }
export PGTQ_DATABASE_URL=$DATABASE_URL

sql 'DROP SCHEMA IF EXISTS pgtq CASCADE' 2>/dev/null
"$PGTQ" migrate >/dev/null 2>&1
echo "SELECT pgtq.push('$HANDLER', '[1, 2]');" >"$work/push.sql"

requests() {
    sql "SELECT coalesce(sum(last_value / 1024), 0) FROM pg_sequences WHERE schemaname = 'pgtq' AND sequencename LIKE 'wake\_%'"
}

# pushes N WHERE HOW: pushes per second with N runners, and the requests of the runners.
pushes() {
    for ((i = 0; i < $1; i++)); do
        local queue='default=4'
        [[ $2 == same ]] || queue="other$i=4"
        local flags=()
        [[ $3 == listen ]] || flags=(--poll-only)
        "$PGTQ" run --plugins "$PLUGINS" --queues "$queue" --no-watch "${flags[@]}" >/dev/null 2>&1 &
        pids+=($!)
    done
    local tries=0
    until [[ $(sql "SELECT count(DISTINCT runner_id) FROM pgtq.handlers WHERE name = '$HANDLER'") == "$1" ]]; do
        ((++tries < 300)) || { echo 'the runners do not start' >&2; exit 1; }
        sleep 0.2
    done
    sleep 1
    local before tps
    before=$(requests)
    tps=$(pgbench -n -M prepared -c 32 -j 2 -T "$SECONDS_EACH" -f "$work/push.sql" "$DATABASE_URL" 2>/dev/null \
        | sed -n 's/^tps = \([0-9]*\).*/\1/p')
    echo "$tps $(($(requests) - before))"
    stop
    until [[ $(sql 'SELECT count(*) FROM pgtq.runners') == 0 ]]; do sleep 0.2; done
    sql 'TRUNCATE pgtq.runnable_tasks, pgtq.history' >/dev/null
}

if [[ ${OLD:-} == 1 ]]; then
    # A snapshot that stays open as long as the pipe.
    mkfifo "$work/pipe"
    psql -qX "$DATABASE_URL" <"$work/pipe" >/dev/null 2>&1 &
    exec 9>"$work/pipe"
    echo 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgtq.runners;' >&9
    sleep 1
    sql "INSERT INTO pgtq.runners (name, host, pid, version, slots, queues, expires_at)
         SELECT 'old', 'h', 1, '0', 1, '{}', now() + interval '1 hour' FROM generate_series(1, 20)"
    has_flag=$(sql "SELECT count(*) FROM pg_attribute WHERE attrelid = 'pgtq.runners'::regclass AND attname = 'sleeping'")
    for ((n = 0; n < 1500; n++)); do
        if [[ $has_flag == 1 ]]; then
            echo "UPDATE pgtq.runners SET sleeping = NOT sleeping, seen_at = now();"
        else
            echo "UPDATE pgtq.runners SET seen_at = now();"
            echo 'DO $$ BEGIN FOR n IN 1 .. 20 LOOP PERFORM pgtq.request_wake(), pgtq.wake(); END LOOP; END $$;'
        fi
    done | psql -qXAt "$DATABASE_URL" >/dev/null
    sql "DELETE FROM pgtq.runners"
fi

median() { cut -d' ' -f1 | sort -n | sed -n "$(((ROUNDS + 1) / 2))p"; }
most() { cut -d' ' -f2 | sort -n | tail -n 1; }
printf 'runners\tserve\tpoll only\tlisten\tratio\trequests\n'
printf '0\t-\t%s\t-\t-\t-\n' "$(for ((r = 0; r < ROUNDS; r++)); do pushes 0 same poll; done | median)"
for n in ${RUNNERS:-1 2 4}; do
    for where in same other; do
        : >"$work/poll"; : >"$work/listen"
        for ((r = 0; r < ROUNDS; r++)); do
            pushes "$n" "$where" poll >>"$work/poll"
            pushes "$n" "$where" listen >>"$work/listen"
        done
        poll=$(median <"$work/poll") listen=$(median <"$work/listen")
        ratio=$(awk "BEGIN { printf \"%.2f\", $listen / $poll }")
        printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$n" "$where" "$poll" "$listen" "$ratio" "$(most <"$work/listen")"
    done
done
