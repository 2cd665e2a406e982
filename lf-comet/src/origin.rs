//! Which pages of a browser may connect: CORS for requests, the `Origin` of WebSockets.

use lf_core::codec::http::Request;

/// The origins that are let in beside the server's own.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    any: bool,
    listed: Vec<String>,
}

impl Origins {
    /// `*`, or origins such as `https://example.org`.
    ///
    /// # Errors
    /// If one is no origin.
    pub fn new(list: &[String]) -> anyhow::Result<Self> {
        let any = list.iter().any(|origin| origin == "*");
        let listed: Vec<_> = list.iter().filter(|origin| *origin != "*").cloned().collect();
        for origin in &listed {
            let host = origin.split_once("://").map(|(_, host)| host);
            anyhow::ensure!(
                host.is_some_and(|host| !host.is_empty() && !host.contains('/')) && origin.is_ascii(),
                "--allow-origin {origin:?}: give SCHEME://HOST[:PORT] without a path, or *",
            );
        }
        Ok(Self { any, listed })
    }

    fn is_listed(&self, origin: &str) -> bool {
        self.any || self.is_named(origin)
    }

    fn is_named(&self, origin: &str) -> bool {
        self.listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    }

    /// Whether a request comes from no page, one of this server, or one that is listed by its name: others do not speak for
    /// the user whose cookies they send.
    pub(crate) fn trusts(&self, request: &Request<'_>) -> bool {
        request.header("origin").is_none_or(|origin| is_own(request, origin) || self.is_named(origin))
    }

    /// The fields that let a page of another origin read the answer.
    pub(crate) fn fields(&self, request: &Request<'_>) -> Vec<(&'static str, String)> {
        let Some(origin) = request.header("origin") else { return Vec::new() };
        if !self.is_listed(origin) {
            return Vec::new();
        }
        if self.any {
            return vec![
                ("Access-Control-Allow-Origin", "*".into()),
                ("Access-Control-Expose-Headers", "Lf-Next".into()),
            ];
        }
        vec![
            ("Access-Control-Allow-Origin", origin.into()),
            ("Access-Control-Allow-Credentials", "true".into()),
            ("Access-Control-Expose-Headers", "Lf-Next".into()),
            ("Vary", "Origin".into()),
        ]
    }

    /// Whether a page may open a WebSocket, which no browser asks about beforehand. Programs, which send no `Origin`, may.
    pub(crate) fn admits_socket(&self, request: &Request<'_>) -> bool {
        let Some(origin) = request.header("origin") else { return true };
        is_own(request, origin) || self.is_listed(origin)
    }
}

/// Whether a page of this very server asks.
pub(crate) fn is_own(request: &Request<'_>, origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, host)| host.eq_ignore_ascii_case(request.host()))
}
