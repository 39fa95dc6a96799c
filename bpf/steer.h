/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The ABI between the steering program and its loader, mirrored by crates/xdp/src/abi.rs (a test compares the two).
 * Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). Ports are in HOST byte order.
 */
#ifndef FOURWAVE_STEER_H
#define FOURWAVE_STEER_H

#include <linux/types.h>

#define MAX_ADDRESSES 1024
#define MAX_ENDPOINTS 16384
#define MAX_QUEUES 64
#define MAX_SOURCES 65536

/* The address is the stack's alone: all its IP traffic, ARP and neighbour solicitations are redirected. */
#define ADDRESS_OWNED 1

struct address_key {
	__u8 addr[16];
};

/* The local ports (active opens) of the stack on a shared address; port_lo > port_hi or 0/0: none. */
struct address_value {
	__u32 flags;
	__u16 port_lo;
	__u16 port_hi;
};

/* A listener. A wildcard listener is entered once per local address. */
struct endpoint_key {
	__u8 addr[16];
	__u16 port;
	__u16 zero;
};

/*
 * How many SYNs of one source prefix the stack is shown, a token bucket in nanoseconds: each SYN is worth interval_ns of time,
 * and burst_ns of them may come at once. interval_ns 0: as many as come. The masks are in network order. A constant of the
 * program, which the loader writes before the verifier sees it.
 */
struct syn_limit {
	__u64 interval_ns;
	__u64 burst_ns;
	__u32 mask_ipv4;
	__u32 mask_ipv6[4];
	__u32 zero;
};

/* Whose SYNs are counted together; of IPv4 in the first word. The value is when the bucket will be full again. */
struct source_key {
	__u32 version;
	__be32 prefix[4];
};

/* Each packet counts exactly one; the names in lower case are what `fourwave ss --steering` shows. */
enum verdict {
	REDIRECT_ENDPOINT,	/* TCP to a listener on a shared address */
	REDIRECT_RANGE,		/* TCP to a port of the stack's range on a shared address */
	REDIRECT_OWNED,		/* any IP packet to an owned address */
	REDIRECT_ARP,		/* ARP whose target is an owned address, or whose sender claims to have it */
	REDIRECT_NDP,		/* solicitation for an owned address to its group, or advertisement of it to all nodes */
	REDIRECT_ICMP,		/* ICMP error to a shared address, about a TCP segment of the stack's */
	PASS_OTHER_ADDRESS,	/* IP or ARP for an address that isn't the stack's */
	PASS_OTHER_PORT,	/* TCP to a shared address, to a port of the kernel's */
	PASS_NOT_TCP,		/* another protocol to a shared address */
	PASS_NOT_IP,		/* neither IPv4, IPv6 nor ARP */
	PASS_FRAGMENT,		/* another fragment to a shared address */
	PASS_UNPARSED,		/* truncated, malformed, deeper than the program looks, or with segments left */
	PASS_NO_SOCKET,		/* the stack's, but no AF_XDP socket on its queue */
	DROP_FRAGMENT,		/* first fragment of a TCP segment to a port of the stack's on a shared address */
	DROP_SYN_LIMIT,		/* SYN that would be redirected, of a source prefix that has used up its limit */
	VERDICT_COUNT,
};

_Static_assert(sizeof(struct address_key) == 16, "address_key");
_Static_assert(sizeof(struct address_value) == 8, "address_value");
_Static_assert(sizeof(struct endpoint_key) == 20, "endpoint_key");
_Static_assert(sizeof(struct syn_limit) == 40, "syn_limit");
_Static_assert(sizeof(struct source_key) == 20, "source_key");

#endif
