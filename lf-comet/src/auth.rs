//! Who may listen: JSON Web Tokens (RFC 7519) signed with HS256.

use crate::refusal::{Refusal, refusal};
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{AlgorithmExt, UntrustedToken};
use lf_core::codec::http::Request;
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A key shorter than the hash is weaker than the hash (RFC 7518, section 3.2).
const KEY_BYTES_MIN: usize = 32;

/// Checks tokens; or nothing, where anyone may listen.
#[derive(Clone, Default)]
pub struct Auth(Option<Hs256Key>);

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Auth(HS256)" } else { "Auth(none)" })
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: Subject,
}

/// The ids that a token is for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Subject {
    One(String),
    Many(Vec<String>),
}

impl Subject {
    fn covers(&self, id: &str) -> bool {
        match self {
            Self::One(sub) => sub == id,
            Self::Many(subs) => subs.iter().any(|sub| sub == id),
        }
    }
}

impl Auth {
    /// Anyone may listen to anything.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// The key is the content of a file, without white space around it.
    ///
    /// # Errors
    /// If the file cannot be read or the key is too short.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        use anyhow::Context;
        let text = std::fs::read(path).with_context(|| format!("--auth-key {}: cannot be read", path.display()))?;
        let key = text.trim_ascii();
        anyhow::ensure!(
            key.len() >= KEY_BYTES_MIN,
            "--auth-key {}: {} bytes are too few for HS256; give at least {KEY_BYTES_MIN}, e.g. from `openssl rand -hex 32`",
            path.display(),
            key.len(),
        );
        Ok(Self(Some(Hs256Key::new(key))))
    }

    /// Whether anything is checked.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a request may listen to `ids`; until when, if its token ends.
    /// `cookies`: whether its token may be in one.
    pub(crate) fn check(
        &self,
        request: &Request<'_>,
        ids: &[&str],
        cookies: bool,
    ) -> Result<Option<SystemTime>, Refusal> {
        let Some(key) = &self.0 else { return Ok(None) };
        let token = bearer(request)
            .map(Cow::Borrowed)
            .or_else(|| request.query_value("token"))
            .or_else(|| request.cookie("lf_token").filter(|_| cookies).map(Cow::Borrowed))
            .ok_or_else(|| {
                refusal(401, "a token is needed: Authorization: Bearer, ?token= or the cookie lf_token\n")
            })?;
        let invalid = |error: &dyn fmt::Display| refusal(401, format!("the token is not valid: {error}\n"));
        let token = UntrustedToken::new(&*token).map_err(|error| invalid(&error))?;
        let token = Hs256.validator::<Claims>(key).validate(&token).map_err(|error| invalid(&error))?;
        let claims = token.claims();
        let now = SystemTime::now();
        let expires = claims.expiration.map(|at| time_of(at.timestamp()));
        if expires.is_some_and(|expires| expires <= now) {
            return Err(invalid(&"it has expired"));
        }
        if claims.not_before.is_some_and(|begins| time_of(begins.timestamp()) > now) {
            return Err(invalid(&"its time has not come yet"));
        }
        match ids.iter().find(|id| !claims.custom.sub.covers(id)) {
            Some(id) => Err(refusal(403, format!("the token is not for {id}\n"))),
            None => Ok(expires),
        }
    }
}

/// Seconds since 1970; what was before is as good as 1970.
fn time_of(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// The token of `Authorization: Bearer`.
pub(crate) fn bearer<'a>(request: &Request<'a>) -> Option<&'a str> {
    let (scheme, token) = request.header("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
