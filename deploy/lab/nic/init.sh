#!/bin/busybox sh
# The first program of the guest: modules, the interface `nic0` with its addresses, then commands from the second serial port,
# a line of base64 each.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin HOME=/
# Some builds of busybox run their own `ip` whatever PATH has.
ip() { /bin/ip "$@"; }
tc() { /bin/tc "$@"; }
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t debugfs debug /sys/kernel/debug 2>/dev/null
ulimit -l unlimited
while read -r name; do
  insmod "/mod/$name.ko" || echo "module $name was not loaded"
done </mod/order
ip link set lo up
for _ in $(seq 50); do
  for device in /sys/class/net/*; do
    [ -e "$device/device" ] && found=${device##*/}
  done
  [ -n "$found" ] && break
  sleep 0.1
done
ip link set "$found" name nic0
echo 1 >/proc/sys/net/ipv6/conf/nic0/keep_addr_on_down
ip addr add 10.78.0.1/24 dev nic0
ip addr add fd78::1/64 dev nic0 nodad
ip link set nic0 up
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
echo READY >&3
while read -r line <&3; do
  echo "$line" | base64 -d >/tmp/command
  (. /tmp/command) </dev/null >&3 2>&1 3>&-
  printf '\002%s\001\n' $? >&3
done
