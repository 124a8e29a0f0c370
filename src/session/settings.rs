//! Preferences: what belongs to the user and not to a session. One small JSON file in the platform's config folder.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::format::ColormapName;
use super::paths;
use crate::atomic;
use crate::colormap::Colormap;
use crate::compute::Device;

const FILE_NAME: &str = "settings.json";
const MAX_RECENT: usize = 10;
const ZOOM: std::ops::RangeInclusive<f32> = 0.5..=3.0;

/// Missing keys have their defaults and unknown ones are passed over, so that older and newer versions share the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub theme: ThemeChoice,
    /// Size of the whole window's content, 1 being the screen's own.
    pub zoom: f32,
    /// MODEL as opened, newest first.
    pub recent_models: Vec<String>,
    /// Newest first.
    pub recent_sessions: Vec<PathBuf>,
    /// Colour maps of new sessions.
    #[serde(with = "colormap_name")]
    pub colormap: Colormap,
    #[serde(with = "colormap_name")]
    pub diverging: Colormap,
    /// The hint of the first launch was closed.
    pub hint_seen: bool,
    /// Where models compute that are opened.
    #[serde(with = "device_name")]
    pub device: Device,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThemeChoice {
    #[default]
    System,
    Dark,
    Light,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: ThemeChoice::default(),
            zoom: 1.0,
            recent_models: Vec::new(),
            recent_sessions: Vec::new(),
            colormap: Colormap::Viridis,
            diverging: Colormap::RdBu,
            hint_seen: false,
            device: Device::Cpu,
        }
    }
}

impl Settings {
    /// The user's settings; where the file cannot be used the defaults, and a message that says why.
    pub fn load() -> (Self, Option<String>) {
        match paths::config_dir() {
            Some(folder) => Self::load_from(&folder),
            None => (Self::default(), None),
        }
    }

    pub fn load_from(folder: &Path) -> (Self, Option<String>) {
        let path = folder.join(FILE_NAME);
        let reason = match std::fs::read_to_string(&path) {
            Ok(text) => match serde_json::from_str::<Self>(&text) {
                Ok(settings) => return (settings.sanitised(), None),
                Err(error) => error.to_string(),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Default::default(),
            Err(error) => error.to_string(),
        };
        let path = path.display();
        let message = format!("settings not read, defaults used: {reason}: {path}");
        (Self::default(), Some(message))
    }

    /// Does nothing where there is no home folder.
    pub fn save(&self) -> io::Result<()> {
        paths::config_dir().map_or(Ok(()), |folder| self.save_to(&folder))
    }

    pub fn save_to(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let text = serde_json::to_string_pretty(self)?;
        atomic::write(&folder.join(FILE_NAME), text.as_bytes())
    }

    /// Puts a model first in the list of recent ones.
    pub fn opened_model(&mut self, source: &str) {
        remember(&mut self.recent_models, source.to_owned());
    }

    /// Puts a session first in the list of recent ones.
    pub fn opened_session(&mut self, path: &Path) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        // The file is text: a path that is none cannot be kept.
        if path.to_str().is_some() {
            remember(&mut self.recent_sessions, path);
        }
    }

    /// A file edited by hand may hold anything; the window shall still open at a size that can be used.
    fn sanitised(mut self) -> Self {
        self.zoom = if self.zoom.is_finite() {
            self.zoom.clamp(*ZOOM.start(), *ZOOM.end())
        } else {
            1.0
        };
        self.recent_models.truncate(MAX_RECENT);
        self.recent_sessions.truncate(MAX_RECENT);
        self
    }
}

fn remember<T: PartialEq>(list: &mut Vec<T>, entry: T) {
    list.retain(|other| *other != entry);
    list.insert(0, entry);
    list.truncate(MAX_RECENT);
}

/// Colour maps in the spelling of session files.
mod colormap_name {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::{Colormap, ColormapName};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(map: &Colormap, to: S) -> Result<S::Ok, S::Error> {
        ColormapName::from(*map).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Colormap, D::Error> {
        ColormapName::deserialize(from).map(Colormap::from)
    }
}

/// A device by its name.
mod device_name {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Device;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(device: &Device, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(device.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Device, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Settings, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
        Settings::load_from(folder.path())
    }

    #[test]
    fn settings_read_back_as_they_were_saved() {
        let folder = tempfile::tempdir().unwrap();
        let nested = folder.path().join("not").join("there");
        let mut settings = Settings {
            theme: ThemeChoice::Light,
            zoom: 1.25,
            diverging: Colormap::PuOr,
            hint_seen: true,
            device: Device::Metal,
            ..Settings::default()
        };
        settings.opened_model("demo");
        settings.opened_session(Path::new("a.headscope.json"));
        settings.save_to(&nested).unwrap();
        assert_eq!(Settings::load_from(&nested), (settings, None));
    }

    #[test]
    fn no_file_is_no_problem() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Settings::load_from(folder.path()),
            (Settings::default(), None)
        );
    }

    #[test]
    fn a_damaged_file_gives_the_defaults_and_says_so() {
        for text in ["", "{\"zoom\":", "7", "{\"theme\":\"sepia\"}", "\u{0}"] {
            let (settings, message) = read(text);
            assert_eq!(settings, Settings::default(), "{text}");
            assert!(message.unwrap().contains("settings.json"), "{text}");
        }
    }

    #[test]
    fn other_versions_of_the_file_are_read() {
        let (settings, message) = read("{\"hint_seen\":true,\"of_the_future\":[1]}");
        assert!(settings.hint_seen && message.is_none());
    }

    #[test]
    fn a_zoom_that_cannot_be_used_is_put_right() {
        for (written, used) in [("1e9", 3.0), ("-1", 0.5), ("2.5", 2.5)] {
            let zoom = read(&format!("{{\"zoom\":{written}}}")).0.zoom;
            assert!((zoom - used).abs() < f32::EPSILON, "{written}: {zoom}");
        }
    }

    #[test]
    fn recent_entries_are_few_distinct_and_newest_first() {
        let mut settings = Settings::default();
        for i in 0..15 {
            settings.opened_model(&format!("model {}", i % 12));
        }
        assert_eq!(settings.recent_models.len(), MAX_RECENT);
        assert_eq!(
            settings.recent_models[..4],
            ["model 2", "model 1", "model 0", "model 11"]
        );
    }
}
