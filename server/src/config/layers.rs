//! From four sources to one configuration: defaults, then the file, then the
//! environment, then flags; the last one that sets a key wins, and is
//! remembered as its origin. Every key of every source must exist.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::schema::{Config, SECTIONS, fields};
use super::value::{Field, Setting};

/// What environment variables begin with: `CORELET__HTTP__LISTEN` sets
/// `http.listen`. Other names (`CORELET_TOKEN`) are not settings.
const ENV_PREFIX: &str = "CORELET__";

/// The most bytes of a configuration file that are read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// This program, because of the command that was given.
    Command(&'static str),
    /// The file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// This flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Command(name) => write!(f, "corelet {name}"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The sources, weakest first, as texts that nobody has checked yet.
#[derive(Debug, Default)]
pub struct Layers {
    set: Vec<(String, String, Origin)>,
}

impl Layers {
    /// Adds a file.
    pub fn file(&mut self, path: &Path) -> Result<&mut Self, ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let mut file = File::open(path).map_err(read)?.take(FILE_BYTES_MAX + 1);
        file.read_to_string(&mut text).map_err(read)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(ConfigError::TooLong {
                path: path.to_owned(),
                max: FILE_BYTES_MAX,
            });
        }
        let table: toml::Table =
            text.parse()
                .map_err(|error: toml::de::Error| ConfigError::Syntax {
                    path: path.to_owned(),
                    message: error.to_string().trim_end().to_owned(),
                })?;
        self.table("", &table, &Origin::File(path.to_owned()));
        Ok(self)
    }

    /// Adds environment variables. The caller gives them, so that tests can.
    pub fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) -> &mut Self {
        for (name, value) in variables {
            if let Some(rest) = name.strip_prefix(ENV_PREFIX) {
                let key = rest.to_ascii_lowercase().replace("__", ".");
                self.set.push((key, value, Origin::Environment(name)));
            }
        }
        self
    }

    /// Adds one value by its full name.
    pub fn value(&mut self, key: &str, value: impl Into<String>, origin: Origin) -> &mut Self {
        self.set.push((key.to_owned(), value.into(), origin));
        self
    }

    /// Checks everything and lets the strongest value of each key win.
    pub fn resolve(&self) -> Result<(Config, Effective), ConfigError> {
        let mut effective = Effective::defaults();
        for (key, value, origin) in &self.set {
            let Some(field) = fields().iter().find(|field| field.path == key) else {
                return Err(ConfigError::UnknownKey {
                    origin: origin.clone(),
                    key: key.clone(),
                    nearest: nearest(key),
                });
            };
            let value = (field.canonical)(value, field.bounds).map_err(|expected| {
                ConfigError::BadValue {
                    origin: origin.clone(),
                    key: field.path,
                    found: value.clone(),
                    expected,
                }
            })?;
            effective.values.insert(field.path, (value, origin.clone()));
        }
        let config = Config::from_effective(&effective)?;
        Ok((config, effective))
    }

    fn table(&mut self, prefix: &str, table: &toml::Table, origin: &Origin) {
        for (name, value) in table {
            let key = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            match value {
                // A section that sets nothing is fine if it exists.
                toml::Value::Table(inner)
                    if prefix.is_empty() && (!inner.is_empty() || is_section(&key)) =>
                {
                    self.table(&key, inner, origin);
                }
                toml::Value::String(text) => self.set.push((key, text.clone(), origin.clone())),
                other => self.set.push((key, other.to_string(), origin.clone())),
            }
        }
    }
}

/// The texts that won, each with who set it. Holds no secret: no setting is one.
#[derive(Debug, Clone)]
pub struct Effective {
    values: BTreeMap<&'static str, (String, Origin)>,
}

impl Effective {
    /// All settings in the order of their declaration.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Field, &str, &Origin)> {
        fields().iter().map(|field| {
            let (value, origin) = &self.values[field.path];
            (field, value.as_str(), origin)
        })
    }

    /// A text that this value gives again when it is read.
    pub(super) fn typed<T: Setting>(&self, path: &'static str) -> Result<T, ConfigError> {
        let (value, origin) = &self.values[path];
        T::read(value).map_err(|expected| ConfigError::BadValue {
            origin: origin.clone(),
            key: path,
            found: value.clone(),
            expected,
        })
    }

    fn defaults() -> Effective {
        let values = fields()
            .iter()
            .map(|field| {
                let value = (field.canonical)(field.default, field.bounds)
                    .expect("a test reads every default");
                (field.path, (value, Origin::Default))
            })
            .collect();
        Effective { values }
    }
}

fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|(section, _)| *section == name)
}

/// The setting whose name takes the fewest edits to reach, if it is close
/// enough to have been meant. A name given without its section counts as close.
fn nearest(key: &str) -> Option<&'static str> {
    let meant = |field: &&Field| field.path.rsplit('.').next() == Some(key);
    if let Some(field) = fields().iter().find(meant) {
        return Some(field.path);
    }
    // The distance is quadratic in the length, and the key is foreign text.
    if key.len() > 100 {
        return None;
    }
    fields()
        .iter()
        .map(|field| (edits(key, field.path), field.path))
        .min()
        .filter(|(distance, path)| *distance <= path.len() / 3)
        .map(|(_, path)| path)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("corelet.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn environment(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
        pairs
            .iter()
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn refusal(text: &str) -> String {
        let (_dir, path) = file(text);
        let mut layers = Layers::default();
        let error = match layers.file(&path) {
            Ok(layers) => layers.resolve().map(|_| ()).unwrap_err(),
            Err(error) => error,
        };
        error.to_string().replace(path.to_str().unwrap(), "FILE")
    }

    #[test]
    fn every_default_can_be_read_and_lies_within_its_bounds() {
        let (config, effective) = Layers::default().resolve().unwrap();
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:7700");
        assert_eq!(effective.iter().count(), fields().len());
        assert!(
            effective
                .iter()
                .all(|(_, _, origin)| *origin == Origin::Default)
        );
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let (_dir, path) =
            file("[http]\nlisten = \"127.0.0.1:1\"\nbatch_max = 7\nbody_bytes_max = \"2 MiB\"\n");
        let mut layers = Layers::default();
        layers.file(&path).unwrap();
        layers.environment(environment(&[
            ("CORELET__HTTP__LISTEN", "127.0.0.1:2"),
            ("CORELET__HTTP__BATCH_MAX", "8"),
            ("CORELET_TOKEN", "not a setting"),
        ]));
        layers.value("http.listen", "127.0.0.1:3", Origin::Flag("--listen"));
        let (config, effective) = layers.resolve().unwrap();
        assert_eq!(config.http.listen.port(), 3);
        assert_eq!(config.http.batch_max, 8);
        assert_eq!(config.http.body_bytes_max.0, 2 << 20);
        let origins: Vec<String> = effective
            .iter()
            .take(8)
            .map(|(_, _, origin)| origin.to_string())
            .collect();
        assert_eq!(origins[0], "flag --listen");
        assert_eq!(origins[5], path.display().to_string());
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one() {
        assert_eq!(
            refusal("[http]\nlisten_adress = \"x\""),
            "FILE: there is no setting http.listen_adress; `corelet config show` lists them all"
        );
        assert!(refusal("[http]\nlistn = \"x\"").contains("did you mean http.listen?"));
        assert!(refusal("batch_max = 3").contains("did you mean http.batch_max?"));
        assert!(refusal("[htpt]\nbatch_max = 3").contains("did you mean http.batch_max?"));
        assert!(refusal("[http.listen]\nport = 3").contains("http.listen = { port = 3 }"));
        assert!(refusal("[nothing]").contains("no setting nothing;"));
        assert!(refusal("zzz = 3").contains("no setting zzz;"));
    }

    #[test]
    fn a_bad_value_names_its_place_and_what_was_expected() {
        assert_eq!(
            refusal("[http]\nbatch_max = 0"),
            "FILE: http.batch_max = 0: expected count from 1 to 10000"
        );
        assert_eq!(
            refusal("[http]\nbody_timeout = 10"),
            "FILE: http.body_timeout = 10: expected a time with its unit such as \"500 ms\", \"10 s\" or \"2 min\""
        );
        assert_eq!(
            refusal("[metrics]\npublic = 1"),
            "FILE: metrics.public = 1: expected true or false"
        );
        assert!(refusal("[http").contains("not valid TOML"));
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        assert!(
            refusal("[process]\nwatchdog_warn = \"3 s\"")
                .contains("the warning must come before the abort")
        );
        assert!(refusal("[http]\nbody_bytes_max = \"2 KiB\"").contains("limits.args_bytes_max"));
        assert!(
            refusal("[http]\nbatch_answers_bytes_max = \"512 KiB\"")
                .contains("limits.output_bytes_max")
        );
    }
}
