"""Sends SYNs of which only the last one is right, and prints the ports that are answered: INTERFACE OWN FAR PORT.
The others have a wrong checksum: of TCP, and of the IPv4 header."""
import ipaddress
import select
import socket
import struct
import subprocess
import sys

interface, own, far, port = sys.argv[1], *map(ipaddress.ip_address, sys.argv[2:4]), int(sys.argv[4])
# Has the kernel find the neighbour: what is sent below passes it by.
probe = socket.socket(socket.AF_INET if far.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
probe.sendto(b"", (str(far), 9))
shown = ""
while "lladdr" not in shown:
    shown = subprocess.run(["ip", "neigh", "show", str(far)], capture_output=True, text=True, check=True).stdout
mac = bytes.fromhex(shown.split("lladdr ")[1].split()[0].replace(":", ""))
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
raw.bind((interface, 0))


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(source, tcp_error, ip_error):
    pseudo = own.packed + far.packed + struct.pack("!IBBBB", 20, 0, 0, 0, 6)
    tcp = struct.pack("!HHIIBBHHH", source, port, 7, 0, 5 << 4, 2, 65535, 0, 0)
    sum_field = checksum(pseudo + tcp) ^ tcp_error
    tcp = tcp[:16] + struct.pack("!H", sum_field) + tcp[18:]
    if far.version == 6:
        return struct.pack("!IHBB16s16s", 6 << 28, 20, 6, 64, own.packed, far.packed) + tcp
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, own.packed, far.packed)
    return ip[:10] + struct.pack("!H", checksum(ip) ^ ip_error) + ip[12:] + tcp


protocol, header = (0x0800, 20) if far.version == 4 else (0x86DD, 40)
cases = [(50001, 1, 0), (50002, 0x8000, 0), (50003, 0, 1), (50004, 0, 0)]
if far.version == 6:
    del cases[2]
for case in cases:
    raw.send(mac + raw.getsockname()[4] + struct.pack("!H", protocol) + frame(*case))
answered = set()
while 50004 not in answered:
    assert select.select([raw], [], [], 20)[0], "no answer"
    data, address = raw.recvfrom(65536)
    if address[2] != socket.PACKET_OUTGOING and data[12:14] == struct.pack("!H", protocol):
        segment = data[14 + header:]
        if len(segment) >= 20 and segment[:2] == struct.pack("!H", port) and segment[13] == 0x12:
            answered.add(struct.unpack("!H", segment[2:4])[0])
print(*sorted(answered))
