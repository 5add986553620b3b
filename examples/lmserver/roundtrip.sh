#!/usr/bin/env bash
# A seat's round trip with curl alone: two license managers that never talk to
# each other, OFFICE with a pool of seats and LAPTOP without; everything between
# them is a file.
#
#   examples/lmserver/roundtrip.sh [PROGRAM]     # PROGRAM: lmserver, built
#
# The addresses are 127.0.0.1:3189 and :3190, or those in OFFICE_ADDR and
# LAPTOP_ADDR.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
office= laptop=
finish() {
  kill $office $laptop 2>/dev/null || true
  wait $office $laptop 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

lmserver=${1:-$work/lmserver}
[ $# -gt 0 ] || (cd "$here" && go build -o "$lmserver" .)
lmserver=$(cd "$(dirname "$lmserver")" && pwd)/$(basename "$lmserver")
cd "$work"
mkfifo office.ready laptop.ready

# The one line that a server prints says where it listens.
"$lmserver" -listen "${OFFICE_ADDR:-127.0.0.1:3189}" -data office -host OFFICE -simulate "$here/pools.json" >office.ready 2>office.log &
office=$!
"$lmserver" -listen "${LAPTOP_ADDR:-127.0.0.1:3190}" -data laptop -host LAPTOP >laptop.ready 2>laptop.log &
laptop=$!
read -r _ _ OFFICE <office.ready || { cat office.log; exit 1; }
read -r _ _ LAPTOP <laptop.ready || { cat laptop.log; exit 1; }
OFFICE=$OFFICE/v1.0/lm LAPTOP=$LAPTOP/v1.0/lm

expect() { [ "$1" = "$2" ] || { echo "expected $2, got $1" >&2; exit 1; }; }

# README: from here
post() { curl -sS --fail-with-body -H 'Content-Type: application/json' -d "$2" "$1"; }
field() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p'; }
free_seats() { curl -sS "$OFFICE/features?dongle=4006242369" | field floatingResource; }

# LAPTOP introduces itself, and OFFICE takes it into its list of known computers.
curl -sS "$LAPTOP/environment" >laptop.json
post "$OFFICE/fingerprints" "{\"fingerprint\": \"$(field fingerprint <laptop.json)\"}"

# OFFICE detaches a seat for LAPTOP, for an hour. The answer is a file.
post "$OFFICE/detach" "{\"offline\": true, \"lmsId\": \"$(field lmsId <laptop.json)\", \"dongleId\": 4006242369,
  \"durationInSec\": 3600, \"productFeatures\": [{\"productNumber\": 29, \"featureNumber\": 4}]}" | field license >seat.license
free_seats # 2 of 3

# The file is carried to LAPTOP, which can use the seat now.
post "$LAPTOP/install" "{\"license\": \"$(cat seat.license)\"}"
curl -sS "$LAPTOP/features?product=29&feature=4"

# LAPTOP gives the seat back before its time. The answer is a file again, and
# where that is installed the seat is free.
post "$LAPTOP/canceldetach" '{"offline": true, "dongleId": 4006242369}' | field license >return.license
post "$OFFICE/install" "{\"license\": \"$(cat return.license)\"}"
free_seats # 3 of 3
# README: to here

expect "$(free_seats)" 3
expect "$(curl -sS "$LAPTOP/features")" '{"features":[]}'
# Neither file works a second time.
expect "$(post "$LAPTOP/install" "{\"license\": \"$(cat seat.license)\"}" 2>/dev/null | field code)" 48
expect "$(post "$OFFICE/install" "{\"license\": \"$(cat return.license)\"}" 2>/dev/null | field code)" 48
expect "$(free_seats)" 3
echo "the seat is home"
