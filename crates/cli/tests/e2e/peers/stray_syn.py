"""Sends one SYN from an address that need not be ours: SOURCE DESTINATION PORT."""
import ipaddress
import socket
import struct
import sys

source, destination, port = ipaddress.ip_address(sys.argv[1]), ipaddress.ip_address(sys.argv[2]), int(sys.argv[3])


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(sum_field):
    return struct.pack("!HHIIBBHHH", 40000, port, 7, 0, 5 << 4, 2, 65535, sum_field, 0)


if source.version == 4:
    pseudo = source.packed + destination.packed + struct.pack("!BBH", 0, 6, 20)
    # The kernel fills in identification, length and checksum.
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, source.packed, destination.packed)
    family = socket.AF_INET
else:
    pseudo = source.packed + destination.packed + struct.pack("!IBBBB", 20, 0, 0, 0, 6)
    header = struct.pack("!IHBB16s16s", 6 << 28, 20, 6, 64, source.packed, destination.packed)
    family = socket.AF_INET6
packet = header + segment(checksum(pseudo + segment(0)))
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(packet, (str(destination), 0))
