// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * fourwave_steer: which packets are the stack's (to the AF_XDP socket of their queue) and which the kernel's (XDP_PASS).
 * When in doubt a packet is the kernel's. Nothing is changed here, and nothing dropped but the beginning of a fragmented
 * segment to a port of the stack's: the kernel would put it together, know nobody on that port, and reset the connection; and,
 * if there is a limit, SYNs to the stack of a source prefix that sends too many.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "steer.h"

#define MAX_EXTENSION_HEADERS 6
#define IPV4_FRAGMENT 0x3fff /* more-fragments bit and offset, RFC 791 3.1 */
#define IPV6_FRAGMENT 0xfff9 /* offset and M bit, RFC 8200 4.5 */
#define IPV4_OFFSET 0x1fff
#define IPV6_OFFSET 0xfff8
#define ND_SOLICITATION 135  /* RFC 4861 4.3 */
#define ND_ADVERTISEMENT 136 /* RFC 4861 4.4 */
#define ICMP_UNREACHABLE 3   /* RFC 792; source quench is nobody's any more (RFC 6633) */
#define ICMP_EXCEEDED 11
#define ICMP_PARAMETER 12
#define ICMPV6_UNREACHABLE 1 /* RFC 4443 3.1 to 3.4: 1 to 4 */
#define ICMPV6_PARAMETER 4
#define ARP_ETHERNET 1       /* ARPHRD_ETHER; linux/if_arp.h needs a 32-bit libc here */
#define ARP_REQUEST 1

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ADDRESSES);
	__type(key, struct address_key);
	__type(value, struct address_value);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENDPOINTS);
	__type(key, struct endpoint_key);
	__type(value, __u32);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

/* When the bucket of a source prefix will be full again. Who sends least often is forgotten first. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_SOURCES);
	__type(key, struct source_key);
	__type(value, __u64);
} sources SEC(".maps");

/* Without a limit the verifier takes out what depends on it. */
const volatile struct syn_limit syn_limit = {};

#define VLAN_ID 0x0fff

struct vlan_header {
	__be16 tci;
	__be16 next_protocol;
};

/* ARP for IPv4 over Ethernet, RFC 826; the kernel's struct arphdr stops before the addresses. */
struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender_ip[4];
	__u8 target_mac[6];
	__u8 target_ip[4];
};

/* Up to the target of a neighbour solicitation or advertisement, RFC 4861 4.3 and 4.4. */
struct neighbour_discovery {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 reserved;
	__u8 target[16];
};

/* What an ICMP error begins with, of either version; then comes the packet that it is about. */
struct icmp_error {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

/* As much of a TCP header as every error quotes, RFC 792, and as the shortest first fragment has. */
struct quoted_tcp {
	__be16 source;
	__be16 dest;
	__be32 seq;
};

/* The first bytes of every extension header that is walked. */
struct extension_header {
	__u8 next;
	__u8 len;
	union {
		__be16 fragment;
		__u8 routing[2]; /* type and Segments Left, RFC 8200 4.4 */
	};
};

static __always_inline int count(__u32 verdict)
{
	__u64 *counter = bpf_map_lookup_elem(&verdicts, &verdict);

	if (counter)
		(*counter)++;
	return XDP_PASS;
}

/* To the socket of the queue the packet came in on; without one, to the kernel. */
static __always_inline int redirect(struct xdp_md *ctx, __u32 verdict)
{
	int action = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);

	count(action == XDP_REDIRECT ? verdict : PASS_NO_SOCKET);
	return action;
}

static __always_inline void mask_source(struct source_key *key, __u32 version, const __be32 *address)
{
	key->version = version;
	if (version == 4) {
		key->prefix[0] = address[0] & syn_limit.mask_ipv4;
		key->prefix[1] = key->prefix[2] = key->prefix[3] = 0;
		return;
	}
	key->prefix[0] = address[0] & syn_limit.mask_ipv6[0];
	key->prefix[1] = address[1] & syn_limit.mask_ipv6[1];
	key->prefix[2] = address[2] & syn_limit.mask_ipv6[2];
	key->prefix[3] = address[3] & syn_limit.mask_ipv6[3];
}

/*
 * Whether the prefix has no token left; else it has one less. A token bucket of one word, so that there is nothing to lock: not
 * how many tokens it has, but when it will be full again, which each token puts off by interval_ns (as in the GCRA of ITU-T
 * I.371). CPUs that do this at the same time may each take the last token, or, of a full bucket, the same one: a prefix gets
 * as many too many at such a moment as there are CPUs, and never too few.
 */
static __always_inline int over_limit(const struct source_key *key)
{
	const __u64 now = bpf_ktime_get_ns();
	__u64 *full_at = bpf_map_lookup_elem(&sources, key);
	__u64 at;

	if (!full_at) {
		at = now + syn_limit.interval_ns;
		/* Where that fails it is not known, and may pass. */
		bpf_map_update_elem(&sources, key, &at, BPF_ANY);
		return 0;
	}
	at = *(volatile __u64 *)full_at;
	if (at < now) {
		*(volatile __u64 *)full_at = now;
		at = now;
	}
	if (at - now + syn_limit.interval_ns > syn_limit.burst_ns)
		return 1;
	__sync_fetch_and_add(full_at, syn_limit.interval_ns);
	return 0;
}

/* What begins a connection, or can't be known not to: to the socket, if its source may. */
static __always_inline int redirect_opening(struct xdp_md *ctx, __u32 verdict, __u32 version, const __be32 *source)
{
	/* First, since what no socket takes is the kernel's, and the kernel's is not limited. */
	int action = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
	struct source_key key;

	if (action == XDP_REDIRECT) {
		mask_source(&key, version, source);
		if (over_limit(&key)) {
			count(DROP_SYN_LIMIT);
			return XDP_DROP;
		}
	}
	count(action == XDP_REDIRECT ? verdict : PASS_NO_SOCKET);
	return action;
}

/* A segment to the socket; its header has been found to be there. */
static __always_inline int redirect_tcp(struct xdp_md *ctx, __u32 verdict, __u32 version, const __be32 *source,
					const struct tcphdr *tcp)
{
	if (syn_limit.interval_ns && tcp->syn && !tcp->ack)
		return redirect_opening(ctx, verdict, version, source);
	return redirect(ctx, verdict);
}

static __always_inline void map_ipv4(struct address_key *key, const void *ipv4)
{
	__builtin_memset(key->addr, 0, 10);
	key->addr[10] = 0xff;
	key->addr[11] = 0xff;
	__builtin_memcpy(key->addr + 12, ipv4, 4);
}

static __always_inline int same_ipv6(const struct in6_addr *a, const struct in6_addr *b)
{
	return a->s6_addr32[0] == b->s6_addr32[0] && a->s6_addr32[1] == b->s6_addr32[1] &&
	       a->s6_addr32[2] == b->s6_addr32[2] && a->s6_addr32[3] == b->s6_addr32[3];
}

/* Whose a TCP port of a shared address is. */
static __always_inline __u32 owner(const struct address_key *key, const struct address_value *address, __u16 port)
{
	struct endpoint_key endpoint = {};

	/* Port 0 is never a listener's or a client's, so a range of 0/0 is none. First, since it costs no look-up. */
	if (port && port >= address->port_lo && port <= address->port_hi)
		return REDIRECT_RANGE;
	__builtin_memcpy(endpoint.addr, key->addr, sizeof(endpoint.addr));
	endpoint.port = port;
	return bpf_map_lookup_elem(&endpoints, &endpoint) ? REDIRECT_ENDPOINT : PASS_OTHER_PORT;
}

/* TCP at `at` to a shared address. */
static __always_inline int steer_tcp(struct xdp_md *ctx, const struct address_key *key,
				     const struct address_value *address, __u32 version, const __be32 *source, void *at,
				     void *end)
{
	struct tcphdr *tcp = at;
	__u32 verdict;

	if ((void *)(tcp + 1) > end)
		return count(PASS_UNPARSED);
	verdict = owner(key, address, bpf_ntohs(tcp->dest));
	if (verdict == PASS_OTHER_PORT)
		return count(verdict);
	return redirect_tcp(ctx, verdict, version, source, tcp);
}

/* The first fragment of a TCP segment to a shared address. Without it the others come to nothing. */
static __always_inline int steer_fragment(const struct address_key *key, const struct address_value *address, void *at,
					  void *end)
{
	struct quoted_tcp *tcp = at;

	if ((void *)(tcp + 1) > end || owner(key, address, bpf_ntohs(tcp->dest)) == PASS_OTHER_PORT)
		return count(PASS_FRAGMENT);
	count(DROP_FRAGMENT);
	return XDP_DROP;
}

/* An ICMP error about the segment at `at`, which left from a shared address. */
static __always_inline int steer_quoted(struct xdp_md *ctx, const struct address_key *key,
					const struct address_value *address, void *at, void *end)
{
	struct quoted_tcp *tcp = at;

	if ((void *)(tcp + 1) > end)
		return count(PASS_UNPARSED);
	if (owner(key, address, bpf_ntohs(tcp->source)) == PASS_OTHER_PORT)
		return count(PASS_NOT_TCP);
	return redirect(ctx, REDIRECT_ICMP);
}

/* ICMP at `at`, `bytes` long, to the shared address `to`: what it quotes must have been sent from there. */
static __always_inline int steer_icmp(struct xdp_md *ctx, const struct address_key *key,
				      const struct address_value *address, __be32 to, __u32 bytes, void *at, void *end)
{
	struct icmp_error *error = at;
	struct iphdr *quoted = at + sizeof(*error);
	__u32 header_bytes;

	if ((void *)(error + 1) > end)
		return count(PASS_UNPARSED);
	if (error->type != ICMP_UNREACHABLE && error->type != ICMP_EXCEEDED && error->type != ICMP_PARAMETER)
		return count(PASS_NOT_TCP);
	if ((void *)(quoted + 1) > end)
		return count(PASS_UNPARSED);
	header_bytes = quoted->ihl * 4;
	if (quoted->version != 4 || header_bytes < sizeof(*quoted))
		return count(PASS_UNPARSED);
	if (quoted->protocol != IPPROTO_TCP || quoted->saddr != to || quoted->frag_off & bpf_htons(IPV4_OFFSET))
		return count(PASS_NOT_TCP);
	if (bytes < sizeof(*error) + header_bytes + sizeof(struct quoted_tcp))
		return count(PASS_UNPARSED);
	return steer_quoted(ctx, key, address, (void *)quoted + header_bytes, end);
}

/* The same of ICMPv6. A segment of the stack's has no extension headers, so one with any is none. */
static __always_inline int steer_icmpv6(struct xdp_md *ctx, const struct address_key *key,
					const struct address_value *address, const struct in6_addr *to, __u32 bytes,
					void *at, void *end)
{
	struct icmp_error *error = at;
	struct ipv6hdr *quoted = at + sizeof(*error);

	if ((void *)(error + 1) > end)
		return count(PASS_UNPARSED);
	if (error->type < ICMPV6_UNREACHABLE || error->type > ICMPV6_PARAMETER)
		return count(PASS_NOT_TCP);
	if ((void *)(quoted + 1) > end || quoted->version != 6)
		return count(PASS_UNPARSED);
	if (quoted->nexthdr != IPPROTO_TCP || !same_ipv6(&quoted->saddr, to))
		return count(PASS_NOT_TCP);
	if (bytes < sizeof(*error) + sizeof(*quoted) + sizeof(struct quoted_tcp))
		return count(PASS_UNPARSED);
	return steer_quoted(ctx, key, address, quoted + 1, end);
}

/* To an owned address: all of it is the stack's, so its transport is looked at only if that may be too much. */
static __always_inline int steer_owned_ipv4(struct xdp_md *ctx, const struct iphdr *ip, void *at, void *end)
{
	struct tcphdr *tcp = at;

	if (syn_limit.interval_ns && ip->protocol == IPPROTO_TCP && !(ip->frag_off & bpf_htons(IPV4_FRAGMENT)) &&
	    (void *)(tcp + 1) <= end)
		return redirect_tcp(ctx, REDIRECT_OWNED, 4, &ip->saddr, tcp);
	return redirect(ctx, REDIRECT_OWNED);
}

static __always_inline int steer_ipv4(struct xdp_md *ctx, void *at, void *end, int in_vlan)
{
	struct iphdr *ip = at;
	struct address_value *address;
	struct address_key key;
	__u32 header_bytes;

	if ((void *)(ip + 1) > end)
		return count(PASS_UNPARSED);
	header_bytes = ip->ihl * 4;
	if (ip->version != 4 || header_bytes < sizeof(*ip))
		return count(PASS_UNPARSED);
	map_ipv4(&key, &ip->daddr);
	address = bpf_map_lookup_elem(&addresses, &key);
	if (!address)
		return count(PASS_OTHER_ADDRESS);
	if (address->flags & ADDRESS_OWNED)
		return steer_owned_ipv4(ctx, ip, at + header_bytes, end);
	if (in_vlan)
		return count(PASS_OTHER_ADDRESS);
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT)) {
		if (ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(IPV4_OFFSET) ||
		    bpf_ntohs(ip->tot_len) < header_bytes + sizeof(struct quoted_tcp))
			return count(PASS_FRAGMENT);
		return steer_fragment(&key, address, at + header_bytes, end);
	}
	if (ip->protocol == IPPROTO_ICMP && bpf_ntohs(ip->tot_len) >= header_bytes)
		return steer_icmp(ctx, &key, address, ip->daddr, bpf_ntohs(ip->tot_len) - header_bytes,
				  at + header_bytes, end);
	if (ip->protocol != IPPROTO_TCP)
		return count(PASS_NOT_TCP);
	if (bpf_ntohs(ip->tot_len) < header_bytes + sizeof(struct tcphdr))
		return count(PASS_UNPARSED);
	return steer_tcp(ctx, &key, address, 4, &ip->saddr, at + header_bytes, end);
}

/* Whether `group` is ff02::1:ffXX:XXXX with the last three bytes of `target`, RFC 4291 2.7.1. */
static __always_inline int is_solicited_node(const struct in6_addr *group, const __u8 *target)
{
	return group->s6_addr32[0] == bpf_htonl(0xff020000) && group->s6_addr32[1] == 0 &&
	       group->s6_addr32[2] == bpf_htonl(1) && group->s6_addr[12] == 0xff &&
	       group->s6_addr[13] == target[13] && group->s6_addr[14] == target[14] &&
	       group->s6_addr[15] == target[15];
}

static __always_inline int is_all_nodes(const struct in6_addr *group)
{
	return group->s6_addr32[0] == bpf_htonl(0xff020000) && group->s6_addr32[1] == 0 && group->s6_addr32[2] == 0 &&
	       group->s6_addr32[3] == bpf_htonl(1);
}

/*
 * ICMPv6 at `at` to a group: the stack's is what asks for an owned address, in the group of that address, and who tells all
 * nodes that the address is his (RFC 4862 5.4.4).
 */
static __always_inline int steer_group(struct xdp_md *ctx, const struct in6_addr *group, void *at, void *end)
{
	struct neighbour_discovery *nd = at;
	struct address_value *address;
	struct address_key key;

	if ((void *)(nd + 1) > end)
		return count(PASS_UNPARSED);
	if (!(nd->type == ND_SOLICITATION && is_solicited_node(group, nd->target)) &&
	    !(nd->type == ND_ADVERTISEMENT && is_all_nodes(group)))
		return count(PASS_OTHER_ADDRESS);
	__builtin_memcpy(key.addr, nd->target, sizeof(key.addr));
	address = bpf_map_lookup_elem(&addresses, &key);
	if (address && address->flags & ADDRESS_OWNED)
		return redirect(ctx, REDIRECT_NDP);
	return count(PASS_OTHER_ADDRESS);
}

/* Where the extension headers of an IPv6 packet end. */
struct upper {
	__u32 offset; /* at most 6 * 2048 */
	int first_fragment;
	__u8 protocol;
};

/* VERDICT_COUNT, or what the packet is if nothing can be said of what is behind them. */
static __always_inline __u32 skip_extensions(struct upper *upper, const struct ipv6hdr *ip, void *end)
{
	void *at = (void *)(ip + 1);
	__u8 next = ip->nexthdr;

	upper->offset = 0;
	upper->first_fragment = 0;
#pragma unroll
	for (int i = 0; i <= MAX_EXTENSION_HEADERS; i++) {
		struct extension_header *extension = at + upper->offset;

		switch (next) {
		case IPPROTO_FRAGMENT:
			if ((void *)(extension + 1) > end)
				return PASS_UNPARSED;
			/* An atomic fragment (RFC 6946) is a whole packet. */
			if (extension->fragment & bpf_htons(IPV6_OFFSET))
				return PASS_FRAGMENT;
			/* All headers are in the first (RFC 7112). */
			if (extension->fragment & bpf_htons(IPV6_FRAGMENT))
				upper->first_fragment = 1;
			upper->offset += 8;
			break;
		case IPPROTO_ROUTING:
			if ((void *)(extension + 1) > end)
				return PASS_UNPARSED;
			/* It only passes by: the kernel forwards it, or says why not. */
			if (extension->routing[1])
				return PASS_UNPARSED;
			upper->offset += (extension->len + 1) * 8;
			break;
		case IPPROTO_HOPOPTS:
		case IPPROTO_DSTOPTS:
			if ((void *)(extension + 1) > end)
				return PASS_UNPARSED;
			upper->offset += (extension->len + 1) * 8;
			break;
		default:
			upper->protocol = next;
			return VERDICT_COUNT;
		}
		next = extension->next;
	}
	return PASS_UNPARSED;
}

/* An IPv6 packet to a shared address. */
static __always_inline int steer_shared_ipv6(struct xdp_md *ctx, const struct address_key *key,
					     const struct address_value *address, const struct ipv6hdr *ip, void *end)
{
	const __u32 payload_bytes = bpf_ntohs(ip->payload_len);
	struct upper upper;
	__u32 unknown = skip_extensions(&upper, ip, end);
	void *at = (void *)(ip + 1) + upper.offset;

	if (unknown != VERDICT_COUNT)
		return count(unknown);
	switch (upper.protocol) {
	case IPPROTO_TCP:
		if (upper.first_fragment)
			return steer_fragment(key, address, at, end);
		if (payload_bytes < upper.offset + sizeof(struct tcphdr))
			return count(PASS_UNPARSED);
		return steer_tcp(ctx, key, address, 6, ip->saddr.s6_addr32, at, end);
	case IPPROTO_ICMPV6:
		if (upper.first_fragment)
			return count(PASS_FRAGMENT);
		if (payload_bytes < upper.offset)
			return count(PASS_UNPARSED);
		return steer_icmpv6(ctx, key, address, &ip->daddr, payload_bytes - upper.offset, at, end);
	default:
		return count(upper.first_fragment ? PASS_FRAGMENT : PASS_NOT_TCP);
	}
}

/* As steer_owned_ipv4. The stack walks more extension headers than this, so what is behind too many may be a SYN. */
static __always_inline int steer_owned_ipv6(struct xdp_md *ctx, const struct ipv6hdr *ip, void *end)
{
	struct upper upper;
	struct tcphdr *tcp;
	__u32 unknown;

	if (!syn_limit.interval_ns)
		return redirect(ctx, REDIRECT_OWNED);
	unknown = skip_extensions(&upper, ip, end);
	if (unknown == PASS_UNPARSED)
		return redirect_opening(ctx, REDIRECT_OWNED, 6, ip->saddr.s6_addr32);
	if (unknown == PASS_FRAGMENT || upper.first_fragment || upper.protocol != IPPROTO_TCP)
		return redirect(ctx, REDIRECT_OWNED);
	tcp = (void *)(ip + 1) + upper.offset;
	if ((void *)(tcp + 1) > end)
		return redirect(ctx, REDIRECT_OWNED);
	return redirect_tcp(ctx, REDIRECT_OWNED, 6, ip->saddr.s6_addr32, tcp);
}

static __always_inline int steer_ipv6(struct xdp_md *ctx, void *at, void *end, int in_vlan)
{
	struct ipv6hdr *ip = at;
	struct address_value *address;
	struct address_key key;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return count(PASS_UNPARSED);
	if (ip->daddr.s6_addr[0] == 0xff) {
		if (ip->nexthdr != IPPROTO_ICMPV6)
			return count(PASS_OTHER_ADDRESS);
		return steer_group(ctx, &ip->daddr, ip + 1, end);
	}
	__builtin_memcpy(key.addr, &ip->daddr, sizeof(key.addr));
	address = bpf_map_lookup_elem(&addresses, &key);
	if (!address)
		return count(PASS_OTHER_ADDRESS);
	if (address->flags & ADDRESS_OWNED)
		return steer_owned_ipv6(ctx, ip, end);
	if (in_vlan)
		return count(PASS_OTHER_ADDRESS);
	return steer_shared_ipv6(ctx, &key, address, ip, end);
}

static __always_inline int steer_arp(struct xdp_md *ctx, void *at, void *end)
{
	struct arp_ipv4 *arp = at;
	struct address_value *address;
	struct address_key key;

	if ((void *)(arp + 1) > end)
		return count(PASS_UNPARSED);
	if (arp->hardware != bpf_htons(ARP_ETHERNET) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_len != 6 || arp->protocol_len != 4)
		return count(PASS_UNPARSED);
	map_ipv4(&key, arp->target_ip);
	address = bpf_map_lookup_elem(&addresses, &key);
	if (address && address->flags & ADDRESS_OWNED)
		return redirect(ctx, REDIRECT_ARP);
	/*
	 * Who answers a probe for an owned address answers nobody (RFC 5227 2.1.1), and so do some announcements. A request
	 * for somebody else's address may be for the kernel to answer, though its sender has one of ours.
	 */
	if (arp->operation != bpf_htons(ARP_REQUEST)) {
		map_ipv4(&key, arp->sender_ip);
		address = bpf_map_lookup_elem(&addresses, &key);
		if (address && address->flags & ADDRESS_OWNED)
			return redirect(ctx, REDIRECT_ARP);
	}
	return count(PASS_OTHER_ADDRESS);
}

static __always_inline int steer(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *at = eth + 1;
	__be16 protocol;
	int in_vlan = 0;

	if (at > end)
		return count(PASS_UNPARSED);
	protocol = eth->h_proto;
	/* One 802.1Q tag, as many as the stack takes off and puts on. */
	if (protocol == bpf_htons(ETH_P_8021Q)) {
		struct vlan_header *vlan = at;

		if ((void *)(vlan + 1) > end)
			return count(PASS_UNPARSED);
		protocol = vlan->next_protocol;
		/*
		 * The kernel's addresses of this interface are those of untagged frames (and of a tag with a priority alone): a
		 * VLAN has an interface of its own, with its own addresses, or is nobody's.
		 */
		in_vlan = vlan->tci & bpf_htons(VLAN_ID);
		at = vlan + 1;
	}
	switch (protocol) {
	case bpf_htons(ETH_P_IP):
		return steer_ipv4(ctx, at, end, in_vlan);
	case bpf_htons(ETH_P_IPV6):
		return steer_ipv6(ctx, at, end, in_vlan);
	case bpf_htons(ETH_P_ARP):
		return steer_arp(ctx, at, end);
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return count(PASS_UNPARSED);
	default:
		return count(PASS_NOT_IP);
	}
}

SEC("xdp")
int fourwave_steer(struct xdp_md *ctx)
{
	return steer(ctx);
}

/*
 * The same for an interface whose packets may be in several buffers (Linux 5.18). Only the first one is looked at, between
 * data and data_end; a packet whose headers don't lie in it is the kernel's, as one that is cut off is.
 */
SEC("xdp.frags")
int fourwave_frags(struct xdp_md *ctx)
{
	return steer(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
