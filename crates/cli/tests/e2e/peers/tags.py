"""Sends a SYN behind tags, and prints the tag of the answer, "untagged", or "nothing": INTERFACE MAC FROM TO PORT [TAG...], a
tag being TYPE:TCI in hexadecimal."""
import socket
import struct
import sys

interface, mac, near, far, port = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), *sys.argv[3:5], int(sys.argv[5])
ALL, AUXDATA, SOL_PACKET = 3, 8, 263
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
link.setsockopt(SOL_PACKET, AUXDATA, 1)
link.bind((interface, ALL))
own = link.getsockname()[4]
src, dst = socket.inet_aton(near), socket.inet_aton(far)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


ports = struct.pack("!HH", 40002, port)
body = struct.pack("!IIBBHHH", 7, 0, 5 << 4, 2, 1000, 0, 0)
body = body[:12] + struct.pack("!H", checksum(src + dst + struct.pack("!HH", 6, 20) + ports + body)) + body[14:]
header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + src + dst
header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
tags = b"".join(bytes.fromhex(tag.replace(":", "")) for tag in sys.argv[6:])
link.send(mac + own + tags + b"\x08\x00" + header + ports + body)
# Behind it, a connection to the same port: what is answered has been by then.
socket.create_connection((far, port), timeout=120).close()
link.setblocking(False)
answer = "nothing"
try:
    while True:
        frame, ancillary, _, _ = link.recvmsg(2048, 256)
        if frame[6:12] == mac and frame[34:38] == struct.pack("!HH", port, 40002):
            answer = "untagged"
            for level, kind, data in ancillary:
                if (level, kind) == (SOL_PACKET, AUXDATA):
                    status, _, _, _, _, tci, _ = struct.unpack("=IIIHHHH", data)
                    answer = f"{tci:04x}" if status & 0x10 else answer
except BlockingIOError:
    print(answer)
