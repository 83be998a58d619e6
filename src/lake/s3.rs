//! S3, and what speaks its protocol, as a place for tables: s3:// and s3a://.
//!
//! The library's own feature for S3 brings Amazon's whole SDK; this is the store beneath it alone, which takes what a
//! container or a machine has (keys in the environment, web identity, ECS, EC2) and no profiles of ~/.aws. Commits are
//! made by conditional puts, which S3 itself, MinIO and Cloudflare R2 have.

use std::str::FromStr;
use std::sync::Arc;

use deltalake::logstore::object_store::ObjectStoreScheme;
use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
    object_store_factories,
};
use deltalake::{DeltaResult, DeltaTableError, Path};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::SpawnedReqwestConnector;
use url::Url;

/// Makes s3:// and s3a:// known to the library.
pub fn register() {
    let factory = Arc::new(S3Factory);
    for url in ["s3://", "s3a://"].map(|scheme| Url::parse(scheme).expect("a constant url")) {
        object_store_factories().insert(url.clone(), factory.clone());
        logstore_factories().insert(url, factory.clone());
    }
}

#[derive(Debug)]
struct S3Factory;

impl ObjectStoreFactory for S3Factory {
    fn parse_url_opts(&self, url: &Url, config: &StorageConfig) -> DeltaResult<(ObjectStoreRef, Path)> {
        // The environment first, then the settings' own options, which know it better.
        let mut builder = AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(config.retry.clone());
        if let Some(runtime) = &config.runtime {
            builder = builder.with_http_connector(SpawnedReqwestConnector::new(runtime.get_handle()));
        }
        for (key, value) in &config.raw {
            if let Ok(key) = AmazonS3ConfigKey::from_str(&key.to_ascii_lowercase()) {
                builder = builder.with_config(key, value);
            }
        }
        let (_, path) =
            ObjectStoreScheme::parse(url).map_err(|e| DeltaTableError::GenericError { source: Box::new(e) })?;
        Ok((Arc::new(builder.build()?), path))
    }
}

impl LogStoreFactory for S3Factory {
    fn with_options(
        &self,
        prefixed: ObjectStoreRef,
        root: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(prefixed, root, location, options))
    }
}
