//! nginx with nchan, the push server that is in every distribution.

use crate::nginx::Nginx;
use anyhow::Result;
use std::net::SocketAddr;

const INSTALL: &str = "on Debian: apt-get install nginx-light libnginx-mod-nchan";

/// # Errors
/// If nginx or the module is not there.
pub(crate) fn find() -> Result<Nginx> {
    Nginx::find(&["ngx_nchan_module.so"], INSTALL)
}

/// No message is stored and no heartbeat is sent: nothing but push is measured.
pub(crate) fn configuration(public: SocketAddr, control: SocketAddr) -> String {
    format!(
        "nchan_shared_memory_size 1G;\nnchan_message_buffer_length 0;\n\
         server {{ listen {public} backlog=4096;\n\
         location ~ ^/events/(.+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1; nchan_eventsource_ping_interval 0; }}\n\
         location ~ ^/stream/(.+)$ {{ nchan_subscriber http-chunked; nchan_channel_id $1; }}\n\
         location ~ ^/ws/(.+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; }}\n\
         }}\n\
         server {{ listen {control} backlog=4096;\n\
         location ~ ^/send/(.+)$ {{ nchan_publisher http; nchan_channel_id $1; }}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_both_addresses() {
        let text = configuration("127.0.0.1:81".parse().unwrap(), "127.0.0.1:82".parse().unwrap());
        assert!(text.contains("listen 127.0.0.1:81 ") && text.contains("listen 127.0.0.1:82 "), "{text}");
    }
}
