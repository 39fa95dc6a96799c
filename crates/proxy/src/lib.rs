//! The TCP proxy as a library.
