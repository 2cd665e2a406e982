//! `EPOLLONESHOT` and re-arm, batch 64, on one serving thread, with a thread that accepts: what lf's
//! default costs without lf.

use super::peer::{Table, new_buffer};
use super::{accept_each, announce};
use anyhow::{Context, Result};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use socket2::Socket;
use std::os::fd::OwnedFd;
use std::sync::Arc;

const BATCH: usize = 64;

pub(super) fn serve(listener: &Socket) -> Result<()> {
    let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC).context("epoll_create1")?);
    let table = Arc::new(Table::new());
    spawn_worker("worker".to_owned(), epoll.clone(), table.clone(), BATCH)?;
    announce(listener)?;
    accept_each(listener, |socket| {
        table.enter(socket, |fd, data| {
            epoll::add(&epoll, fd, EventData::new_u64(data), EventFlags::IN | EventFlags::ONESHOT)
        });
    })
}

/// A thread that waits for up to `batch` events at a time and serves them.
pub(super) fn spawn_worker(name: String, epoll: Arc<OwnedFd>, table: Arc<Table>, batch: usize) -> Result<()> {
    let work = move || {
        let mut buffer = new_buffer();
        let mut events: Vec<Event> = Vec::with_capacity(batch);
        loop {
            events.clear();
            match epoll::wait(&*epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                // Only a bad descriptor or buffer, which this program does not pass.
                Err(_) => std::process::abort(),
            }
            for event in &events {
                let data = event.data.u64();
                table.turn(data, &mut buffer, |fd, flags| {
                    epoll::modify(&*epoll, fd, EventData::new_u64(data), flags | EventFlags::ONESHOT)
                });
            }
        }
    };
    std::thread::Builder::new().name(name).spawn(work).context("worker thread").map(drop)
}
