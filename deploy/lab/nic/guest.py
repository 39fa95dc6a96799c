"""A small Linux guest under QEMU: kernel, initramfs, one NIC on a tap of this network namespace, and a shell on a serial port."""
import base64
import gzip
import lzma
import os
import re
import shutil
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
GUEST_V4, HOST_V4 = "10.78.0.1", "10.78.0.2"
GUEST_V6, HOST_V6 = "fd78::1", "fd78::2"
# What the drivers and the tests need; what is built in, or not there, is passed over.
MODULES = ["virtio_pci", "virtio_net", "igb", "8021q"]
TOOLS = ["ip", "ethtool", "tc"]


class Failed(Exception):
    """What was expected did not happen."""


def run(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise Failed(f"`{' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout


def module_bytes(path):
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".xz"):
        return lzma.decompress(data)
    if path.endswith(".zst"):
        return subprocess.run(["zstd", "-dcq", path], capture_output=True, check=True).stdout
    return data


def find_modules(folder):
    """The modules of a kernel by their names."""
    found = {}
    for top, _, names in os.walk(folder):
        for name in names:
            match = re.fullmatch(r"(.+)\.ko(\.xz|\.zst)?", name)
            if match:
                found[match[1].replace("-", "_")] = os.path.join(top, name)
    return found


def load_order(folder):
    """Names and contents of the wanted modules, each behind those that it needs."""
    paths, order = find_modules(folder), {}

    def add(name):
        name = name.replace("-", "_")
        if name in order or name not in paths:
            return
        data = module_bytes(paths[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for needed in depends[1].decode().split(",") if depends else []:
            add(needed)
        order[name] = data

    for name in MODULES:
        add(name)
    return order


def libraries(program):
    listed = run("ldd", program)
    return re.findall(r"(/\S+) \(0x", listed)


def build_initramfs(target, modules_folder, fourwave):
    """Everything in one archive: a busybox that needs no library, the tools, the modules, the program."""
    root = target + ".d"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "mod", "proc", "sys", "dev", "run", "tmp", "etc", "lib64", "sbin", "usr"):
        os.makedirs(f"{root}/{folder}")
    busybox = os.environ.get("BUSYBOX") or shutil.which("busybox")
    shutil.copy(busybox, f"{root}/bin/busybox")
    programs = [fourwave] + [os.path.realpath(shutil.which(tool)) for tool in TOOLS]
    for program, name in zip(programs, ["fourwave", *TOOLS]):
        copy = f"{root}/bin/{name}"
        shutil.copy(program, copy)
        subprocess.run(["strip", copy], check=False, capture_output=True)
        for library in libraries(program):
            place = root + library
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if not os.path.exists(place):
                shutil.copy(os.path.realpath(library), place)
    order = load_order(modules_folder)
    for name, data in order.items():
        with open(f"{root}/mod/{name}.ko", "wb") as file:
            file.write(data)
    with open(f"{root}/mod/order", "w", encoding="ascii") as file:
        file.writelines(f"{name}\n" for name in order)
    shutil.copy(f"{HERE}/init.sh", f"{root}/init")
    os.chmod(f"{root}/init", 0o755)
    with gzip.open(target, "wb", compresslevel=1) as archive:
        pack(root, archive)
    shutil.rmtree(root)


def pack(root, archive):
    """A folder as a cpio archive of the kind that Linux unpacks (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    def entry(name, mode, data):
        fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        for part in (head, data):
            archive.write(part + bytes(-len(part) % 4))

    for top, folders, names in os.walk(root):
        place = os.path.relpath(top, root)
        for name in folders:
            entry(os.path.normpath(f"{place}/{name}"), 0o040755, b"")
        for name in names:
            with open(f"{top}/{name}", "rb") as file:
                entry(os.path.normpath(f"{place}/{name}"), 0o100755, file.read())
    entry("TRAILER!!!", 0, b"")


def device(nic, queues):
    """What QEMU is told of a NIC."""
    if nic.startswith("virtio"):
        # With the quirk of old devices off (iommu_platform), the driver maps memory by the DMA API, as zero-copy needs it.
        common = f"virtio-net-pci,netdev=n,mac=52:54:00:00:00:01,mq=on,vectors={2 * queues + 2},disable-legacy=on,iommu_platform=on"
        extra = {"virtio": ",rss=on,hash=on", "virtio-rss": ",rss=on", "virtio-plain": ""}[nic]
        return common + extra
    return f"{nic},netdev=n,mac=52:54:00:00:00:01"


class Guest:
    """One that runs. `run` executes a line of shell in it."""

    def __init__(self, folder, nic, kernel, initramfs, queues=4, cpus=4, memory="1536", append=""):
        self.folder, self.nic = folder, nic
        os.makedirs(folder, exist_ok=True)
        many = nic.startswith("virtio")
        run("ip", "link", "del", "tap0", check=False)
        run("ip", "tuntap", "add", "tap0", "mode", "tap", *(["multi_queue"] if many else []))
        run("ip", "addr", "add", f"{HOST_V4}/24", "dev", "tap0")
        run("ip", "addr", "add", f"{HOST_V6}/64", "dev", "tap0", "nodad")
        run("ip", "link", "set", "tap0", "up")
        for name in ("serial", "monitor"):
            if os.path.exists(f"{folder}/{name}"):
                os.remove(f"{folder}/{name}")
        netdev = "tap,id=n,ifname=tap0,script=no,downscript=no,vhost=off" + (f",queues={queues}" if many else "")
        accel = os.environ.get("ACCEL") or ("kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg,thread=multi")
        words = [os.environ.get("QEMU", "qemu-system-x86_64"), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        words += ["-machine", "q35", "-accel", accel, "-cpu", "host" if accel == "kvm" else "qemu64"]
        words += ["-smp", str(cpus), "-m", memory, "-kernel", kernel, "-initrd", initramfs]
        words += ["-append", f"console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off no_timer_check {append}"]
        words += ["-serial", f"file:{folder}/console", "-serial", f"unix:{folder}/serial,server=on,wait=off"]
        words += ["-monitor", f"unix:{folder}/monitor,server=on,wait=off"]
        words += ["-netdev", netdev, "-device", device(nic, queues)]
        self.log = open(f"{folder}/qemu", "w", encoding="utf-8")
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.buffer = b""
        self.line = self.connect("serial")
        self.until(b"READY\n", 300)

    def connect(self, name):
        until = time.monotonic() + 10
        while True:
            try:
                line = socket.socket(socket.AF_UNIX)
                line.connect(f"{self.folder}/{name}")
                return line
            except OSError:
                line.close()
                if time.monotonic() > until or self.process.poll() is not None:
                    with open(f"{self.folder}/qemu", encoding="utf-8") as file:
                        raise Failed("QEMU did not start: " + file.read().strip()) from None
                time.sleep(0.05)

    def until(self, mark, seconds):
        self.line.settimeout(seconds)
        until = time.monotonic() + seconds
        while mark not in self.buffer:
            try:
                data = self.line.recv(65536)
            except TimeoutError:
                data = b""
            if not data or time.monotonic() > until:
                raise Failed(f"the guest is silent; its last words: {self.console()[-2000:]} {self.buffer[-2000:]!r}")
            self.buffer += data
        before, self.buffer = self.buffer.split(mark, 1)
        return before

    def run(self, script, seconds=120, check=True):
        """What a script says, on either stream."""
        self.line.sendall(base64.b64encode(script.encode()) + b"\n")
        said = self.until(b"\x01\n", seconds).decode(errors="replace").replace("\r\n", "\n")
        text, _, code = said.rpartition("\x02")
        if check and code.strip() != "0":
            raise Failed(f"in the guest `{script}` ended with {code.strip()}: {text.strip()}")
        return text

    def monitor(self, command):
        """A command for QEMU's monitor."""
        line = self.connect("monitor")
        with line:
            line.settimeout(5)
            said = b""
            while not said.endswith(b"(qemu) "):
                said += line.recv(4096)
            line.sendall(command.encode() + b"\n")
            said = b""
            while not said.endswith(b"(qemu) "):
                said += line.recv(4096)
        return said.decode()

    def console(self):
        with open(f"{self.folder}/console", encoding="utf-8", errors="replace") as file:
            return file.read()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.line.close()
        run("ip", "link", "del", "tap0", check=False)
