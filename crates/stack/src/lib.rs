//! One shard: demultiplexing, listeners, TIME-WAIT, neighbours, ICMP.
