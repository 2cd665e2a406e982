//! The VMs of a group: a worker takes the one that it used last if that is free, else any free one, else a new one.

use super::host::Host;
use super::vm::{Definitions, Engine, LoadError, Source, Vm};
use arc_swap::ArcSwapOption;
use lf_core::strand::Owner;
use parking_lot::Mutex;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// VMs beyond one for each worker: threads that only come to send may need one too.
const SPARES: usize = 4;
/// Calls between two looks at the memory of a VM.
const CALLS_PER_LOOK: u32 = 256;

thread_local! {
    /// The place of the VM that this thread used last.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// The VMs of a group, for one script.
#[derive(Debug)]
pub(crate) struct Pool {
    vms: Box<[ArcSwapOption<Vm>]>,
    count: AtomicUsize,
    host: Arc<Host>,
    source: Arc<Source>,
    group: usize,
    /// Held while a VM is made.
    growing: Mutex<()>,
    /// How many servers the script has to define.
    definitions: usize,
}

impl Pool {
    /// A pool with room for a VM for each of `workers`, without any.
    pub(crate) fn new(
        host: &Arc<Host>,
        source: &Arc<Source>,
        group: usize,
        workers: usize,
        definitions: usize,
    ) -> Self {
        Self {
            vms: std::iter::repeat_with(ArcSwapOption::empty).take(workers + SPARES).collect(),
            count: AtomicUsize::new(0),
            host: Arc::clone(host),
            source: Arc::clone(source),
            group,
            growing: Mutex::new(()),
            definitions,
        }
    }

    /// VMs that there are.
    pub(crate) fn vms(&self) -> impl Iterator<Item = Arc<Vm>> {
        self.vms.iter().filter_map(ArcSwapOption::load_full)
    }

    /// Puts a VM in.
    pub(crate) fn add(&self, vm: &Arc<Vm>) {
        let place = self.count.load(Ordering::Acquire);
        if let Some(cell) = self.vms.get(place) {
            cell.store(Some(Arc::clone(vm)));
            self.count.store(place + 1, Ordering::Release);
        }
    }

    /// Adds one more VM.
    pub(crate) fn grow(&self) -> Result<(), LoadError> {
        let _one_at_a_time = self.growing.lock();
        self.add(&self.make()?);
        Ok(())
    }

    fn make(&self) -> Result<Arc<Vm>, LoadError> {
        let (vm, definitions) = Vm::new(&self.host, &self.source, self.group)?;
        self.check(&definitions)?;
        Ok(vm)
    }

    fn check(&self, definitions: &Definitions) -> Result<(), LoadError> {
        if definitions.len() == self.definitions {
            return Ok(());
        }
        Err(LoadError::new(format!(
            "{}: its main chunk defined {} servers this time, and {} before; it has to do the same in every VM",
            self.source.path.display(),
            definitions.len(),
            self.definitions,
        )))
    }

    /// Calls `f` with a VM that nobody works with.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Arc<Vm>, Owner<'_, Engine>) -> R) -> Result<R, LoadError> {
        let count = self.count.load(Ordering::Acquire);
        let last = LAST.get();
        for place in std::iter::once(last).chain(0..count) {
            let Some(cell) = self.vms.get(place) else { continue };
            let mut loaded = cell.load();
            if let Some(vm) = loaded.as_ref().filter(|vm| vm.is_broken()) {
                self.look_after(place, vm);
                loaded = cell.load();
            }
            let Some(vm) = &*loaded else { continue };
            if let Some(owner) = vm.try_own() {
                LAST.set(place);
                let result = f(vm, owner);
                self.look_after(place, vm);
                return Ok(result);
            }
        }
        self.with_another(f)
    }

    /// They are all busy: one more, which is ours before anybody else can see it.
    fn with_another<R>(&self, f: impl FnOnce(&Arc<Vm>, Owner<'_, Engine>) -> R) -> Result<R, LoadError> {
        let growing = self.growing.lock();
        if self.count.load(Ordering::Acquire) >= self.vms.len() {
            return Err(LoadError::new(format!("all {} VMs of group {} are busy", self.vms.len(), self.group)));
        }
        let vm = self.make()?;
        let owner = vm.try_own().ok_or_else(|| LoadError::new("a new VM is busy"))?;
        self.add(&vm);
        drop(growing);
        let result = f(&vm, owner);
        vm.begin();
        Ok(result)
    }

    /// A VM that is broken or has grown too large is replaced; the calls that go on in it end there.
    fn look_after(&self, place: usize, vm: &Arc<Vm>) {
        if vm.is_broken() {
            tracing::error!(
                vm = vm.number,
                group = self.group,
                "a VM did not survive the end of an overdue call; it is replaced"
            );
            return self.replace(place, vm);
        }
        if !vm.is_due(CALLS_PER_LOOK) && !self.source.untrusted {
            return;
        }
        let limit = self.host.limits.vm_bytes;
        // It never has more than the limit where that is a hard one: then what is left has to be enough for the next call.
        let limit = if self.source.untrusted { limit / 4 * 3 } else { limit };
        let Some(used) = vm.try_own().map(|engine| engine.bytes_after_collecting(limit)) else { return };
        if used > limit {
            tracing::error!(
                vm = vm.number,
                group = self.group,
                used,
                limit,
                "a VM uses more memory than --vm-bytes; it is replaced"
            );
            self.replace(place, vm);
        }
    }

    fn replace(&self, place: usize, vm: &Arc<Vm>) {
        match self.make() {
            Ok(fresh) => {
                if let Some(cell) = self.vms.get(place) {
                    cell.store(Some(Arc::clone(&fresh)));
                }
                fresh.begin();
                if vm.is_broken() || self.source.untrusted {
                    // Kept, it could be one of many that are full.
                    vm.abandon();
                } else {
                    self.host.retire(vm);
                }
            }
            Err(error) => tracing::error!(%error, "no VM can take its place"),
        }
    }
}
