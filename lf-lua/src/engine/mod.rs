//! Running scripts: VMs that one thread at a time works with, and the calls that are suspended in them.

mod command;
mod deadlines;
mod host;
mod pool;
mod runtime;
mod seal;
mod sys;
mod vm;

pub(crate) use command::Command;
pub(crate) use host::{Host, Limits};
pub(crate) use pool::Pool;
pub(crate) use runtime::Runtime;
pub(crate) use seal::{Named, Seal};
pub(crate) use sys::{Arg, Native, Reply, Values, Watch, in_time, install, is_overdue, native};
pub(crate) use vm::{Compat, Completion, Event, LoadError, Report, Request, Served, Source, Tests, Vm, header_of};
