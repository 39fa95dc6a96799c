//! AF_XDP behind a safe batch port, the program loader, interface facts.
