//! Where a model comes from: a directory, the Hugging Face cache on disk, or the hub.

mod cache;
mod directory;
mod error;
pub(crate) mod files;
mod foreign;
#[cfg(feature = "hub")]
mod hub;

pub use cache::{HubCache, repositories};
pub use directory::Source;
pub use error::SourceError;
pub use foreign::ForeignWeights;
#[cfg(feature = "hub")]
pub use hub::{Certificates, Hub, HubError, HubSettings, Proxies, Token};
