//! From a method and a path to a handler.

use super::meter::Meter;
use super::pace::Pace;
use std::fmt;

/// What a path leads to.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) method: String,
    /// The number of the function in every VM.
    pub(crate) handler: u32,
    /// The body is read in pieces, by the handler.
    pub(crate) stream: bool,
    /// It is a WebSocket's; with the number of the function that admits it.
    pub(crate) websocket: Option<Option<u32>>,
    /// The largest body, in bytes, if it is not that of the server.
    pub(crate) max_body: Option<u64>,
    pub(crate) meter: Meter,
    pub(crate) pace: Pace,
}

/// The routes of an `lf.http`.
#[derive(Clone, Default)]
pub(crate) struct Routes(matchit::Router<Vec<Route>>, Option<u64>);

impl fmt::Debug for Routes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Routes")
    }
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// To this handler, with the parts of the path that have names.
    Route(&'a Route, Vec<(String, String)>),
    /// The path is there for other methods only.
    Methods(Vec<&'a str>),
    /// Nothing is there.
    Nothing,
}

/// A path as scripts write it (`/u/:id`, `/files/*rest`) as the router wants it.
fn pattern_of(path: &str) -> String {
    let parts = path.split('/').map(|part| match part.split_at_checked(1) {
        Some((":", name)) if !name.is_empty() => format!("{{{name}}}"),
        Some(("*", "")) => "{*rest}".into(),
        Some(("*", name)) => format!("{{*{name}}}"),
        _ => part.replace('{', "{{").replace('}', "}}"),
    });
    parts.collect::<Vec<_>>().join("/")
}

impl Routes {
    /// Adds a route.
    pub(crate) fn add(&mut self, path: &str, route: Route) -> Result<(), String> {
        if !path.starts_with('/') {
            return Err(format!("route {path:?}: a path begins with '/'"));
        }
        let pattern = pattern_of(path);
        // Another route of the same pattern is found by taking it out and putting it back.
        self.1 = self.1.max(route.max_body);
        let mut routes = self.0.remove(&pattern).unwrap_or_default();
        routes.push(route);
        self.0.insert(&pattern, routes).map_err(|error| format!("route {path:?}: {error}"))
    }

    /// The largest body that a route takes by its own word.
    pub(crate) fn body_bytes_max(&self) -> Option<u64> {
        self.1
    }

    /// Looks a request up. HEAD is served by who serves GET.
    pub(crate) fn find(&self, method: &str, path: &str) -> Found<'_> {
        let Ok(matched) = self.0.at(path) else { return Found::Nothing };
        let by = |wanted: &str| matched.value.iter().find(|route| route.method == wanted);
        let route = by(method).or_else(|| if method == "HEAD" { by("GET") } else { None }).or_else(|| by("*"));
        match route {
            None => Found::Methods(matched.value.iter().map(|route| route.method.as_str()).collect()),
            Some(route) => {
                let params = matched.params.iter().map(|(name, value)| (name.to_owned(), decoded(value)));
                Found::Route(route, params.collect())
            }
        }
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &str, handler: u32) -> Route {
        Route {
            method: method.into(),
            handler,
            stream: false,
            websocket: None,
            max_body: None,
            meter: Meter::default(),
            pace: Pace::default(),
        }
    }

    fn routes(of: &[(&str, &str)]) -> Routes {
        let mut routes = Routes::default();
        for (handler, (method, path)) in (1..).zip(of) {
            routes.add(path, route(method, handler)).unwrap();
        }
        routes
    }

    fn found(routes: &Routes, method: &str, path: &str) -> (u32, Vec<(String, String)>) {
        match routes.find(method, path) {
            Found::Route(route, params) => (route.handler, params),
            other @ (Found::Methods(_) | Found::Nothing) => panic!("{method} {path}: {other:?}"),
        }
    }

    #[test]
    fn names_in_a_path_are_decoded_and_handed_over() {
        let routes = routes(&[("GET", "/u/:id"), ("GET", "/files/*rest"), ("GET", "/u/me"), ("POST", "/u/:id")]);
        assert_eq!(found(&routes, "GET", "/u/a%20b"), (1, vec![("id".into(), "a b".into())]));
        assert_eq!(found(&routes, "POST", "/u/7"), (4, vec![("id".into(), "7".into())]));
        assert_eq!(found(&routes, "GET", "/u/me"), (3, vec![]));
        assert_eq!(found(&routes, "GET", "/files/a/b"), (2, vec![("rest".into(), "a/b".into())]));
    }

    #[test]
    fn a_method_that_nobody_serves_is_told_from_a_path_that_is_not_there() {
        let routes = routes(&[("GET", "/a"), ("PUT", "/a"), ("*", "/any")]);
        assert!(matches!(routes.find("POST", "/a"), Found::Methods(methods) if methods == ["GET", "PUT"]));
        assert!(matches!(routes.find("GET", "/b"), Found::Nothing));
        assert_eq!(found(&routes, "HEAD", "/a").0, 1);
        assert_eq!(found(&routes, "DELETE", "/any").0, 3);
    }

    #[test]
    fn a_path_that_no_request_can_have_is_an_error() {
        assert!(Routes::default().add("a", route("GET", 1)).unwrap_err().contains("begins with '/'"));
        let mut routes = routes(&[("GET", "/a/:b")]);
        let error = routes.add("/a/:c", route("GET", 2)).unwrap_err();
        assert!(error.contains("/a/:c"), "{error}");
    }
}
