//! `feature_store.yaml` for each door to the online values: Feast's settings, from ours.

use url::Url;

use crate::config::{HttpSettings, RedisSettings, Settings};
use crate::error::{Error, Result};
use crate::topology::Plan;

/// Where Feast takes the password from.
const PASSWORD: &str = "${KAPPA_ONLINE__REDIS__PASSWORD}";
/// And the token for our server.
const TOKEN: &str = "KAPPA_HTTP__TOKENS";

/// Feast reads Redis itself.
pub(super) fn through_redis(plan: &Plan, settings: &Settings) -> Result<String> {
    let redis = &settings.online.redis;
    let kind = if redis.cluster { "redis_cluster" } else { "redis" };
    let connection = quoted(&connection(redis)?)?;
    let head =
        "# Feast reads Redis itself: kappa run must write Feast's form there (online.redis.formats: [hash, feast]).";
    let online = format!("online_store:\n  type: redis\n  redis_type: {kind}\n  connection_string: {connection}\n");
    Ok(format!("{head}\n{}{online}", common(plan, settings)))
}

/// Feast asks our server.
pub(super) fn through_server(plan: &Plan, settings: &Settings) -> Result<String> {
    let http = &settings.http;
    let head = "# Feast asks kappa run or kappa serve: feast -f feature_store.http.yaml ..., or\n\
                # FeatureStore(fs_yaml_file=\"feature_store.http.yaml\"). It has what is computed as it is read, and max_age.";
    let mut online = format!("online_store:\n  type: remote\n  path: {}\n", quoted(&address(http))?);
    if let Some(file) = &http.tls_cert_file {
        online += &format!("  cert: {}\n", quoted(&super::definitions::absolute(&file.to_string_lossy())?)?);
    }
    if http.tokens.is_some() || http.tokens_file.is_some() {
        online += &format!(
            "auth:\n  # Feast sends the token that this variable holds: one of ours, not a list.\n  type: oidc\n  token_env_var: {TOKEN}\n"
        );
    }
    Ok(format!("{head}\n{}{online}", common(plan, settings)))
}

fn common(plan: &Plan, settings: &Settings) -> String {
    format!(
        "project: {}\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\noffline_store:\n  type: duckdb\n",
        settings.online.redis.feast_project_of(&plan.topology)
    )
}

/// Host, port and all that Feast hands on to its client, comma separated.
fn connection(redis: &RedisSettings) -> Result<String> {
    let mut parts = Vec::new();
    let (mut database, mut tls, mut username, mut has_password) =
        (None, false, redis.username.clone(), redis.password.is_some());
    for text in redis.url.split(',').map(str::trim) {
        // Checked with the settings; the text may hold a password.
        let url = Url::parse(text)
            .map_err(|_| Error::configuration("online.redis.url is no URL: write redis://host:port"))?;
        parts.push(format!("{}:{}", url.host_str().unwrap_or("localhost"), url.port().unwrap_or(6379)));
        database = database.or_else(|| url.path().trim_matches('/').parse::<u32>().ok());
        tls |= url.scheme() == "rediss";
        username = username.or_else(|| Some(url.username().to_string()).filter(|name| !name.is_empty()));
        has_password |= url.password().is_some();
    }
    let mut set = |name: &str, value: String| parts.push(format!("{name}={value}"));
    if let Some(database) = database.filter(|database| *database > 0) {
        set("db", database.to_string());
    }
    if tls {
        set("ssl", "true".into());
        for (name, file) in
            [("ssl_ca_certs", &redis.ca_file), ("ssl_certfile", &redis.cert_file), ("ssl_keyfile", &redis.key_file)]
        {
            if let Some(file) = file {
                set(name, super::definitions::absolute(&file.to_string_lossy())?);
            }
        }
    }
    if let Some(username) = username {
        set("username", username);
    }
    if has_password {
        set("password", PASSWORD.into());
    }
    Ok(parts.join(","))
}

/// Where our server is found from the same machine.
fn address(http: &HttpSettings) -> String {
    let scheme = if http.tls_cert_file.is_some() { "https" } else { "http" };
    let listen = match http.listen.rsplit_once(':') {
        Some(("0.0.0.0" | "[::]", port)) => format!("localhost:{port}"),
        Some(_) => http.listen.clone(),
        None => "localhost:9464".into(),
    };
    format!("{scheme}://{listen}")
}

/// Text as YAML and Python both read it.
pub(super) fn quoted(text: &str) -> Result<String> {
    serde_json::to_string(text).map_err(|error| Error::internal(format!("text has no quoted form: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Override;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let from = |(key, value): &(&str, &str)| {
            let (key, value) = (key.to_string(), value.to_string());
            Override { key, value, from: "--set".into() }
        };
        Settings::load(None, &pairs.iter().map(from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_connection_is_said_as_feast_reads_it_and_no_password_is() {
        let said = |pairs: &[(&str, &str)]| connection(&settings(pairs).online.redis).unwrap();
        assert_eq!(said(&[]), "127.0.0.1:6379");
        let url = ("online.redis.url", "rediss://me:secret@redis.example:6380/2");
        let ca = ("online.redis.ca_file", "/etc/ca.pem");
        assert_eq!(
            said(&[url, ca]),
            "redis.example:6380,db=2,ssl=true,ssl_ca_certs=/etc/ca.pem,username=me,password=${KAPPA_ONLINE__REDIS__PASSWORD}"
        );
        let nodes = ("online.redis.url", "redis://a:1,redis://b:2");
        assert_eq!(
            said(&[nodes, ("online.redis.password", "secret")]),
            "a:1,b:2,password=${KAPPA_ONLINE__REDIS__PASSWORD}"
        );
    }

    #[test]
    fn the_server_is_found_from_here() {
        let said = |listen: &str| address(&settings(&[("http.listen", listen)]).http);
        assert_eq!(said("127.0.0.1:9464"), "http://127.0.0.1:9464");
        assert_eq!(said("0.0.0.0:80"), "http://localhost:80");
        assert_eq!(said("[::]:80"), "http://localhost:80");
    }
}
