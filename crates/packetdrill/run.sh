#!/bin/bash
# Runs every script below PKT_DIR with packetdrill against the stack, over IPv4 and IPv6, and prints what passed.
#
#   run.sh OBJECT      OBJECT is libfourwave_packetdrill.so
#
# From the environment: PACKETDRILL, the program; PKT_DIR, a folder of scripts; IP_VERSIONS, "ipv4 ipv6" unless given;
# ONLY, an extended regular expression that a script's path must match; LOGS, a folder for the output of what failed;
# SO_FLAGS, more for the shared object's --so_flags.
# Each script gets a network namespace of its own, with the tun device that their common set-up configures.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")

# One script, within its namespace: "pass", or "fail" and packetdrill's last words.
one() {
	local version=$1 script=$2 object=$3
	local flags=(--ip_version="$version" --so_filename="$object" --send_omit_free)
	# The addresses and definitions that the scripts' own runner gives them.
	if [ "$version" = ipv4 ]; then
		flags+=(--local_ip=192.168.0.1 --gateway_ip=192.168.0.1 --netmask_ip=255.255.0.0 --remote_ip=192.0.2.1
			-D TFO_COOKIE=3021b9d889017eeb -D CODE=host_unreachable
			-D CMSG_LEVEL_IP=SOL_IP -D CMSG_TYPE_RECVERR=IP_RECVERR)
		mtu=1500
	else
		# So that the MSS is 1460 here, too.
		mtu=1520
		flags+=(--mtu="$mtu" --local_ip=fd3d:0a0b:17d6::1 --gateway_ip=fd3d:0a0b:17d6:8888::1
			--remote_ip=fd3d:fa7b:d17d::1 -D TFO_COOKIE=c1d1e9742a47a9bc
			-D CMSG_LEVEL_IP=SOL_IPV6 -D CMSG_TYPE_RECVERR=IPV6_RECVERR)
	fi
	# A script may ask for an MTU of its own.
	own=$(sed -n 's/^--mtu=\([0-9]*\).*/\1/p' "$script" | head -n1)
	flags+=(--so_flags="mtu=${own:-$mtu}${SO_FLAGS:+,$SO_FLAGS}")
	ip link set lo up
	ip tuntap add dev tun0 mode tun
	ip link set tun0 mtu "${own:-$mtu}" up
	cd "$(dirname "$script")"
	# The scripts' set-up leaves in /tmp what would undo it, named by packetdrill's process.
	# shellcheck disable=SC2016 # it is the inner shell that expands
	exec timeout 30 bash -c '
		LD_PRELOAD=$1 "${@:2}" &
		status=0
		wait "$!" || status=$?
		rm -f "/tmp/sysctl_restore_$!.sh"
		exit "$status"
	' bash "$object" "$PACKETDRILL" "${flags[@]}" "$(basename "$script")"
}

if [ "${1-}" = --one ]; then
	shift
	one "$@"
fi

fault() {
	echo "run.sh: $1" >&2
	exit 2
}
[ -f "${1-}" ] || fault "the shared object, ${1:-the first argument}, is not there"
if [ ! -f "${PACKETDRILL-}" ] || [ ! -x "$PACKETDRILL" ]; then fault "PACKETDRILL=${PACKETDRILL-} is no program"; fi
[ -d "${PKT_DIR-}" ] || fault "PKT_DIR=${PKT_DIR-} is no folder"
unshare --net --mount true || fault "it takes root to make a network namespace for each script"
object=$(readlink -f "$1")
export PACKETDRILL
PACKETDRILL=$(readlink -f "$PACKETDRILL")
folder=$(readlink -f "$PKT_DIR")
[ -n "${LOGS-}" ] && mkdir -p "$LOGS"
output=$(mktemp)
trap 'rm -f "$output"' EXIT
passed=0 failed=0
for version in ${IP_VERSIONS:-ipv4 ipv6}; do
	while read -r script; do
		name=${script#"$folder"/}
		# What is written for one version only says so by its name.
		case $version:$name in ipv4:*v6.pkt | ipv6:*v4.pkt) continue ;; esac
		[[ $name =~ ${ONLY:-.} ]] || continue
		status=0
		unshare --net --mount "$here/run.sh" --one "$version" "$script" "$object" >"$output" 2>&1 </dev/null || status=$?
		if [ "$status" = 0 ]; then
			passed=$((passed + 1))
			echo "pass  $version  $name"
		else
			failed=$((failed + 1))
			reason=$(grep -m1 -F "$(basename "$script"):" "$output" || tail -n1 "$output")
			# What the shared object says for itself tells more than packetdrill, which only sees that a call failed.
			own=$(grep -m1 '^fourwave: ' "$output" || true)
			[ "$own" = "$reason" ] || reason+=${own:+ ($own)}
			[ "$status" != 124 ] || reason="no end within 30 seconds"
			echo "FAIL  $version  $name  $reason"
			[ -z "${LOGS-}" ] || cp "$output" "$LOGS/$version-${name//\//-}.log"
		fi
	done < <(find "$folder" -name '*.pkt' | sort)
done
echo "$passed passed, $failed failed"
[ "$((passed + failed))" != 0 ] || fault "no script below PKT_DIR=$PKT_DIR is for ${IP_VERSIONS:-ipv4 ipv6}${ONLY:+ and matches ONLY=$ONLY}"
[ "$failed" = 0 ]
