"""Sends a TCP segment in two fragments, and prints whether a reset came back: INTERFACE MAC FROM TO PORT."""
import socket
import struct
import sys

interface, mac, near, far, port = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), *sys.argv[3:5], int(sys.argv[5])
ALL = 3
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
link.bind((interface, ALL))
own = link.getsockname()[4]
six = ":" in far
src, dst = (socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, ip) for ip in (near, far))


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


# An ACK of a connection that nobody has, with 1480 bytes of data, so that each part is long enough for whoever is picky.
body = struct.pack("!IIBBHHH", 1000, 2000, 5 << 4, 0x10, 1000, 0, 0) + b"x" * 1480
ports = struct.pack("!HH", 40001, port)
pseudo = src + dst + struct.pack("!I", 1500) + struct.pack("!I", 6)
body = body[:12] + struct.pack("!H", checksum(pseudo + ports + body)) + body[14:]
segment = ports + body


def packet(offset, more, part):
    if six:
        fragment = struct.pack("!BBHI", 6, 0, offset | more, 4242)
        return struct.pack("!IHBB", 6 << 28, 8 + len(part), 44, 64) + src + dst + fragment + part
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(part), 4242, more << 13 | offset // 8, 64, 6, 0) + src + dst
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + part


def is_reset(frame):
    at = 54 if six else 34
    return frame[6:12] == mac and frame[at : at + 4] == struct.pack("!HH", port, 40001) and frame[at + 13] & 4 != 0


for offset, more, part in ((0, 1, segment[:1280]), (1280, 0, segment[1280:])):
    link.send(mac + own + (b"\x86\xdd" if six else b"\x08\x00") + packet(offset, more, part))
# Behind it, a question that is answered: whatever comes because of the fragments has come by then.
link.settimeout(120)
probe = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
try:
    probe.connect((far, 9))
except ConnectionRefusedError:
    pass
link.setblocking(False)
resets = 0
try:
    while True:
        resets += is_reset(link.recv(2048))
except BlockingIOError:
    print("reset" if resets else "quiet")
