//! A TCP/IP stack in user space, on AF_XDP.
