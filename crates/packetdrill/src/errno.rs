//! Error numbers: a call fails with one, as Linux would have it.

use libc::c_int;
use stack::{ConnectError, Error, ListenError};

/// A value of `errno`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

pub(crate) type Result<T> = std::result::Result<T, Errno>;

impl From<Error> for Errno {
    fn from(error: Error) -> Self {
        Self(match error {
            Error::Reset => libc::ECONNRESET,
            Error::Refused => libc::ECONNREFUSED,
            Error::TimedOut => libc::ETIMEDOUT,
            Error::HostUnreachable => libc::EHOSTUNREACH,
            Error::NetworkUnreachable => libc::ENETUNREACH,
            Error::Aborted => libc::ECONNABORTED,
            Error::BrokenPipe => libc::EPIPE,
            Error::NotConnected => libc::ENOTCONN,
        })
    }
}

impl From<ConnectError> for Errno {
    fn from(error: ConnectError) -> Self {
        Self(match error {
            // So says Linux of an address that duplicate address detection is not over for.
            ConnectError::NoPort | ConnectError::NotOurs | ConnectError::Tentative => libc::EADDRNOTAVAIL,
            ConnectError::NoRoute | ConnectError::BadAddress => libc::ENETUNREACH,
            ConnectError::TooMany => libc::ENOBUFS,
            ConnectError::NoSockets => libc::EINVAL,
        })
    }
}

impl From<ListenError> for Errno {
    fn from(error: ListenError) -> Self {
        Self(match error {
            ListenError::InUse => libc::EADDRINUSE,
            ListenError::NotOurs => libc::EADDRNOTAVAIL,
            ListenError::TooMany => libc::ENOBUFS,
            ListenError::Invalid(_) | ListenError::NoSockets => libc::EINVAL,
            ListenError::Forbidden => libc::EACCES,
            ListenError::Closed => libc::EBADF,
        })
    }
}

/// Sets the thread's `errno`.
pub(crate) fn set(errno: Errno) {
    // SAFETY: the location is the thread's own and lives as long as the thread.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: as above; nothing else of this thread looks at it meanwhile.
    unsafe { *location = errno.0 };
}

/// The thread's `errno`, after a call of libc has failed.
pub(crate) fn last() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}
