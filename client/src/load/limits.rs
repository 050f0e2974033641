//! Room for sockets: raises this process's soft limit on open files as far as it may.
//!
//! Promise: a stampede that cannot have its sockets says so before it begins.
//! Limit: the hard limit is the machine's, and stays.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::ClientError;

/// Files that are open anyway: the standard three, the runtime's own, the client that reads the log.
const BESIDES: u64 = 64;

/// Makes room for `sockets`.
///
/// # Errors
/// [`ClientError::OpenFiles`] when the hard limit is too low.
pub fn make_room(sockets: u32) -> Result<(), ClientError> {
    let needed = u64::from(sockets) + BESIDES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(()); // Unknown is no reason to stop: a socket too many will say so itself.
    };
    if soft >= needed {
        return Ok(());
    }
    let refused = ClientError::OpenFiles {
        needed,
        allowed: hard,
    };
    if hard < needed {
        return Err(refused);
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).map_err(|_| refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_sockets_always_fit_and_too_many_are_told_before_the_start() {
        assert!(make_room(1).is_ok());
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        if hard < u64::from(u32::MAX) {
            let error = make_room(u32::MAX).unwrap_err().to_string();
            assert!(error.contains("ulimit -n"), "{error}");
        }
    }
}
