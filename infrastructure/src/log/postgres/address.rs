//! The address of a database: one host or several, as libpq reads them.
//!
//! Promise: of several hosts the first in order that is of the wanted kind is used, and the error
//! names each host that is not. Start-up parameters that poolers refuse are not sent. A password
//! that is not in the address is read from the password file again for each search.
//! Limit: a host name with several addresses counts as one host.

use std::env;
use std::error::Error;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::session::State;
use crate::log::timeout::within;

/// Timeout of one host, if there are others to try.
const HOST_TIMEOUT: Duration = Duration::from_secs(2);

const SCHEMES: [&str; 2] = ["postgres", "postgresql"];

/// Where a database is.
#[derive(Debug, Clone)]
pub struct Address {
    hosts: Arc<[PgConnectOptions]>,
    password_file: Option<PasswordFile>,
    target: TargetSession,
}

/// A file that has the password, in libpq's format.
#[derive(Debug, Clone)]
struct PasswordFile {
    path: PathBuf,
    /// The address of each host, without a password.
    urls: Arc<[String]>,
}

/// The inode of a password file and the time of its last change, in seconds and nanoseconds.
pub(super) type PasswordVersion = (u64, i64, i64);

/// The kind of server that a session needs, as libpq's `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetSession {
    /// Any server.
    #[default]
    Any,
    /// A server whose sessions may write.
    ReadWrite,
    /// A server whose sessions may not write.
    ReadOnly,
    /// A server that is not in recovery.
    Primary,
    /// A server in recovery.
    Standby,
    /// A server in recovery if there is one, otherwise any.
    PreferStandby,
}

/// Why an address cannot be used. The messages contain no part that may be secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The address of another system.
    #[error(
        "is not a PostgreSQL address but one of {0}; expected \
         postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    Scheme(String),
    /// It cannot be parsed.
    #[error("is not a PostgreSQL address; expected postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Malformed,
    /// Hosts and ports cannot be paired.
    #[error("has {hosts} hosts and {ports} ports: give one port for all, or one for each host")]
    Ports { hosts: usize, ports: usize },
    /// `target_session_attrs` is none of libpq's.
    #[error(
        "has an unknown target_session_attrs; expected any, read-write, read-only, primary, standby \
         or prefer-standby"
    )]
    Target,
}

impl TargetSession {
    fn parse(text: &str) -> Result<Self, AddressError> {
        Ok(match text {
            "any" => Self::Any,
            "read-write" => Self::ReadWrite,
            "read-only" => Self::ReadOnly,
            "primary" => Self::Primary,
            "standby" => Self::Standby,
            "prefer-standby" => Self::PreferStandby,
            _ => return Err(AddressError::Target),
        })
    }

    /// Returns why a server in `state` is not of this kind.
    fn objection(self, state: State) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::ReadWrite if state.is_standby => Some("is a standby"),
            Self::ReadWrite => state.is_read_only.then_some("is read-only"),
            Self::ReadOnly => (!state.is_read_only).then_some("accepts writes"),
            Self::Primary => state.is_standby.then_some("is a standby"),
            Self::Standby | Self::PreferStandby => (!state.is_standby).then_some("is a primary"),
        }
    }
}

/// No host is of the wanted kind.
#[derive(Debug)]
struct NoHost(Vec<String>);

impl fmt::Display for NoHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no host of the address can be used: {}",
            self.0.join("; ")
        )
    }
}

impl Error for NoHost {}

impl From<PgConnectOptions> for Address {
    fn from(options: PgConnectOptions) -> Self {
        Self {
            hosts: [plain(options)].into(),
            password_file: None,
            target: TargetSession::Any,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, AddressError> {
        Self::parse(url)
    }
}

impl Address {
    /// Parses a URL as libpq does: `postgres://user@one:5432,two/db?target_session_attrs=primary`.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::Malformed)?;
        if !SCHEMES.contains(&scheme) {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            return Err(match !scheme.is_empty() && scheme.chars().all(is_name) {
                true => AddressError::Scheme(scheme.to_owned()),
                false => AddressError::Malformed,
            });
        }
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path_at = location.find('/').unwrap_or(location.len());
        let (authority, path) = location.split_at(path_at);
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let mut query = Query::parse(query)?;
        let hosts = query.replace_hosts(hosts)?;
        let of_host = |host: &String| {
            let parameters = query.with(host);
            let shown = if host.starts_with('?') {
                "localhost"
            } else {
                host
            };
            format!("{scheme}://{user}{shown}{path}{parameters}")
        };
        let urls: Vec<String> = hosts.iter().map(of_host).collect();
        let has_password = user.contains(':') || query.has_password();
        let has_password = has_password || env::var_os("PGPASSWORD").is_some();
        let path = password_file().filter(|_| !has_password);
        Ok(Self {
            hosts: urls
                .iter()
                .map(|url| options(url))
                .collect::<Result<_, _>>()?,
            password_file: path.map(|path| PasswordFile {
                path,
                urls: urls.into(),
            }),
            target: query.target,
        })
    }

    /// Reports whether the password is in a file, which may change.
    pub(super) const fn has_password_file(&self) -> bool {
        self.password_file.is_some()
    }

    /// Returns what differs once the password file was written, replaced, or made readable. Its
    /// time of modification may be the same: copies can keep it.
    pub(super) fn password_version(&self) -> Option<PasswordVersion> {
        let file = self.password_file.as_ref()?;
        let file = fs::metadata(&file.path).ok()?;
        Some((file.ino(), file.ctime(), file.ctime_nsec()))
    }

    /// Returns the hosts, with the password that the password file has at present.
    fn hosts(&self) -> Vec<PgConnectOptions> {
        let file = self.password_file.as_ref();
        let read = |file: &PasswordFile| file.urls.iter().map(|url| options(url).ok()).collect();
        file.and_then(read).unwrap_or_else(|| self.hosts.to_vec())
    }

    /// Returns `present` with the password that the password file has at present.
    pub(super) fn with_password(&self, present: &PgConnectOptions) -> Option<PgConnectOptions> {
        let is_present = |host: &PgConnectOptions| {
            host.get_socket() == present.get_socket()
                && host.get_host() == present.get_host()
                && host.get_port() == present.get_port()
        };
        self.hosts().into_iter().find(is_present)
    }

    /// Reports whether there is more than one host.
    #[must_use]
    pub fn has_several_hosts(&self) -> bool {
        self.hosts.len() > 1
    }

    /// Returns the address for a process that writes, which needs a server that accepts writes.
    #[must_use]
    pub fn for_writes(mut self) -> Self {
        self.target = TargetSession::ReadWrite;
        self
    }

    /// Reports whether its servers accept no writes because of `target_session_attrs`.
    #[must_use]
    pub fn excludes_writes(&self) -> bool {
        matches!(
            self.target,
            TargetSession::ReadOnly | TargetSession::Standby
        )
    }

    /// Returns the only host, or the first one of the wanted kind.
    ///
    /// # Errors
    /// [`sqlx::Error`] that names each host, if none is of that kind.
    pub async fn find(&self) -> Result<PgConnectOptions, sqlx::Error> {
        if let [only] = &self.hosts()[..]
            && matches!(self.target, TargetSession::Any | TargetSession::ReadWrite)
        {
            // The caller that connects checks it.
            return Ok(only.clone());
        }
        let found = self.first(self.target).await;
        match (found, self.target) {
            (Err(_), TargetSession::PreferStandby) => self.first(TargetSession::Any).await,
            (found, _) => found,
        }
    }

    /// As [`Address::find`], but stays with `present` as long as it is of the wanted kind: a former
    /// primary that is listed earlier may have been started again.
    pub(super) async fn find_again(
        &self,
        present: &PgConnectOptions,
    ) -> Result<PgConnectOptions, sqlx::Error> {
        let present = &self
            .with_password(present)
            .unwrap_or_else(|| present.clone());
        let probed = within(HOST_TIMEOUT, probe(present)).await;
        match probed.map(|state| self.target.objection(state)) {
            Ok(None) => Ok(present.clone()),
            Ok(Some(_)) | Err(_) => self.find().await,
        }
    }

    async fn first(&self, target: TargetSession) -> Result<PgConnectOptions, sqlx::Error> {
        let mut objections = vec![];
        for host in &self.hosts() {
            let objection = match within(HOST_TIMEOUT, probe(host)).await {
                Ok(state) => match target.objection(state) {
                    None => return Ok(host.clone()),
                    Some(objection) => objection.to_owned(),
                },
                Err(sqlx::Error::Io(error)) => error.to_string(),
                Err(error) => match error.as_database_error() {
                    Some(error) => error.message().to_owned(),
                    None => error.to_string(),
                },
            };
            objections.push(format!("{} {objection}", name_of(host)));
        }
        let none = NoHost(objections);
        Err(sqlx::Error::Io(std::io::Error::other(none)))
    }
}

async fn probe(host: &PgConnectOptions) -> Result<State, sqlx::Error> {
    let mut connection = PgConnection::connect_with(host).await?;
    let state = State::of(&mut connection).await?;
    connection.close().await?;
    Ok(state)
}

/// The name of a host for people.
pub(super) fn name_of(host: &PgConnectOptions) -> String {
    match host.get_socket() {
        // The file that PostgreSQL makes there.
        Some(socket) => format!("{}/.s.PGSQL.{}", socket.display(), host.get_port()),
        None => format!("{}:{}", host.get_host(), host.get_port()),
    }
}

/// The file that libpq reads passwords from, if there is one.
fn password_file() -> Option<PathBuf> {
    let named = env::var_os("PGPASSFILE").map(PathBuf::from);
    let default = || Some(env::home_dir()?.join(".pgpass"));
    named.or_else(default).filter(|path| path.is_file())
}

/// Parses the address of one host. `SSL_CERT_FILE` names certificate authorities, as for other
/// connections of the program, unless the address or `PGSSLROOTCERT` does.
fn options(url: &str) -> Result<PgConnectOptions, AddressError> {
    let options: PgConnectOptions = url.parse().map_err(|_| AddressError::Malformed)?;
    let options = plain(options);
    let is_named = url.contains("sslrootcert=") || env::var_os("PGSSLROOTCERT").is_some();
    Ok(match env::var_os("SSL_CERT_FILE") {
        Some(file) if !is_named && !file.is_empty() => options.ssl_root_cert(Path::new(&file)),
        _ => options,
    })
}

/// Without `extra_float_digits`, which only concerns servers before PostgreSQL 12, and which
/// PgBouncer refuses.
fn plain(options: PgConnectOptions) -> PgConnectOptions {
    options.extra_float_digits(None)
}

/// The parameters of an address, without those that are read here.
#[derive(Debug, Default)]
struct Query {
    others: Vec<String>,
    hosts: Vec<String>,
    ports: Vec<String>,
    target: TargetSession,
}

impl Query {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let list = || value.replace("%2C", ",").replace("%2c", ",");
            let several = || list().split(',').map(str::to_owned).collect();
            match key {
                "target_session_attrs" => query.target = TargetSession::parse(value)?,
                "host" => query.hosts = several(),
                "port" => query.ports = several(),
                _ => query.others.push(pair.to_owned()),
            }
        }
        Ok(query)
    }

    fn has_password(&self) -> bool {
        self.others.iter().any(|pair| pair.starts_with("password="))
    }

    /// Returns each host with its port, from the parameters or else from the `authority`. One that
    /// is only valid as a parameter begins with `?`.
    fn replace_hosts(&mut self, authority: &str) -> Result<Vec<String>, AddressError> {
        if self.hosts.is_empty() {
            let hosts: Vec<String> = authority.split(',').map(str::to_owned).collect();
            if hosts.len() > 1 && hosts.iter().any(String::is_empty) {
                return Err(AddressError::Malformed);
            }
            return match &std::mem::take(&mut self.ports)[..] {
                [] => Ok(hosts),
                ports => Self::paired(&hosts, ports, |host, port| format!("{host}:{port}")),
            };
        }
        let as_parameters = |host: &str, port: &str| match port {
            "" => format!("?host={host}"),
            port => format!("?host={host}&port={port}"),
        };
        let ports = match self.ports.is_empty() {
            true => vec![port_of(authority).to_owned()],
            false => std::mem::take(&mut self.ports),
        };
        Self::paired(&self.hosts, &ports, as_parameters)
    }

    fn paired(
        hosts: &[String],
        ports: &[String],
        join: impl Fn(&str, &str) -> String,
    ) -> Result<Vec<String>, AddressError> {
        let of_all = (ports.len() == 1).then(|| &ports[0]);
        if of_all.is_none() && hosts.len() != ports.len() {
            return Err(AddressError::Ports {
                hosts: hosts.len(),
                ports: ports.len(),
            });
        }
        let port_at = |at: usize| of_all.unwrap_or_else(|| &ports[at]);
        let joined = hosts.iter().enumerate();
        Ok(joined.map(|(at, host)| join(host, port_at(at))).collect())
    }

    /// The parameters for one host.
    fn with(&self, host: &str) -> String {
        let own = host.strip_prefix('?');
        let all: Vec<&str> = own
            .into_iter()
            .chain(self.others.iter().map(String::as_str))
            .collect();
        match all.is_empty() {
            true => String::new(),
            false => format!("?{}", all.join("&")),
        }
    }
}

/// The port in `host:port` or `[host]:port`; empty if there is none.
fn port_of(authority: &str) -> &str {
    let after_host = authority
        .rsplit_once(']')
        .map_or(authority, |(_, rest)| rest);
    after_host.rsplit_once(':').map_or("", |(_, port)| port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn hosts(url: &str) -> Vec<String> {
        let address = Address::parse(url).unwrap();
        address.hosts.iter().map(name_of).collect()
    }

    #[test]
    fn every_form_of_several_hosts_is_read() {
        for (url, expected) in [
            ("postgres://one/db", vec!["one:5432"]),
            (
                "postgresql://me:p%40ss@one:1,two:2/db",
                vec!["one:1", "two:2"],
            ),
            (
                "postgres://me@[::1]:1,[fe80::2]/db?sslmode=disable",
                vec!["[::1]:1", "[fe80::2]:5432"],
            ),
            ("postgres:///db?host=one,two&port=7", vec!["one:7", "two:7"]),
            (
                "postgres:///db?host=one%2Ctwo&port=7,8",
                vec!["one:7", "two:8"],
            ),
            (
                "postgres://me@localhost:9/db?host=/run/pg",
                vec!["/run/pg/.s.PGSQL.9"],
            ),
            ("postgres://me@one,two/db?port=8", vec!["one:8", "two:8"]),
        ] {
            assert_eq!(hosts(url), expected, "{url}");
        }
    }

    #[test]
    fn present_host_is_found_again_by_its_socket_and_port() {
        for url in [
            "postgres:///db?host=/run,/run&port=5773,5774",
            "postgres://one:5773,one:5774/db",
        ] {
            let address = Address::parse(url).unwrap();
            let ports = address.hosts().into_iter().map(|host| {
                let again = address.with_password(&host).unwrap();
                (host.get_port(), again.get_port())
            });
            let ports: Vec<_> = ports.collect();
            assert_eq!(ports, [(5773, 5773), (5774, 5774)], "{url}");
        }
    }

    #[test]
    fn each_host_has_the_user_the_database_and_the_parameters() {
        let url =
            "postgres://me:secret@one,two:2/shop?application_name=x&target_session_attrs=primary";
        let address = Address::parse(url).unwrap();
        assert!(address.has_several_hosts());
        assert_eq!(address.target, TargetSession::Primary);
        for host in &*address.hosts {
            assert_eq!(host.get_username(), "me");
            assert_eq!(host.get_database(), Some("shop"));
            assert_eq!(host.get_application_name(), Some("x"));
        }
    }

    #[test]
    fn other_addresses_are_refused_by_name() {
        let refused = |url| Address::parse(url).unwrap_err();
        assert_eq!(
            refused("mysql://me@host/db"),
            AddressError::Scheme("mysql".to_owned())
        );
        assert_eq!(refused("host/db"), AddressError::Malformed);
        assert_eq!(refused("postgres://one,,two/db"), AddressError::Malformed);
        assert_eq!(refused("postgres://one:x/db"), AddressError::Malformed);
        assert_eq!(
            refused("postgres:///db?host=a,b,c&port=1,2"),
            AddressError::Ports { hosts: 3, ports: 2 }
        );
        assert_eq!(
            refused("postgres://a,b/db?target_session_attrs=master"),
            AddressError::Target
        );
    }

    #[test]
    fn servers_are_told_apart_as_libpq_does() {
        let state = |is_standby, is_read_only| State {
            is_standby,
            is_read_only,
        };
        let (primary, read_only, standby) =
            (state(false, false), state(false, true), state(true, true));
        for (target, accepted) in [
            (TargetSession::Any, [true, true, true]),
            (TargetSession::ReadWrite, [true, false, false]),
            (TargetSession::ReadOnly, [false, true, true]),
            (TargetSession::Primary, [true, true, false]),
            (TargetSession::Standby, [false, false, true]),
        ] {
            let found =
                [primary, read_only, standby].map(|state| target.objection(state).is_none());
            assert_eq!(found, accepted, "{target:?}");
        }
    }
}
