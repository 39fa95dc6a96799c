"""Claims an address that another station has, COUNT times, by ARP or by an advertisement to all nodes, and prints how often
that station tells everybody otherwise: INTERFACE ADDRESS COUNT. First it waits until nothing is told for three seconds."""
import socket
import struct
import sys
import time

interface, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
ALL = 3
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
link.bind((interface, ALL))
mine = bytes.fromhex("020000007766")


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


if ":" in address:
    ip, to = socket.inet_pton(socket.AF_INET6, address), socket.inet_pton(socket.AF_INET6, "ff02::1")
    body = struct.pack("!I", 0x20000000) + ip + b"\2\1" + mine
    pseudo = ip + to + struct.pack("!II", 4 + len(body), 58)
    message = struct.pack("!BBH", 136, 0, checksum(pseudo + b"\x88\0\0\0" + body)) + body
    claim = bytes.fromhex("333300000001") + mine + b"\x86\xdd"
    claim += struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + ip + to + message
    told = lambda frame: frame[12:14] == b"\x86\xdd" and frame[54] == 136 and frame[62:78] == ip
    group = bytes.fromhex("333300000001")
else:
    ip = socket.inet_aton(address)
    claim = b"\xff" * 6 + mine + bytes.fromhex("08060001080006040002") + mine + ip + mine + ip
    told = lambda frame: frame[12:14] == b"\x08\x06" and frame[28:32] == ip and frame[38:42] == ip
    group = b"\xff" * 6


def heard(seconds):
    """Whether something is told within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        link.settimeout(max(0.001, end - time.monotonic()))
        try:
            frame = link.recv(2048)
        except TimeoutError:
            break
        if frame[:6] == group and frame[6:12] != mine and told(frame):
            return True
    return False


while heard(3):
    pass
for _ in range(count):
    link.send(claim)
# One is expected; a second would come at once.
answers = int(heard(20))
while heard(1):
    answers += 1
print(answers)
