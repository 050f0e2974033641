//! The files of `web/`, which are embedded in the binary, and texts that are made once.

use rust_embed::{EmbeddedFile, RustEmbed};

use crate::render::digest;

#[derive(RustEmbed)]
#[folder = "src/web"]
pub(crate) struct Files;

/// Returns an embedded file as text.
pub(crate) fn embedded(name: &str) -> Option<String> {
    String::from_utf8(Files::get(name)?.data.into_owned()).ok()
}

/// Returns the file's digest: the same bytes have the same tag in every process.
pub(crate) fn etag(file: &EmbeddedFile) -> String {
    format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]))
}

/// A page, or another text that is made once.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) text: String,
    /// The digest: the same bytes have the same tag in every process.
    pub(crate) etag: String,
}

impl Page {
    pub(crate) fn new(text: String) -> Self {
        let etag = format!("\"{}\"", digest(text.as_bytes()));
        Self { text, etag }
    }
}
