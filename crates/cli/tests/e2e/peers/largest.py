"""Prints the size of the largest IP packet among COUNT with TCP data from PORT that arrive: INTERFACE PORT COUNT."""
import socket
import struct
import sys

interface, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
frames.bind((interface, 0x0800))
frames.settimeout(120)
largest = 0
while count:
    frame, (_, _, kind, _, _) = frames.recvfrom(65536)
    header = 14 + (frame[14] & 15) * 4
    total = struct.unpack("!H", frame[16:18])[0]
    if kind == socket.PACKET_OUTGOING or frame[23] != 6 or total < 100:
        continue
    if struct.unpack("!H", frame[header:header + 2])[0] == port:
        count -= 1
        largest = max(largest, total)
print(largest)
