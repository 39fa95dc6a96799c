"""What an 802.1Q interface does, for kernels that have none: carries frames between INNER, untagged, and OUTER, tagged:
OUTER INNER IDENTIFIER."""
import select
import socket
import struct
import sys

ALL, AUXDATA, SOL_PACKET, OUTGOING = 3, 8, 263, 4
outer_name, inner_name, identifier = sys.argv[1], sys.argv[2], int(sys.argv[3])


def opened(name):
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    one.setsockopt(SOL_PACKET, AUXDATA, 1)
    one.bind((name, ALL))
    return one


def tag(ancillary):
    """The tag that the kernel has taken off: struct tpacket_auxdata, its status bit TP_STATUS_VLAN_VALID."""
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_PACKET, AUXDATA):
            status, _, _, _, _, tci, _ = struct.unpack("=IIIHHHH", data)
            return tci & 0xFFF if status & 0x10 else None
    return None


outer, inner = opened(outer_name), opened(inner_name)
print(f"listening on {outer_name} in VLAN {identifier}", file=sys.stderr, flush=True)
while True:
    for ready in select.select([outer, inner], [], [])[0]:
        frame, ancillary, _, address = ready.recvmsg(65536, 256)
        if address[2] == OUTGOING:
            continue
        try:
            if ready is inner:
                outer.send(frame[:12] + struct.pack("!HH", 0x8100, identifier) + frame[12:])
            elif tag(ancillary) == identifier:
                inner.send(frame)
        except OSError:
            # A full queue, as on any link.
            pass
