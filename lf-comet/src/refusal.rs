//! Requests that cannot be served.

use lf_core::Context;
use lf_core::codec::http::Http;
use std::borrow::Cow;

/// The status, and what to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    text: Cow<'static, str>,
    /// The methods that would be served.
    allow: Option<&'static str>,
}

/// A line of text is the body.
pub(crate) fn refusal(status: u16, text: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal { status, text: text.into(), allow: None }
}

pub(crate) fn method_not_allowed(allow: &'static str) -> Refusal {
    Refusal { status: 405, text: format!("use {allow}\n").into(), allow: Some(allow) }
}

impl Refusal {
    /// The same with more to say.
    pub(crate) fn with(mut self, more: &str) -> Self {
        self.text = (self.text.into_owned() + more).into();
        self
    }

    /// `challenge` says how one may be let in.
    pub(crate) fn answer<S>(&self, cx: &mut Context<'_, Http, S>, fields: &[(&str, &str)], challenge: &str) {
        let mut fields = fields.to_vec();
        fields.push(("Content-Type", "text/plain; charset=utf-8"));
        fields.extend(self.allow.map(|allow| ("Allow", allow)));
        if self.status == 401 {
            fields.push(("WWW-Authenticate", challenge));
        }
        cx.respond(self.status, &fields, self.text.as_bytes());
    }
}
