//! Who may call: the bearer token, the claims it stands for, and the one
//! comparison between what was presented and what is known. Which routes ask
//! for it is decided in `http/`.
//!
//! The token is made at the first start and kept in `keys/token`, readable
//! only by its owner. Each shard holds its own copy of the [`Guard`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// The name of the token's file inside the keys directory.
pub const TOKEN_FILE: &str = "token";

/// What every token begins with, so that scanners for leaked secrets know it.
const TOKEN_PREFIX: &str = "corelet_";
const SECRET_BYTES: usize = 32;
/// Longer than any token we make, short enough to hash without a thought.
const TOKEN_CHARS_MAX: usize = 512;

/// Why there is no token to serve or to call with.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The token file could not be read.
    #[error("reading the token {path}", path = path.display())]
    Read {
        /// The file that was read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The token file could not be written.
    #[error("writing the token {path}", path = path.display())]
    Write {
        /// The file that was written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} does not hold a token: remove it and restart the server to get a new one", path = path.display())]
    Malformed {
        /// The file that was read.
        path: PathBuf,
    },
    /// Others than the owner may read the token.
    #[error("{path} can be read by others (mode {mode:o}): run chmod 600 {path}", path = path.display())]
    TooOpen {
        /// The file that was read.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system gave no randomness.
    #[error("no randomness from the system to make a token with: {0}")]
    NoRandomness(getrandom::Error),
}

/// A secret that opens the server. Never printed by accident: it has no
/// `Display`, and its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The server's token in `keys_dir`, made on first use.
    pub fn load_or_create(keys_dir: &Path) -> Result<Token, TokenError> {
        let path = keys_dir.join(TOKEN_FILE);
        match Token::load(&path) {
            Err(TokenError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Token::create(keys_dir, &path)
            }
            loaded => loaded,
        }
    }

    /// The token in a file that must not be readable by others.
    pub fn load(path: &Path) -> Result<Token, TokenError> {
        let read = |source| TokenError::Read {
            path: path.to_owned(),
            source,
        };
        Token::read(File::open(path).map_err(read)?, path)
    }

    /// The token in the open file that is at `path`.
    pub(crate) fn read(mut file: File, path: &Path) -> Result<Token, TokenError> {
        let read = |source| TokenError::Read {
            path: path.to_owned(),
            source,
        };
        let metadata = file.metadata().map_err(read)?;
        let mode = metadata.mode() & 0o777;
        // A pipe (`--token-file <(pass show corelet)`) has no readers but us.
        if metadata.is_file() && mode & 0o077 != 0 {
            return Err(TokenError::TooOpen {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = String::new();
        (&mut file)
            .take(TOKEN_CHARS_MAX as u64 + 2)
            .read_to_string(&mut text)
            .map_err(read)?;
        Token::parse(text.trim_end()).ok_or_else(|| TokenError::Malformed {
            path: path.to_owned(),
        })
    }

    /// A token from text, if it could be one.
    pub fn parse(text: &str) -> Option<Token> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (visible && (16..=TOKEN_CHARS_MAX).contains(&text.len())).then(|| Token(text.to_owned()))
    }

    /// The secret itself, to be sent or shown on purpose.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn create(keys_dir: &Path, path: &Path) -> Result<Token, TokenError> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(TokenError::NoRandomness)?;
        let token = Token(format!(
            "{TOKEN_PREFIX}{}",
            bs58::encode(secret).into_string()
        ));
        let written = (|| -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            file.write_all(token.0.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            File::open(keys_dir)?.sync_all()
        })();
        written.map_err(|source| TokenError::Write {
            path: path.to_owned(),
            source,
        })?;
        Ok(token)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Call methods of any context.
    pub call: bool,
    /// Install, create, delete, and read metrics.
    pub admin: bool,
}

/// Whom a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The caller's name: what a guest sees as `caller`.
    pub subject: Arc<str>,
    /// What the caller may do.
    pub rights: Rights,
}

/// Why a request gets no claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthenticated {
    /// No `Authorization` header.
    Missing,
    /// A header that is not `Bearer` and one token.
    Malformed,
    /// A token that nobody has made.
    Unknown,
}

impl Unauthenticated {
    /// What the caller is told. The same for every token that does not work,
    /// so that nothing is learned by trying.
    pub fn message(self) -> &'static str {
        match self {
            Unauthenticated::Missing => {
                "a token is required: send `Authorization: Bearer TOKEN`; `corelet token` on the server's machine prints it"
            }
            Unauthenticated::Malformed => {
                "the Authorization header must be `Bearer TOKEN`, once; `corelet token` on the server's machine prints it"
            }
            Unauthenticated::Unknown => {
                "this token is not known here; `corelet token` on the server's machine prints the right one"
            }
        }
    }
}

/// Knows the digests of all tokens and turns a header into claims.
#[derive(Clone)]
pub struct Guard {
    known: Arc<[(blake3::Hash, Claims)]>,
}

impl Guard {
    /// A guard for the server's own token, which may do everything.
    pub fn new(token: &Token) -> Guard {
        let claims = Claims {
            subject: "admin".into(),
            rights: Rights {
                call: true,
                admin: true,
            },
        };
        Guard {
            known: Arc::new([(digest(token.0.as_bytes()), claims)]),
        }
    }

    /// The claims behind an `Authorization` header, of which there were
    /// `headers`. Digests are compared in constant time and all of them, so
    /// that the time tells nothing about how close a guess was.
    pub fn admit<'a>(
        &self,
        mut headers: impl Iterator<Item = &'a [u8]>,
    ) -> Result<&Claims, Unauthenticated> {
        let header = headers.next().ok_or(Unauthenticated::Missing)?;
        if headers.next().is_some() {
            return Err(Unauthenticated::Malformed);
        }
        let token = bearer(header).ok_or(Unauthenticated::Malformed)?;
        let presented = digest(token);
        let mut found = None;
        for (known, claims) in self.known.iter() {
            if bool::from(known.as_bytes().ct_eq(presented.as_bytes())) {
                found = Some(claims);
            }
        }
        found.ok_or(Unauthenticated::Unknown)
    }
}

/// RFC 6750 section 2.1; the scheme's name is not case sensitive (RFC 9110 section 11.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return None;
    }
    let token = rest.trim_ascii();
    let plain = token.iter().all(|byte| byte.is_ascii_graphic());
    (plain && !token.is_empty() && token.len() <= TOKEN_CHARS_MAX).then_some(token)
}

fn digest(token: &[u8]) -> blake3::Hash {
    blake3::hash(token)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn admit(guard: &Guard, headers: &[&str]) -> Result<String, Unauthenticated> {
        guard
            .admit(headers.iter().map(|header| header.as_bytes()))
            .map(|claims| claims.subject.to_string())
    }

    #[test]
    fn the_token_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Token::load_or_create(dir.path()).unwrap();
        let second = Token::load_or_create(dir.path()).unwrap();
        assert!(first == second);
        assert!(first.reveal().starts_with("corelet_"));
        let path = dir.path().join(TOKEN_FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Token::load_or_create(dir.path()),
            Err(TokenError::TooOpen { mode: 0o640, .. })
        ));
    }

    #[test]
    fn a_damaged_token_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TOKEN_FILE);
        for text in [
            "",
            "short",
            "with space in the middle of it",
            &"x".repeat(600),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(
                matches!(Token::load(&path), Err(TokenError::Malformed { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn only_the_right_token_in_one_bearer_header_is_admitted() {
        let token = Token::parse("corelet_0123456789abcdef").unwrap();
        let guard = Guard::new(&token);
        assert_eq!(
            admit(&guard, &["Bearer corelet_0123456789abcdef"]),
            Ok("admin".to_owned())
        );
        assert_eq!(
            admit(&guard, &["bearer  corelet_0123456789abcdef "]),
            Ok("admin".to_owned())
        );
        assert_eq!(admit(&guard, &[]), Err(Unauthenticated::Missing));
        for malformed in [
            "",
            "Bearer",
            "Bearer ",
            "Basic corelet_0123456789abcdef",
            "corelet_0123456789abcdef",
            "Bearer corelet_0123456789abcdef x",
            "Bearer corelet_0123456789abcde\u{7f}",
        ] {
            assert_eq!(
                admit(&guard, &[malformed]),
                Err(Unauthenticated::Malformed),
                "{malformed:?}"
            );
        }
        let twice = ["Bearer corelet_0123456789abcdef"; 2];
        assert_eq!(admit(&guard, &twice), Err(Unauthenticated::Malformed));
        for unknown in [
            "Bearer corelet_0123456789abcdeF",
            "Bearer corelet_0123456789abcdef0",
            "Bearer x",
        ] {
            assert_eq!(
                admit(&guard, &[unknown]),
                Err(Unauthenticated::Unknown),
                "{unknown:?}"
            );
        }
        assert_eq!(format!("{token:?}"), "Token(hidden)");
    }
}
