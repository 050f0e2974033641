//! Open files for sockets: raises this process's soft limit as far as needed.
//!
//! Promise: a load test that cannot open its sockets fails before it begins.
//! Limit: the hard limit is the machine's and stays.

use rlimit::{Resource, increase_nofile_limit};

use crate::error::ClientError;

/// Files that are open anyway: the standard three, the runtime's, and the log reader's.
const OTHER_FILES: u64 = 64;

/// Raises the soft limit of open files to `sockets` and the other open files.
///
/// # Errors
/// [`ClientError::OpenFiles`] when the hard limit is too low.
pub fn ensure_open_files(sockets: u32) -> Result<(), ClientError> {
    let needed = u64::from(sockets) + OTHER_FILES;
    match increase_nofile_limit(needed).or_else(|_| Resource::NOFILE.get_soft()) {
        Ok(allowed) if allowed < needed => Err(ClientError::OpenFiles { needed, allowed }),
        // If the limit is unknown, continue: opening too many sockets fails later.
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_sockets_are_reported_before_the_start() {
        assert!(ensure_open_files(1).is_ok());
        let (_, hard) = Resource::NOFILE.get().unwrap();
        if hard < u64::from(u32::MAX) {
            let error = ensure_open_files(u32::MAX).unwrap_err().to_string();
            assert!(error.contains("ulimit -n"), "{error}");
        }
    }
}
