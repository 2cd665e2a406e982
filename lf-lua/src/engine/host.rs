//! What all VMs of a server share: its clock, its connections, its limits.

use super::command::Command;
use super::sys::Watch;
use super::vm::{Event, Vm};
use crate::api::shared::Dicts;
use crate::serve::{Meter, SERVE, Sockets, Timers};
use lf_core::upstream::{Upstream, Upstreams};
use lf_core::{Handlers, Remote, SendError, Token};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// What a script may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long a call may run without waiting.
    pub(crate) budget: Duration,
    /// Memory of a VM, in bytes.
    pub(crate) vm_bytes: usize,
    /// From how long on a call is logged.
    pub(crate) slow: Option<Duration>,
}

/// What a server gives its VMs.
pub(crate) struct Host {
    started: Instant,
    pub(crate) limits: Limits,
    /// Outlive the scripts that fill them.
    pub(crate) dicts: Dicts,
    remote: OnceLock<Remote>,
    pub(crate) sockets: OnceLock<Sockets>,
    pub(crate) timers: OnceLock<Timers>,
    pub(crate) upstreams: OnceLock<Upstreams>,
    /// Where calls are counted, if anybody can see it.
    pub(crate) handlers: OnceLock<Handlers>,
    /// Names requests in logs: a number for this process, and one for each.
    process: u32,
    requests: AtomicU64,
    vms: AtomicU64,
    watches: Mutex<Vec<Weak<Watch>>>,
    /// VMs of scripts that were replaced, while calls go on in them, and until when.
    retired: Mutex<Vec<(Arc<Vm>, Instant)>>,
}

/// How long the calls of a script that was replaced may go on.
const RETIRED_MAX: Duration = Duration::from_secs(600);

impl std::fmt::Debug for Host {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Host").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Host {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            started: Instant::now(),
            limits,
            dicts: Dicts::default(),
            remote: OnceLock::new(),
            sockets: OnceLock::new(),
            timers: OnceLock::new(),
            upstreams: OnceLock::new(),
            handlers: OnceLock::new(),
            process: fastrand::u32(..),
            requests: AtomicU64::new(0),
            vms: AtomicU64::new(0),
            watches: Mutex::new(Vec::new()),
            retired: Mutex::new(Vec::new()),
        }
    }

    /// The server is built: its connections can be reached.
    pub(crate) fn attach(&self, remote: Remote, sockets: Sockets, timers: Timers) {
        let _ = self.remote.set(remote);
        let _ = self.sockets.set(sockets);
        let _ = self.timers.set(timers);
    }

    /// What measures the calls of a handler.
    pub(crate) fn meter(&self, name: &str) -> Meter {
        Meter::new(self.handlers.get().map(|handlers| handlers.get(name)), self.limits.slow)
    }

    /// An upstream that scripts have defined.
    pub(crate) fn upstream(&self, name: &str) -> Option<Upstream> {
        self.upstreams.get()?.get(name)
    }

    pub(crate) fn remote(&self) -> Option<&Remote> {
        self.remote.get()
    }

    /// Milliseconds since the start.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A number for a VM.
    pub(crate) fn next_vm(&self) -> u64 {
        self.vms.fetch_add(1, Ordering::Relaxed)
    }

    /// A name for a request.
    pub(crate) fn request_id(&self) -> String {
        format!("{:08x}-{:x}", self.process, self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends a command to whoever owns the connection.
    pub(crate) fn send(&self, token: Token, command: &Command<'_>) -> Result<(), SendError> {
        let mut bytes = Vec::new();
        command.write(&mut bytes);
        self.remote.get().ok_or(SendError::Gone)?.send(token, bytes).map(drop)
    }

    /// Keeps a VM until its calls are over.
    pub(crate) fn retire(&self, vm: &Arc<Vm>) {
        self.retired.lock().push((Arc::clone(vm), Instant::now() + RETIRED_MAX));
        vm.post(Event::Retire);
    }

    /// Lets go of those in which no call goes on any more.
    pub(crate) fn bury_retired(&self) {
        let now = Instant::now();
        let is_over = |vm: &Vm| vm.try_own().is_some_and(|engine| engine.counts().0 == 0);
        let mut retired = std::mem::take(&mut *self.retired.lock());
        retired.retain(|(vm, until)| now < *until && !is_over(vm));
        self.retired.lock().append(&mut retired);
    }

    /// Has the watchdog look after a VM.
    pub(super) fn watch(&self, watch: &Arc<Watch>) {
        self.watches.lock().push(Arc::downgrade(watch));
    }

    /// All that is to be looked after.
    pub(crate) fn watches(&self) -> Vec<Arc<Watch>> {
        let mut watches = self.watches.lock();
        watches.retain(|watch| watch.strong_count() > 0);
        watches.iter().filter_map(Weak::upgrade).collect()
    }

    /// A task that wakes a VM at its deadlines.
    pub(super) fn start_timer(&self, vm: &Arc<Vm>) -> Option<Token> {
        let started = self.timers.get()?.start(self.remote.get()?, vm);
        started.map_err(|error| tracing::error!(%error, "a VM has no timer: what waits in it will not time out")).ok()
    }

    /// Has a VM's timer serve what was left for the VM; false if there is none.
    pub(super) fn relieve(&self, timer: Token) -> bool {
        self.remote.get().is_some_and(|remote| remote.post(timer, SERVE).is_ok())
    }

    /// Has a VM's timer look at its deadlines.
    pub(super) fn remind(&self, timer: Token) {
        if let Some(remote) = self.remote.get() {
            let _ = remote.send(timer, Vec::new());
        }
    }
}
