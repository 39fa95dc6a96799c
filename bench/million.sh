#!/usr/bin/env bash
# A million connections from one AF_XDP stack to another, over a veth pair: all are opened within half a minute, a million others
# come and go beside them, each of the million answers, and all are closed. Once over a whole path, and once over one that loses a
# frame in a hundred. Some 3 minutes each, about 4 GB; needs root. `make bench-million` runs it.
#
#   bench/million.sh FOURWAVE FOLDER [CONNECTIONS [CHURN]]
#
# RAMP_S is the time in which they are opened, THINK_S how often each asks: more of both for a machine that has other things to do.
set -euo pipefail

fourwave=$1 folder=$2 connections=${3:-1000000} churn=${4:-$connections}
ramp=${RAMP_S:-30} think=${THINK_S:-40}
server= failed=0

end() {
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	"$fourwave" lab down >/dev/null || true
}
trap end EXIT

measure() { # NAME LOSS TITLE
	"$fourwave" lab up --loss "$2"
	local log
	log=$(mktemp)
	ip netns exec fw-a "$fourwave" serve echo --listen 10.77.0.1:7 --interface fw-a0 --cores 0 --idle busy 2>"$log" &
	server=$!
	until grep -q '^listening on ' "$log"; do
		kill -0 "$server" 2>/dev/null || { cat "$log" >&2; exit 1; }
		sleep 0.1
	done
	# 64 addresses have 4 million ports: a million for those that stay, and a million for TIME-WAIT.
	ip netns exec fw-b "$fourwave" load tcp 10.77.0.1:7 --mode idle --interface fw-b0 --cores 1 --idle busy \
		--address 10.77.0.8/24 --source 10.77.0.8-10.77.0.71 --connections "$connections" --ramp-up "$ramp" --ramp-down "$ramp" \
		--think-ms $((think * 1000)) --seconds $((think + 5)) --timeout-s 60 --churn "$churn" --probe-ms 10 --server-pid "$server" \
		--live --json >"$folder/$1.json"
	kill -INT "$server"
	wait "$server"
	server=
	rm "$log"
	"$fourwave" report "$folder/$1.json" --label "$3" --svg "$folder/$1.svg"
	complete "$folder/$1.json"
}

# Nothing was lost, and all answered behind the churn.
complete() { # FILE
	local count
	for count in "\"established\": $connections" "\"answering\": $connections" "\"ended_in_order\": $connections" \
		'"lost": 0' '"failed": 0' "\"done\": $churn"; do
		if ! grep -q "^ *$count,\$" "$1"; then
			echo "$1 lacks $count: not all of them did what they were to" >&2
			failed=1
		fi
	done
}

mkdir -p "$folder"
measure million 0% "$connections connections, $churn more come and go"
measure million_loss 1% "The same over a path that loses 1 % of the frames each way"
"$fourwave" report "$folder/million.json" "$folder/million_loss.json" --label "no loss" --label "1 % loss" --html "$folder/million.html"
exit "$failed"
