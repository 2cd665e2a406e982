//! The C original's shape: an acceptor deals round robin to 2 epoll sets; the 5 workers of each all sit
//! in `epoll_wait` with a batch of 1, and the kernel passes the baton.

use super::oneshot::spawn_worker;
use super::peer::Table;
use super::{accept_each, announce};
use anyhow::{Context, Result};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use socket2::Socket;
use std::sync::Arc;

const GROUPS: usize = 2;
const WORKERS_PER_GROUP: usize = 5;

pub(super) fn serve(listener: &Socket) -> Result<()> {
    let table = Arc::new(Table::new());
    let mut groups = Vec::with_capacity(GROUPS);
    for group in 0..GROUPS {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC).context("epoll_create1")?);
        for worker in 0..WORKERS_PER_GROUP {
            spawn_worker(format!("group{group}-{worker}"), epoll.clone(), table.clone(), 1)?;
        }
        groups.push(epoll);
    }
    announce(listener)?;
    let mut turn = 0;
    accept_each(listener, |socket| {
        let epoll = &groups[turn % GROUPS];
        turn += 1;
        table.enter(socket, |fd, data| {
            epoll::add(epoll, fd, EventData::new_u64(data), EventFlags::IN | EventFlags::ONESHOT)
        });
    })
}
