//! Who is connected.

use super::subscriptions::read_number;
use super::{Control, Cx, JSON, checked};
use crate::hub::Seen;
use crate::refusal::{Refusal, refusal};
use lf_core::Token;
use lf_core::codec::http::Request;

/// Connections in a list, unless `limit` says otherwise, and at most.
const LISTED_DEFAULT: usize = 1000;
const LISTED_MAX: usize = 100_000;

impl Control {
    /// The connections that a request names: those of an id, one by its token, or all.
    fn named(&self, request: &Request<'_>, max: usize) -> Result<Vec<Seen>, Refusal> {
        if let Some(id) = request.query_value("id") {
            return Ok(self.hub.connections(Some(checked(&id)?), max));
        }
        Ok(self.hub.connections(None, max))
    }

    pub(super) fn list_connections(&self, cx: &mut Cx<'_>, request: &Request<'_>) -> Result<(), Refusal> {
        let limit = read_number(request, "limit")?.unwrap_or(LISTED_DEFAULT).clamp(1, LISTED_MAX);
        let seen = self.named(request, limit)?;
        let connections: Vec<_> = seen
            .iter()
            .map(|seen| {
                // Who is in a turn right now cannot be looked at.
                let sight = self.remote.look_at(seen.login.token);
                serde_json::json!({
                    "connection": format!("{:016x}", seen.login.token.to_bits()),
                    "id": seen.id,
                    "transport": seen.login.encoding.label(),
                    "peer": sight.map(|sight| sight.peer.to_string()),
                    "queued_bytes": sight.map(|sight| sight.queued_bytes),
                    "age_s": sight.map(|sight| sight.age.as_secs_f64()),
                })
            })
            .collect();
        let total = self.hub.connection_count();
        let page = serde_json::json!({ "connections": connections, "total": total });
        cx.respond(200, &[JSON], format!("{page}\n").as_bytes());
        Ok(())
    }

    pub(super) fn kick(&self, cx: &mut Cx<'_>, request: &Request<'_>) -> Result<(), Refusal> {
        let closed = if let Some(connection) = request.query_value("connection") {
            let bits = u64::from_str_radix(&connection, 16)
                .map_err(|_| refusal(400, "connection: give it as /connections shows it\n"))?;
            usize::from(self.remote.close(Token::from_bits(bits)))
        } else if request.query_value("id").is_some() {
            let seen = self.named(request, usize::MAX)?;
            seen.iter().filter(|seen| self.remote.close(seen.login.token)).count()
        } else {
            return Err(refusal(400, "say whom: ?id=ID or ?connection=CONNECTION\n"));
        };
        cx.respond(200, &[JSON], format!("{{\"closed\":{closed}}}\n").as_bytes());
        Ok(())
    }
}
