#!/usr/bin/env bash
# A seat's round trip online: two license managers that speak to each other,
# OFFICE with a pool of seats and LAPTOP without.
#
#   examples/lmserver/online.sh [PROGRAM]     # PROGRAM: lmserver, built
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

"$lmserver" -listen "${OFFICE_ADDR:-127.0.0.1:3189}" -data office -host OFFICE -simulate "$here/pools.json" >office.ready 2>office.log &
office=$!
read -r _ _ OFFICE <office.ready || { cat office.log; exit 1; }
"$lmserver" -listen "${LAPTOP_ADDR:-127.0.0.1:3190}" -data laptop -host LAPTOP -peer "$OFFICE" >laptop.ready 2>laptop.log &
laptop=$!
read -r _ _ LAPTOP <laptop.ready || { cat laptop.log; exit 1; }
OFFICE=$OFFICE/v1.0/lm LAPTOP=$LAPTOP/v1.0/lm

expect() { [ "$1" = "$2" ] || { echo "expected $2, got $1" >&2; exit 1; }; }

# README: from here
post() { curl -sS --fail-with-body -H 'Content-Type: application/json' -d "$2" "$1"; }
field() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p'; }
environment() { curl -sS "$LAPTOP/environment" | field "$1"; }

# OFFICE: let LAPTOP take seats.
post "$OFFICE/fingerprints" "{\"fingerprint\": \"$(environment fingerprint)\"}"

# LAPTOP: take one for an hour. It is installed when the answer comes.
post "$LAPTOP/detach" "{\"lmsId\": \"$(environment lmsId)\", \"dongleId\": 4006242369, \"durationInSec\": 3600,
  \"productFeatures\": [{\"productNumber\": 29, \"featureNumber\": 4}]}"
curl -sS "$LAPTOP/features?product=29&feature=4" # the seat here, and 2 of 3 left in the pool

# LAPTOP: give it back. It is free at OFFICE when the answer comes.
post "$LAPTOP/canceldetach" '{"dongleId": 4006242369}'
# README: to here

free_seats() { curl -sS "$OFFICE/features?dongle=4006242369" | field floatingResource; }
expect "$(free_seats)" 3
expect "$(curl -sS "$LAPTOP/intents")" '{"intents":[]}'
expect "$(curl -sS "$LAPTOP/cancelled/licenses")" '{"cancelledLicenses":[]}'
echo "the seat is home"
