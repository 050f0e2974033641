//! The pictures that a theme names: their types and their bounds.
//!
//! Promise: a picture is of the type that its name states, and is sent with that type. An SVG is
//! sent with a policy that permits no script, because a browser may open it as a page.

use std::fs;
use std::path::Path;

use bytes::Bytes;

use crate::base_path::at;
use crate::render::digest;

/// The largest picture, in bytes.
const MAX_BYTES: u64 = 256 * 1024;

/// The use of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Logo,
    Favicon,
    /// For social networks, which do not show SVG.
    Share,
}

impl Purpose {
    const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Logo => &[Kind::Svg, Kind::Png, Kind::Jpeg, Kind::Webp],
            Self::Favicon => &[Kind::Svg, Kind::Png, Kind::Ico],
            Self::Share => &[Kind::Png, Kind::Jpeg, Kind::Webp],
        }
    }

    /// The name of the file in its address.
    const fn name(self) -> &'static str {
        match self {
            Self::Logo => "logo",
            Self::Favicon => "favicon",
            Self::Share => "share",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Svg,
    Png,
    Jpeg,
    Webp,
    Ico,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Svg, Self::Png, Self::Jpeg, Self::Webp, Self::Ico];

    const fn extension(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
            Self::Ico => "ico",
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Svg => "image/svg+xml",
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Ico => "image/x-icon",
        }
    }

    fn of_name(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        let extension = if extension == "jpeg" {
            "jpg"
        } else {
            &extension
        };
        Self::ALL
            .into_iter()
            .find(|kind| kind.extension() == extension)
    }

    /// Returns whether the content begins as that of this type does.
    fn matches(self, content: &[u8]) -> bool {
        match self {
            Self::Png => content.starts_with(b"\x89PNG\r\n\x1a\n"),
            Self::Jpeg => content.starts_with(b"\xff\xd8\xff"),
            Self::Webp => content.starts_with(b"RIFF") && content.get(8..12) == Some(b"WEBP"),
            Self::Ico => content.starts_with(b"\0\0\x01\0"),
            Self::Svg => {
                let text = std::str::from_utf8(content).unwrap_or_default();
                let text = text.trim_start_matches('\u{feff}').trim_start();
                let is_document = ["<svg", "<?xml", "<!--", "<!DOCTYPE"];
                is_document.iter().any(|start| text.starts_with(start)) && text.contains("<svg")
            }
        }
    }
}

/// A picture of a theme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Its name below `/assets/brand/`.
    pub(crate) name: String,
    pub(crate) media_type: &'static str,
    pub(crate) content: Bytes,
    pub(crate) etag: String,
}

impl Picture {
    /// Reads a file.
    ///
    /// # Errors
    /// The fault, without the key.
    pub(super) fn read(path: &Path, purpose: Purpose) -> Result<Self, String> {
        let shown = path.display();
        let unreadable = |error: std::io::Error| format!("{shown} cannot be read: {error}");
        let size = fs::metadata(path).map_err(unreadable)?.len();
        if size > MAX_BYTES {
            return Err(format!(
                "{shown} has {size} bytes; at most {MAX_BYTES} are allowed"
            ));
        }
        let kinds = purpose.kinds();
        let kind = Kind::of_name(path).filter(|kind| kinds.contains(kind));
        let Some(kind) = kind else {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.extension()).collect();
            return Err(format!(
                "{shown} must be a file of type {}",
                names.join(", ")
            ));
        };
        let content = fs::read(path).map_err(unreadable)?;
        if !kind.matches(&content) {
            let extension = kind.extension();
            return Err(format!("{shown} is not a file of type {extension}"));
        }
        Ok(Self {
            name: format!("{}.{}", purpose.name(), kind.extension()),
            media_type: kind.media_type(),
            etag: format!("\"{}\"", digest(&content)),
            content: content.into(),
        })
    }

    /// Returns the path at which clients find the picture.
    pub(super) fn href(&self) -> String {
        at(&format!("/assets/brand/{}", self.name)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_must_be_of_the_type_that_its_name_states() {
        let directory = std::env::temp_dir().join(format!("pictures-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let read = |name: &str, content: &[u8], purpose| {
            let path = directory.join(name);
            fs::write(&path, content).unwrap();
            Picture::read(&path, purpose)
                .map_err(|fault| fault.replace(&format!("{}/", directory.display()), ""))
        };
        let svg = b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"/>";
        let logo = read("a.SVG", svg, Purpose::Logo).unwrap();
        assert_eq!(
            (logo.name.as_str(), logo.media_type),
            ("logo.svg", "image/svg+xml")
        );
        let photo = read("a.jpeg", b"\xff\xd8\xff\xe0", Purpose::Share).unwrap();
        assert_eq!(photo.name, "share.jpg");
        for (name, content, purpose, fault) in [
            (
                "a.png",
                &svg[..],
                Purpose::Logo,
                "a.png is not a file of type png",
            ),
            (
                "a.svg",
                b"<html><svg></html>",
                Purpose::Logo,
                "a.svg is not a file of type svg",
            ),
            (
                "a.svg",
                svg,
                Purpose::Share,
                "a.svg must be a file of type png, jpg, webp",
            ),
            (
                "a.ico",
                b"\0\0\x01\0",
                Purpose::Logo,
                "a.ico must be a file of type svg, png, jpg, webp",
            ),
            (
                "a",
                b"",
                Purpose::Favicon,
                "a must be a file of type svg, png, ico",
            ),
            (
                "b.png",
                &[0; 262_145],
                Purpose::Logo,
                "b.png has 262145 bytes; at most 262144 are allowed",
            ),
        ] {
            assert_eq!(read(name, content, purpose).unwrap_err(), fault);
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
