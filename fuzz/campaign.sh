#!/usr/bin/env bash
# A campaign of libFuzzer: SECONDS (600 unless told) on each TARGET (all unless told), two at a time.
# Targets that keep state are built without a sanitizer: our crates forbid unsafe code, and address
# sanitizer makes them several times slower. Prints a markdown table. Inputs that reach new code and crashes are kept in target/campaign/TARGET,
# which the next campaign goes on from; README.md says how to take them into the repository.
#
#     fuzz/campaign.sh [SECONDS [TARGET...]]
#
# Needs a nightly toolchain and cargo-bolero.
set -euo pipefail
# cargo-bolero builds in ./target, wherever it is called.
cd "$(dirname "$0")/.."

seconds=${1:-600}
if [ $# -gt 0 ]; then shift; fi
# A target is a test that calls check!().
names() { awk '/^fn /{name = substr($2, 1, index($2, "(") - 1)} /check!\(\)/{print name}' "$@"; }
mapfile -t all < <(names fuzz/tests/*.rs)
stateful=" $(names fuzz/tests/stateful.rs | tr '\n' ' ')"
# Whose input is frames or messages as they are on the wire.
wire=" $(names fuzz/tests/wire.rs | tr '\n' ' ')"
targets=("$@")
if [ $# -eq 0 ]; then targets=("${all[@]}"); fi
for target in "${targets[@]}"; do
    if [[ ! " ${all[*]} " == *" $target "* ]]; then
        printf 'no target %s; there are: %s\n' "$target" "${all[*]}" >&2
        exit 2
    fi
done

campaign=$PWD/target/campaign
dictionary=$PWD/fuzz/dictionaries/protobuf.dict
export campaign seconds stateful wire dictionary

bolero() {
    local sanitizer=() words=()
    if [[ $stateful == *" $1 "* ]]; then sanitizer=(--sanitizer NONE); fi
    if [[ $wire == *" $1 "* ]]; then words=("-E=-dict=$dictionary"); fi
    cargo +nightly bolero test -p qpq-fuzz --engine libfuzzer \
        --corpus-dir "$campaign/$1/corpus" --crashes-dir "$campaign/$1/crashes" "${sanitizer[@]}" "${words[@]}" "${@:2}" "$1"
}

run() {
    mkdir -p "$campaign/$1/corpus" "$campaign/$1/crashes"
    cp "fuzz/tests/__fuzz__/$1/corpus/"* "$campaign/$1/corpus/"
    # A target that fails leaves a crash; the others go on.
    bolero "$1" -T "${seconds}s" -E=-print_final_stats=1 >"$campaign/$1/log" 2>&1 || true
}
export -f bolero run

# Each kind is built once, before two at a time wait for it.
mkdir -p "$campaign/build"
build() {
    if ! bolero "$1" --runs 1 >"$campaign/build/log" 2>&1; then
        cat "$campaign/build/log" >&2
        exit 1
    fi
}
with='' without=''
for target in "${targets[@]}"; do
    if [[ $stateful == *" $target "* ]]; then without=$target; else with=$target; fi
done
for target in $with $without; do build "$target"; done
printf '%s\0' "${targets[@]}" | xargs -0 -n 1 -P 2 bash -c 'run "$1"' run

printf '| target | executions | a second | edges | features | corpus | crashes |\n'
printf '| --- | --- | --- | --- | --- | --- | --- |\n'
crashed=0
for target in "${targets[@]}"; do
    log=$campaign/$target/log
    stat() { sed -nE "s/^stat::$1: +([0-9]+)/\1/p" "$log"; }
    last() { sed -nE "s/^#[0-9]+.* $1: ([^ ]+).*/\1/p" "$log" | tail -n 1; }
    # A slow unit is kept there too, and is no crash.
    crashes=$(find "$campaign/$target/crashes" -type f ! -name 'slow-unit-*' | wc -l)
    crashed=$((crashed + crashes))
    printf '| `%s` | %s | %s | %s | %s | %s | %s |\n' "$target" "$(stat number_of_executed_units)" \
        "$(stat average_exec_per_sec)" "$(last cov)" "$(last ft)" "$(last corp)" "$crashes"
done
if [ "$crashed" -gt 0 ]; then
    printf '%s crashes: look into %s/*/crashes and */log\n' "$crashed" "$campaign" >&2
    exit 1
fi
