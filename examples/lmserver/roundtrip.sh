#!/usr/bin/env bash
# A seat's round trip with curl alone: two license managers that never talk to
# each other, OFFICE with a pool of seats and LAPTOP without; everything between
# them is a file.
#
#   examples/lmserver/roundtrip.sh
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
"$work/lmserver" -listen "$office" -data "$work/office" -host OFFICE -simulate examples/lmserver/pools.json 2>"$work/office.log" &
"$work/lmserver" -listen "$laptop" -data "$work/laptop" -host LAPTOP 2>"$work/laptop.log" &
OFFICE=http://$office/v1.0/lm LAPTOP=http://$laptop/v1.0/lm

get() { curl -sS --retry 20 --retry-connrefused --retry-delay 1 "$1"; } # it may take a moment to start
post() { curl -sS --fail-with-body -H 'Content-Type: application/json' -d "$2" "$1"; }
field() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p'; }
free_seats() { get "$OFFICE/features?dongle=4006242369" | field floatingResource; }

# LAPTOP introduces itself, and OFFICE takes it into its list of known computers.
get "$LAPTOP/environment" >"$work/laptop.json"
get "$OFFICE/environment" >"$work/office.json"
post "$OFFICE/fingerprints" "{\"fingerprint\": \"$(field fingerprint <"$work/laptop.json")\"}"

# OFFICE detaches a seat for LAPTOP, for an hour. The answer is a file.
post "$OFFICE/detach" "{\"offline\": true, \"lmsId\": \"$(field lmsId <"$work/laptop.json")\", \"dongleId\": 4006242369,
  \"durationInSec\": 3600, \"productFeatures\": [{\"productNumber\": 29, \"featureNumber\": 4}]}" | field license >"$work/seat.license"
free_seats # 2 of 3

# The file is carried to LAPTOP, which can use the seat now.
post "$LAPTOP/install" "{\"license\": \"$(cat "$work/seat.license")\"}"
get "$LAPTOP/features?product=29&feature=4"

# LAPTOP gives the seat back before its time. The answer is a file again, and
# where that is installed the seat is free.
post "$LAPTOP/canceldetach" '{"offline": true, "dongleId": 4006242369}' | field license >"$work/return.license"
post "$OFFICE/install" "{\"license\": \"$(cat "$work/return.license")\"}"
free_seats # 3 of 3
# README: to here

expect "$(free_seats)" 3
expect "$(get "$LAPTOP/features")" '{"features":[]}'
# Neither file works a second time.
expect "$(post "$LAPTOP/install" "{\"license\": \"$(cat "$work/seat.license")\"}" 2>/dev/null | field code)" 48
expect "$(post "$OFFICE/install" "{\"license\": \"$(cat "$work/return.license")\"}" 2>/dev/null | field code)" 48
expect "$(free_seats)" 3
echo "the seat is home"
