//! Pinned run-to-completion loops, clock, idling, control socket.
