use core::fmt;

macro_rules! malformed {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a frame could not be parsed; each is counted by the stack.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Malformed {
            $($(#[$doc])* $variant,)*
        }

        impl Malformed {
            /// How many reasons there are: the length of an array of counters.
            pub const COUNT: usize = [$($name),*].len();

            /// Every reason, in the order of [`Malformed::index`].
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),*];

            /// The reason's stable name in counters and logs, e.g. `"tcp_checksum"`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

malformed! {
    /// The frame is shorter than an Ethernet header.
    EthTruncated = "eth_truncated",
    /// The frame ends within its 802.1Q tag.
    VlanTruncated = "vlan_truncated",
    /// The packet is shorter than an Ethernet/IPv4 ARP packet.
    ArpTruncated = "arp_truncated",
    /// ARP for other address types, or neither a request nor a reply.
    ArpUnsupported = "arp_unsupported",
    /// Fewer bytes than the smallest IPv4 header.
    Ipv4Truncated = "ipv4_truncated",
    /// The version field is not 4.
    Ipv4Version = "ipv4_version",
    /// IHL is below 5, or reaches beyond the bytes that arrived.
    Ipv4HeaderLength = "ipv4_header_length",
    /// Total Length is below the header's length, or beyond the bytes that arrived.
    Ipv4TotalLength = "ipv4_total_length",
    /// The header checksum is wrong.
    Ipv4Checksum = "ipv4_checksum",
    /// Fewer bytes than an IPv6 header.
    Ipv6Truncated = "ipv6_truncated",
    /// The version field is not 6.
    Ipv6Version = "ipv6_version",
    /// Payload Length is beyond the bytes that arrived.
    Ipv6PayloadLength = "ipv6_payload_length",
    /// An extension header is cut short, out of place, one too many, or asks to be discarded.
    Ipv6Extension = "ipv6_extension",
    /// Fewer bytes than the smallest TCP header.
    TcpTruncated = "tcp_truncated",
    /// Data Offset is below 5, or reaches beyond the bytes that arrived.
    TcpDataOffset = "tcp_data_offset",
    /// The TCP checksum is wrong.
    TcpChecksum = "tcp_checksum",
    /// Fewer bytes than an ICMP header.
    IcmpTruncated = "icmp_truncated",
    /// The ICMP checksum is wrong.
    IcmpChecksum = "icmp_checksum",
    /// A message of neighbour discovery without its target address.
    NdpTruncated = "ndp_truncated",
    /// An option of neighbour discovery has length 0, reaches beyond the end, or its address is no station's.
    NdpOption = "ndp_option",
    /// A message of neighbour discovery from beyond the link, or otherwise as RFC 4861 section 7.1 forbids it.
    NdpInvalid = "ndp_invalid",
}

impl Malformed {
    /// The reason's place in [`Malformed::ALL`], below [`Malformed::COUNT`].
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Malformed {}
