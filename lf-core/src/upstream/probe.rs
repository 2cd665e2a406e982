//! Questions of our own: whether a server can be connected to, and with HTTP whether it answers a path with 2xx.

use super::config::{Probe, Protocol};
use super::core::{Bound, Core};
use super::link::State;
use super::roster::Server;
use super::wire::{Reply, Wire, WireState, request};
use crate::dialer::DialOptions;
use crate::handler::Context;
use crate::upstream::call::{Call, HttpRequest};
use std::sync::Arc;

/// One question.
pub(super) struct ProbeState {
    asked: Option<(Arc<Core>, Arc<Server>)>,
}

impl ProbeState {
    pub(super) fn nobody() -> Self {
        Self { asked: None }
    }

    fn succeeded(&mut self) {
        if let Some((core, server)) = self.asked.take() {
            core.server_succeeded(&server);
        }
    }

    /// Without a good answer until now, it was none.
    pub(super) fn ended(&mut self) {
        if let Some((core, server)) = self.asked.take() {
            server.stats.probes_failed.add();
            core.server_failed(&server);
        }
    }
}

/// Asks all servers of an upstream, in group 0.
pub(super) fn ask(core: &Arc<Core>, bound: &Bound, probe: &Probe) {
    let servers = Arc::clone(&core.roster.read());
    for server in servers.iter() {
        let options = DialOptions { connect_timeout: Some(probe.timeout), ..DialOptions::default() };
        let state = State::Probe(ProbeState { asked: Some((Arc::clone(core), Arc::clone(server))) });
        if let Err(failed) = core.base.links.connect(&bound.remote, 0, &server.address, &options, state) {
            // No place for the question says nothing about the server.
            if failed.error.raw_os_error().is_some()
                && let State::Probe(mut state) = failed.state
            {
                state.ended();
            }
        }
    }
}

/// It is connected, which may be all that was asked.
pub(super) fn opened(cx: &mut Context<'_, Wire, State>) {
    let State::Probe(state) = &mut *cx.state else { return };
    let Some((core, _)) = &state.asked else { return cx.close() };
    let config = &core.config;
    let Some(Probe { path: Some(path), timeout, .. }) =
        config.probe.clone().filter(|_| config.protocol == Protocol::Http)
    else {
        state.succeeded();
        return cx.close();
    };
    let call = Call { http: Some(HttpRequest { path, ..HttpRequest::default() }), ..Call::default() };
    let Ok(request) = request::write(&call, &core.name, config, 0) else { return cx.abort() };
    *cx.codec_state = WireState::new(config, Arc::default());
    cx.send_bytes(&request.bytes);
    cx.set_timer(timeout);
}

pub(super) fn answered(cx: &mut Context<'_, Wire, State>, reply: &Reply<'_>) {
    let State::Probe(state) = &mut *cx.state else { return };
    if matches!(reply, Reply::Http(answer) if (200..300).contains(&answer.status)) {
        state.succeeded();
    }
    cx.abort();
}
