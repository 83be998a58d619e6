//! Connections to Redis: one server or a cluster, plain or TLS, and what each error asks of the caller.
//!
//! Always holds: a password is in no message; after a failed transport the connection is thrown away, so that the next
//! call opens a new one; a cluster follows moved slots by itself. Sentinel is left out: its job is a stable address.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisError, RedisResult, ServerErrorKind, TlsCertificates, Value,
};

use super::direct::Direct;
use super::reader::Connection;
use crate::config::RedisSettings;
use crate::error::{Error, Result};

/// How to connect.
#[derive(Debug, Clone)]
pub(super) struct Door {
    client: Clients,
    timeout: Duration,
    /// The URL without user and password, for messages.
    pub(super) name: String,
}

#[derive(Debug, Clone)]
enum Clients {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

/// An open connection; clones share it.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Door {
    /// From the settings; opens nothing.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self> {
        let name = settings.url.split(',').map(|url| shown(url.trim())).collect::<Vec<_>>().join(",");
        let wrong = |e: &dyn std::fmt::Display, remedy: &str| {
            Error::configuration(format!("online.redis.url `{name}`: {e}; {remedy}"))
        };
        let tls = settings.url.contains("rediss://").then(|| certificates(settings)).transpose()?;
        let nodes = settings.url.split(',').map(|url| node(url.trim(), settings));
        let nodes: Vec<ConnectionInfo> = nodes
            .collect::<RedisResult<_>>()
            .map_err(|e| wrong(&e, "write redis://[user:password@]host:port[/db], or rediss:// for TLS"))?;
        let timeout = Duration::from_millis(settings.timeout.millis().max(1) as u64);
        let client = if settings.cluster {
            cluster(nodes, tls, timeout).map(|client| Clients::Cluster(Box::new(client)))
        } else if let [node] = nodes.as_slice() {
            match tls {
                Some(tls) => Client::build_with_tls(node.clone(), tls).map(|client| Clients::Single(Box::new(client))),
                None => Client::open(node.clone()).map(|client| Clients::Single(Box::new(client))),
            }
        } else {
            return Err(wrong(&"names several servers", "set online.redis.cluster: true, or name one server"));
        };
        let client = client.map_err(|e| wrong(&e, "check the URL and the PEM files of online.redis"))?;
        Ok(Self { client, timeout, name })
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> RedisResult<Link> {
        match &self.client {
            Clients::Single(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(self.timeout))
                    .set_response_timeout(Some(self.timeout));
                client.get_multiplexed_async_connection_with_config(&config).await.map(Link::Single)
            }
            Clients::Cluster(client) => client.get_async_connection().await.map(Link::Cluster),
        }
    }

    /// Opens a connection for reads.
    pub(super) async fn connect_to_read(&self) -> RedisResult<Connection> {
        match &self.client {
            Clients::Single(client) if Direct::can_reach(client.get_connection_info()) => {
                Direct::open(client.get_connection_info(), self.timeout).await.map(Connection::Direct)
            }
            _ => self.connect().await.map(Connection::Link),
        }
    }

    /// Opens a connection to write over.
    pub(super) async fn open(&self) -> Result<Link> {
        self.connect().await.map_err(|e| self.error(&e))
    }

    /// The connection in `slot`, opened if there is none.
    pub(super) async fn ready<'a>(&self, slot: &'a mut Option<Link>) -> Result<&'a mut Link> {
        let link = match slot.take() {
            Some(link) => link,
            None => self.open().await?,
        };
        Ok(slot.insert(link))
    }

    /// The outcome of what was sent over `slot`; a connection that cannot be trusted any more is thrown away.
    pub(super) fn settle<T>(&self, slot: &mut Option<Link>, outcome: RedisResult<T>) -> Result<T> {
        outcome.map_err(|e| {
            if is_lost(&e) {
                *slot = None;
            }
            self.error(&e)
        })
    }

    /// What an error asks of the caller who writes.
    pub(super) fn error(&self, e: &RedisError) -> Error {
        let remedy = "is it up, a writable master, and within its memory? They are kept and sent again";
        self.judged(e, "does not take the rows", remedy)
    }

    /// What an error asks of the caller who reads.
    pub(super) fn unread(&self, e: &RedisError) -> Error {
        self.judged(e, "does not answer", "is it up and to be reached at online.redis.url?")
    }

    /// `what` and its remedy are said of a server that is not there, or not able.
    fn judged(&self, e: &RedisError, what: &str, remedy: &str) -> Error {
        let name = &self.name;
        let code = e.code().unwrap_or_default();
        let configuration = |remedy: &str| Error::configuration(format!("Redis at {name}: {e}; {remedy}"));
        match (code, e.kind()) {
            ("WRONGTYPE", _) => configuration(
                "the key is not a hash and so not Kappa's: delete it, or change the entity's online key template",
            ),
            ("NOAUTH" | "WRONGPASS", _) | (_, ErrorKind::AuthenticationFailed) => {
                configuration("set online.redis.username and KAPPA_ONLINE__REDIS__PASSWORD to a user of that server")
            }
            ("NOPERM", _) => configuration(
                "grant the user the online keys, the key kappa:* and +@read +@write +@scripting +info +ping, in a cluster also \
                 +cluster|slots",
            ),
            (_, ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported) => configuration("check online.redis"),
            ("ERR", _) if e.detail().is_some_and(|text| text.contains("unknown command")) => {
                configuration("the server must know EVALSHA and Lua's cmsgpack and cjson: use Redis 5 or later")
            }
            ("ERR", _) if e.detail().is_some_and(|text| text.contains("@user_script")) => {
                Error::internal(format!("Redis at {name}: the script failed: {e}"))
            }
            _ => Error::unavailable(format!("Redis at {name} {what}: {e}; {remedy}")),
        }
    }
}

impl Link {
    /// Sends one command; an error that the server answers is an error.
    pub(super) async fn command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => connection.send_packed_command(cmd).await,
            Self::Cluster(connection) => cmd.query_async(connection).await,
        }
        .and_then(Value::extract_error)
    }

    /// Sends these calls, all under way at once; the first error that one of them came to. In a cluster every call
    /// stays within a slot and finds its own node.
    pub(super) async fn calls(&mut self, calls: &Pipeline) -> RedisResult<()> {
        match self {
            Self::Single(connection) => {
                let answers = connection.send_packed_commands(calls, 0, calls.len()).await?;
                answers.into_iter().try_for_each(|answer| answer.extract_error().map(drop))
            }
            Self::Cluster(connection) => {
                let mut under_way = FuturesUnordered::new();
                for call in calls.cmd_iter() {
                    let mut connection = connection.clone();
                    under_way.push(async move { call.exec_async(&mut connection).await });
                }
                while let Some(outcome) = under_way.next().await {
                    outcome?;
                }
                Ok(())
            }
        }
    }

    /// Sends these calls, all under way at once: what each answers, in their order.
    pub(super) async fn answers(&mut self, calls: &Pipeline) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(connection) => {
                let answers = connection.send_packed_commands(calls, 0, calls.len()).await?;
                answers.into_iter().map(Value::extract_error).collect()
            }
            Self::Cluster(connection) => {
                let one = |call: &Cmd| {
                    let (call, mut connection) = (call.clone(), connection.clone());
                    async move { call.query_async::<Value>(&mut connection).await.and_then(Value::extract_error) }
                };
                try_join_all(calls.cmd_iter().map(one)).await
            }
        }
    }

    /// Sends a command to every master: what each answers.
    pub(super) async fn every_master(&mut self, cmd: &Cmd) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(_) => Ok(vec![self.command(cmd).await?]),
            Self::Cluster(connection) => {
                let routing = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                match connection.route_command(cmd.clone(), routing).await?.extract_error()? {
                    Value::Map(answers) => Ok(answers.into_iter().map(|(_, answer)| answer).collect()),
                    answer => Ok(vec![answer]),
                }
            }
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

/// Whether a connection cannot be trusted after this error.
pub(super) fn is_lost(e: &RedisError) -> bool {
    let answered = matches!(e.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
    let demoted = matches!(e.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown));
    !answered || demoted
}

fn node(url: &str, settings: &RedisSettings) -> RedisResult<ConnectionInfo> {
    let info = url.into_connection_info()?;
    let mut login = info.redis_settings().clone();
    if let Some(username) = &settings.username {
        login = login.set_username(username);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password);
    }
    Ok(info.set_redis_settings(login))
}

fn cluster(nodes: Vec<ConnectionInfo>, tls: Option<TlsCertificates>, timeout: Duration) -> RedisResult<ClusterClient> {
    let builder = ClusterClientBuilder::new(nodes)
        .connection_timeout(timeout)
        .response_timeout(timeout)
        .overall_response_timeout(Some(timeout))
        .retries(4);
    tls.into_iter().fold(builder, ClusterClientBuilder::certs).build()
}

fn certificates(settings: &RedisSettings) -> Result<TlsCertificates> {
    // Two providers are linked in (another library brings its own), so the process must choose one. Whoever chose
    // before keeps its choice, which serves as well.
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
    let read = |key: &str, path: &Path| {
        std::fs::read(path).map_err(|e| {
            Error::configuration(format!("online.redis.{key} `{}`: {e}; name a readable PEM file", path.display()))
        })
    };
    let root_cert = settings.ca_file.as_deref().map(|path| read("ca_file", path)).transpose()?;
    let client_tls = match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => {
            Some(ClientTlsConfig { client_cert: read("cert_file", cert)?, client_key: read("key_file", key)? })
        }
        (None, None) => None,
        _ => {
            return Err(Error::configuration(
                "online.redis.cert_file and online.redis.key_file belong together: set both or neither",
            ));
        }
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

/// A URL without what is secret in it.
fn shown(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(parsed) if parsed.has_host() => {
            let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}{}", parsed.scheme(), parsed.host_str().unwrap_or_default(), parsed.path())
        }
        // Not a URL: whatever stands before an `@` may be a password.
        _ => url.rsplit('@').next().unwrap_or_default().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    #[test]
    fn messages_show_the_url_without_user_and_password() {
        assert_eq!(shown("redis://u:secret@host:1/2"), "redis://host:1/2");
        assert_eq!(shown("u:secret@host"), "host");
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_remedy_and_without_the_password() {
        let refused = |url: &str| Door::new(&settings(url)).unwrap_err().to_string();
        assert!(refused("http://u:secret@host:1").contains("write redis://"));
        assert!(!refused("http://u:secret@host:1").contains("secret"));
        assert!(refused("redis://a:1,redis://b:1").contains("cluster: true"));
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let mut settings = settings("rediss://host:1");
        settings.cert_file = Some("/nonexistent".into());
        assert!(Door::new(&settings).unwrap_err().to_string().contains("belong together"));
        settings.key_file = Some("/nonexistent".into());
        assert!(Door::new(&settings).unwrap_err().to_string().contains("online.redis.cert_file"));
    }
}
