//! An echo as tokio's own tutorial writes it: one task per connection, `read` and `write_all`.

use super::{BUFFER_BYTES, announce, honour};
use anyhow::{Context, Result};
use socket2::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// A task's own buffer: smaller than the raw loops', which share one per thread.
const TASK_BUFFER_BYTES: usize = BUFFER_BYTES / 16;

pub(super) fn serve(listener: Socket, threads: usize) -> Result<()> {
    runtime(threads)?.block_on(async {
        listener.set_nonblocking(true)?;
        announce(&listener)?;
        let listener = TcpListener::from_std(listener.into())?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(echo(stream))),
                Err(_) => tokio::time::sleep(super::ACCEPT_PAUSE).await,
            }
        }
    })
}

fn runtime(threads: usize) -> Result<Runtime> {
    let mut builder = if threads > 1 { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().context("tokio runtime")
}

/// A handler that blocks, blocks its thread here: it does not know better than to call what it calls.
async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; TASK_BUFFER_BYTES];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        honour(&buffer[..count]);
        stream.write_all(&buffer[..count]).await?;
    }
}
