#!/bin/sh
# What a simulation costs by devices and pieces: a table in Markdown of processor seconds, inputs and the largest memory.
#
#   benches/scale.sh [samara-sim]            default: target/release/samara-sim
#   DEVICES="50 200" PIECES=256 benches/scale.sh
#
# Each run is one seed with --ideal on one core: 32 neighbours a device, a seeder a fifth as fast as a device. Pieces have
# 128 KiB, and 2 MiB where there are more than 1024 of them, as in the product. Needs GNU time (Debian: time).
set -eu

sim=${1:-target/release/samara-sim}
devices=${DEVICES:-50 200 500 1000}
pieces=${PIECES:-256 1024 4096}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM

echo "| devices × pieces | processor s | inputs, million | µs each | memory MiB |"
echo "|---|---|---|---|---|"
for count in $devices; do
    for number in $pieces; do
        if [ "$number" -gt 1024 ]; then piece=2048; else piece=128; fi
        cat > "$dir/plan.toml" <<PLAN
timeout = 3600
settle = 20
[devices]
count = $count
up = "200mbit"
down = "200mbit"
[seeder]
up = "40mbit"
[network]
neighbours = 32
[artifact]
kind = "file"
bytes = "$((number * piece))KiB"
PLAN
        /usr/bin/time -f '%U %M' -o "$dir/time" "$sim" run "$dir/plan.toml" --ideal > "$dir/out"
        inputs=$(sed -n 's/^\([0-9]*\) decisions, digest .*/\1/p' "$dir/out")
        read -r seconds kib < "$dir/time"
        awk -v d="$count" -v p="$number" -v s="$seconds" -v i="$inputs" -v k="$kib" 'BEGIN {
            printf "| %d × %d | %.1f | %.2f | %.1f | %d |\n", d, p, s, i / 1e6, s * 1e6 / i, k / 1024 }'
    done
done
