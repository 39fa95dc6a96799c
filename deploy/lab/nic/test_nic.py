#!/usr/bin/env python3
"""Runs fourwave on the drivers of NICs, in a guest under QEMU: FOURWAVE KERNEL MODULES NIC…

The peer is the other end of the guest's tap, in the network namespace that this runs in. See docs/NICS.md.
"""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

from guest import GUEST_V4, GUEST_V6, HOST_V4, HOST_V6, Failed, Guest, build_initramfs

PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../crates/cli/tests/e2e/peers")
QUEUES = 4
CLIENTS = 16
# Generous: a guest may be emulated, on a machine that is busy.
START_SECONDS, CALL_SECONDS = 300, 300


def check(holds, what):
    if not holds:
        raise Failed(what)


def eventually(what, holds, seconds=120):
    until = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > until:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.5)
    return value


class Peer:
    """A program of the tests at our end of the tap."""

    def __init__(self, name, *words):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, f"{PEERS}/{name}.py", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)

    def said(self):
        self.errors.seek(0)
        return self.errors.read()

    def ready(self):
        def listens():
            check(self.process.poll() is None, f"a client of the kernel failed: {self.said().strip()}")
            return "listening" in self.said()

        eventually("a program at the other end is ready", listens, CALL_SECONDS)
        return self

    def echo(self, connections):
        """A byte there and back on each connection that is held."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        os.set_blocking(self.process.stdout.fileno(), False)

        def echoed():
            check(self.process.poll() is None, f"a connection of {connections} was lost: {self.said().strip()[-300:]}")
            return "echoed" in (self.process.stdout.readline() or "")

        eventually(f"an echo on each of {connections} connections", echoed, CALL_SECONDS)

    def close(self):
        """Connections that are held are closed in order."""
        self.process.stdin.close()
        self.process.wait(CALL_SECONDS)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Stack:
    """`fourwave` with some arguments in the guest, in the background."""

    def __init__(self, guest, arguments, ready):
        self.guest = guest
        guest.run(f"rm -f /tmp/out /tmp/code; (fourwave {arguments} -v >/tmp/out 2>&1; echo $? >/tmp/code) & echo $!")
        eventually(f"`fourwave {arguments}` runs: {guest.run('cat /tmp/out')}", lambda: self.is_ready(ready), START_SECONDS)

    def is_ready(self, ready):
        check(not self.code(), f"it ended: {self.said().strip()}")
        return ready in self.said()

    def said(self):
        return self.guest.run("cat /tmp/out")

    def code(self):
        return self.guest.run("cat /tmp/code 2>/dev/null", check=False).strip()

    def counters(self):
        """By name: the sum, and of each shard."""
        rows = json.loads(self.guest.run("fourwave ss --counters --json"))
        return {row["counter"]: (row["value"], row.get("shards", [])) for row in rows}

    def count(self, name):
        return self.counters()[name][0]

    def established(self):
        rows = json.loads(self.guest.run("fourwave ss --json"))
        return [row["shard"] for row in rows if row["state"] == "ESTABLISHED"]

    def stop(self, number=0):
        self.guest.run("killall -INT fourwave", check=False)
        code = eventually("it ends", self.code)
        check(code == str(number), f"it ended with {code}: {self.said().strip()}")
        return self.said()


class Nic:
    """What is tried on one NIC."""

    def __init__(self, guest, name):
        self.guest, self.name = guest, name
        self.release = guest.run("uname -r").strip()
        self.driver = re.search(r"driver: (\S+)", guest.run("ethtool -i nic0"))[1]
        self.say(f"QEMU's {name}, driver {self.driver}, Linux {self.release}")

    def say(self, text):
        print(f"  {text}", flush=True)

    def doctor(self):
        text = self.guest.run(f"fourwave doctor --interface nic0 --peer {HOST_V4} --json", CALL_SECONDS, check=False)
        document = json.loads(text)
        items = {item["name"]: item for item in document["items"]}
        proof = document["proof"]
        for name in ("queues", "rss", "xdp-mode", "zero-copy", "multi-buffer"):
            self.say(f"doctor: {name}: {items[name]['found']}; uses {items[name]['uses']}")
        self.say(f"doctor: {proof['frames_received']} of {proof['frames_sent']} questions answered; XDP {document['mode']['xdp_mode']}")
        check(document["available"] and proof["status"] == "answered", f"the doctor says: {document['reason']} {proof['sentence']}")
        self.zero_copy = items["zero-copy"]["uses"].startswith("zero-copy")
        self.rss = items["rss"]["uses"].startswith("source ports by the key")
        if not self.zero_copy:
            said = self.guest.run("fourwave serve echo --listen 10.78.0.1:7 --interface nic0 --copy zero-copy", CALL_SECONDS, check=False)
            check("zero-copy" in said, f"--copy zero-copy says: {said}")
            self.say(f"--copy zero-copy: {said.strip()}")

    def copy(self):
        return "zero-copy" if self.zero_copy else "copy"

    def server(self, queues, copy):
        stack = Stack(self.guest, f"serve echo --listen {GUEST_V4}:7 --interface nic0 --idle sleep --copy {copy}", "listening on")
        line = stack.said().splitlines()[-1]
        word = "zero-copy" if copy == "zero-copy" else "copied"
        check(f"{queues} shards" in line and word in line, f"`{line}`, not {queues} shards, {word}")
        return stack

    def clients(self, queues, copy):
        """Kernel clients of a server, on every queue."""
        stack = self.server(queues, copy)
        clients = Peer("hold", GUEST_V4, "7", str(CLIENTS * 2)).ready()
        shards = [stack.established().count(shard) for shard in range(queues)]
        clients.echo(CLIENTS * 2)
        many = Peer("many", GUEST_V4, "7", str(CLIENTS))
        check(many.process.wait(CALL_SECONDS) == 0, f"clients failed: {many.said()}")
        counters = stack.counters()
        frames = counters["port_rx_frames"][1]
        clients.close()
        stack.stop()
        self.say(f"{queues} queues, {copy}: {CLIENTS * 3} kernel clients; connections by shard {shards}, frames {frames}; "
                 f"wrong checksums {counters['tcp_checksum'][0]}, handed over {counters['handoff_out'][0]}")
        check(sum(shards) == CLIENTS * 2 and all(frames), "a queue got nothing")
        check(counters["tcp_checksum"][0] == 0, "there were wrong checksums")

    def opens(self, family):
        """Active opens, the table changed under them."""
        address = HOST_V4 if family == 4 else f"[{HOST_V6}]"
        ping = f"ping {address}:9000 --interface nic0 --idle sleep --copy {self.copy()} --connections 32 --interval-ms 200 --timeout-s 30 --seconds 600"
        # Whom the plan is asked of: with the link of igb, which goes down as a program is detached, neighbours are forgotten.
        self.guest.run(f"ping -c 1 -w 60 {address.strip('[]')}")
        stack = Stack(self.guest, ping, "ping::fourwave")
        connected = lambda: len(stack.established()) == 32
        eventually("32 connections", connected, CALL_SECONDS)
        before = stack.count("handoff_out")
        shards = [stack.established().count(shard) for shard in range(QUEUES)]
        verified = "verified: replies land" in stack.said()
        told = f"IPv{family}: 32 active opens, by shard {shards}; plan {'verified' if verified else 'not verified'}, handed over {before}"
        if self.rss:
            check(verified and before == 0, told)
            self.guest.run("ethtool -X nic0 weight 0 1 0 1")
            eventually("the change is noticed", lambda: "RSS has changed" in stack.said())
            eventually("frames are handed over", lambda: stack.count("handoff_out") > before)
            told += f"; table changed: noticed, {len(stack.established())} kept, handed over {stack.count('handoff_out')}"
            check(connected(), "connections were lost: " + told)
        said = stack.stop()
        self.guest.run("ethtool -X nic0 default", check=False)
        errors = re.search(r"(\d+) errors", said)
        check(errors and errors[1] == "0", f"{told}: {said}")
        self.say(told + "; 0 errors")

    def lives_through(self):
        """What happens to an interface, and connections that are kept."""
        stack = self.server(QUEUES, self.copy())
        clients = Peer("hold", GUEST_V4, "7", str(CLIENTS)).ready()
        for what in [
            "ethtool -r nic0", "ethtool -G nic0 rx 512", "ethtool -X nic0 equal 2", "ethtool -L nic0 combined 2",
            "ip link set nic0 down; sleep 2; ip link set nic0 up", "ip link set nic0 mtu 1400", "ip link set nic0 mtu 1500",
            "ip link set nic0 name other; sleep 3; ethtool -X other default; sleep 3; ip link set other name nic0", "set_link",
        ]:
            refused = ""
            if what == "set_link":
                self.guest.monitor("set_link n off")
                time.sleep(3)
                self.guest.monitor("set_link n on")
            else:
                answer = self.guest.run(f"({what}) 2>&1 || echo refused")
                refused = f": the driver refuses ({answer.splitlines()[0]})" if "refused" in answer else ""
            time.sleep(3)
            clients.echo(CLIENTS)
            check(len(stack.established()) == CLIENTS, f"`{what}`: {len(stack.established())} connections are left")
            self.say(f"`{what}`: {CLIENTS} of {CLIENTS} connections kept{refused}")
        changes = stack.said().count("RSS has changed")
        if self.rss:
            check(changes >= 2, "the table's change was not noticed while the interface had another name")
        clients.close()
        stack.stop()

    def unbind(self):
        """The driver goes: one sentence."""
        stack = self.server(QUEUES, self.copy())
        self.guest.run("d=$(readlink -f /sys/class/net/nic0/device); echo ${d##*/} >$d/driver/unbind", CALL_SECONDS)
        code = eventually("it ends", stack.code)
        last = stack.said().strip().splitlines()[-1]
        check(code == "1" and "is gone" in last, f"{code}: {last}")
        self.say(f"driver unbound: exit {code}, `{last}`")

    def run(self):
        self.doctor()
        self.clients(QUEUES, self.copy())
        if self.zero_copy:
            self.clients(QUEUES, "copy")
        echo = [Peer("echo_server_epoll", address, "9000").ready() for address in (HOST_V4, HOST_V6)]
        for family in (4, 6):
            self.opens(family)
        for server in echo:
            server.stop()
        self.lives_through()
        if self.guest.run("ethtool -L nic0 combined 2 2>&1 || echo refused").strip().endswith("refused"):
            self.say("`ethtool -L nic0 combined 2` is refused")
        else:
            self.clients(2, self.copy())
            self.guest.run("ethtool -L nic0 combined 4")
        self.unbind()


def main():
    fourwave, kernel, modules, *names = sys.argv[1:]
    folder = tempfile.mkdtemp(prefix="fourwave-nic-")
    initramfs = f"{folder}/initramfs"
    build_initramfs(initramfs, modules, fourwave)
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        guest = None
        try:
            guest = Guest(f"{folder}/{name}", name, kernel, initramfs, QUEUES)
            Nic(guest, name).run()
            print("  passed", flush=True)
        except (Failed, json.JSONDecodeError, subprocess.TimeoutExpired) as error:
            failed.append(name)
            print(f"  FAILED: {error}", flush=True)
            if guest:
                print(guest.console()[-1500:], flush=True)
        finally:
            if guest:
                guest.stop()
    if failed:
        print(f"failed: {', '.join(failed)}; consoles are in {folder}")
    else:
        subprocess.run(["rm", "-r", folder], check=False)
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
