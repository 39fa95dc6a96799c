//! The shared object by which packetdrill drives the stack.
