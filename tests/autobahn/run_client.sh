#!/usr/bin/env bash
# Runs the library's client against the fuzzing server of the Autobahn TestSuite.
#
#   run_client.sh OUTDIR [CASES] [EXCLUDE]
#
# CASES, EXCLUDE, AB_TIMEOUT, AB_SUMMARY and the exit status are those of run.sh, which must have run before, because it
# creates the virtual environment AB_VENV.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 1 ] && [ $# -le 3 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
out=$1
read -r -a cases <<<"$(tr ',' ' ' <<<"${2:-*}")"
read -r -a exclude <<<"$(tr ',' ' ' <<<"${3:-}")"
venv=${AB_VENV:-${TMPDIR:-/tmp}/autobahn-venv}
mkdir -p "$out" || exit 4
rm -f "$out"/index.json "$out"/planned.json "$out"/*_case_*.json

args=(--serve --outdir "$out" --agent standpipe-client)
for c in "${cases[@]}"; do args+=(--case "$c"); done
for c in ${exclude[@]+"${exclude[@]}"}; do args+=(--exclude "$c"); done
nice -n 10 timeout -k 10 "${AB_TIMEOUT:-3600}" \
    "$venv/bin/python" "$here/wstest_py3.py" "${args[@]}" >"$out/run.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null' EXIT
port=
for _ in $(seq 600); do
    port=$(sed -n 's/^listening on //p' "$out/run.log")
    if [ -n "$port" ] || ! kill -0 $server 2>/dev/null; then break; fi
    sleep 0.1
done
[ -n "$port" ] || { tail -n 15 "$out/run.log" >&2; exit 4; }
cd "$here/../.." || exit 4
AUTOBAHN_URL=ws://127.0.0.1:$port cargo test --locked --test it autobahn_cases_are_echoed -- --ignored >"$out/client.log" 2>&1 ||
    { tail -n 15 "$out/client.log" >&2; exit 5; }
wait $server || { tail -n 15 "$out/run.log" >&2; exit 5; }
trap - EXIT
# shellcheck disable=SC2086
exec "$venv/bin/python" "$here/summary.py" --sections ${AB_SUMMARY:-} "$out"
