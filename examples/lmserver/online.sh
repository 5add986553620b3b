#!/usr/bin/env bash
# A seat's round trip online: two license managers that speak to each other,
# OFFICE with a pool of seats and LAPTOP without.
#
#   examples/lmserver/online.sh
#
# The addresses are 127.0.0.1:3189 and :3190, or those in OFFICE_ADDR and
# LAPTOP_ADDR.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=
finish() {
  [ $? = 0 ] || cat "$work"/*.log
  kill %1 %2 2>/dev/null || true
  wait || true
  [ -z "$work" ] || rm -rf "$work"
}
trap finish EXIT

expect() { [ "$1" = "$2" ] || { echo "expected $2, got $1" >&2; exit 1; }; }

# README: from here
office=${OFFICE_ADDR:-127.0.0.1:3189} laptop=${LAPTOP_ADDR:-127.0.0.1:3190} work=$(mktemp -d)
go build -o "$work/lmserver" ./examples/lmserver
OFFICE=http://$office/v1.0/lm LAPTOP=http://$laptop/v1.0/lm

get() { curl -sS --retry 20 --retry-connrefused --retry-delay 1 "$1"; } # it may take a moment to start
post() { curl -sS --fail-with-body -H 'Content-Type: application/json' -d "$2" "$1"; }
field() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p'; }

# LAPTOP starts, and knows where to look for OFFICE.
"$work/lmserver" -listen "$laptop" -data "$work/laptop" -host LAPTOP -peer "http://$office" 2>"$work/laptop.log" &
get "$LAPTOP/environment" >"$work/laptop.json"

# OFFICE starts, and lets LAPTOP take seats.
"$work/lmserver" -listen "$office" -data "$work/office" -host OFFICE -simulate examples/lmserver/pools.json 2>"$work/office.log" &
get "$OFFICE/environment" >"$work/office.json"
post "$OFFICE/fingerprints" "{\"fingerprint\": \"$(field fingerprint <"$work/laptop.json")\"}"

# LAPTOP takes a seat for an hour. It is installed when the answer comes.
post "$LAPTOP/detach" "{\"lmsId\": \"$(field lmsId <"$work/laptop.json")\", \"dongleId\": 4006242369,
  \"durationInSec\": 3600, \"productFeatures\": [{\"productNumber\": 29, \"featureNumber\": 4}]}"
get "$LAPTOP/features?product=29&feature=4" # the seat here, and 2 of 3 left in the pool

# LAPTOP gives it back. It is free at OFFICE when the answer comes.
post "$LAPTOP/canceldetach" '{"dongleId": 4006242369}'
# README: to here

expect "$(get "$OFFICE/features?dongle=4006242369" | field floatingResource)" 3
expect "$(get "$LAPTOP/intents")" '{"intents":[]}'
expect "$(get "$LAPTOP/cancelled/licenses")" '{"cancelledLicenses":[]}'
echo "the seat is home"
