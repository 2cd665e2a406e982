//! nginx with nchan, the push server that is in every distribution: found, configured for speed, one process.

use anyhow::{Context, Result, bail};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const MODULE: &str = "ngx_nchan_module.so";
/// Where distributions keep the modules of nginx.
const MODULE_PLACES: [&str; 4] =
    ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules", "/usr/local/nginx/modules"];
/// Beside PATH: not everybody has the administrator's directories in it.
const PROGRAM_PLACES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];
const INSTALL: &str = "on Debian: apt-get install nginx-light libnginx-mod-nchan";

/// What is installed.
#[derive(Clone, Debug)]
pub(crate) struct Nchan {
    pub(crate) program: PathBuf,
    module: PathBuf,
}

impl Nchan {
    /// # Errors
    /// If nginx or the module is not there.
    pub(crate) fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).chain(PROGRAM_PLACES.map(PathBuf::from));
        let program = places.map(|place| place.join("nginx")).find(|path| path.is_file());
        let module = MODULE_PLACES.iter().map(|place| Path::new(place).join(MODULE)).find(|path| path.is_file());
        match (program, module) {
            (Some(program), Some(module)) => Ok(Nchan { program, module }),
            (None, _) => bail!("nginx is not installed ({INSTALL})"),
            (_, None) => bail!("nginx has no nchan ({INSTALL})"),
        }
    }

    /// Writes a configuration into a directory of its own.
    ///
    /// One process that is worker and master at once, so that its account is that of the work. No message is
    /// stored, no log is written, no heartbeat is sent, connections are kept: nothing but push is measured.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub(crate) fn configure(&self, public: SocketAddr, control: SocketAddr, connections: u64) -> Result<Scratch> {
        let scratch = Scratch::new("nchan")?;
        let place = scratch.path().display();
        let module = self.module.display();
        let text = format!(
            "load_module {module};\n\
             daemon off;\nmaster_process off;\nworker_processes 1;\npcre_jit on;\nerror_log stderr error;\npid {place}/pid;\n\
             events {{ use epoll; worker_connections {connections}; }}\n\
             http {{\n\
             access_log off;\nkeepalive_requests 1000000000;\nkeepalive_timeout 1d;\ntcp_nodelay on;\n\
             client_body_temp_path {place}/body;\nproxy_temp_path {place}/proxy;\nfastcgi_temp_path {place}/fastcgi;\n\
             uwsgi_temp_path {place}/uwsgi;\nscgi_temp_path {place}/scgi;\n\
             nchan_shared_memory_size 1G;\nnchan_message_buffer_length 0;\n\
             server {{ listen {public} backlog=4096;\n\
             location ~ ^/events/(.+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1; nchan_eventsource_ping_interval 0; }}\n\
             location ~ ^/stream/(.+)$ {{ nchan_subscriber http-chunked; nchan_channel_id $1; }}\n\
             location ~ ^/ws/(.+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; }}\n\
             }}\n\
             server {{ listen {control} backlog=4096;\n\
             location ~ ^/send/(.+)$ {{ nchan_publisher http; nchan_channel_id $1; }}\n\
             }}\n\
             }}\n"
        );
        fs::write(scratch.configuration(), text).with_context(|| format!("configuration in {place}"))?;
        Ok(scratch)
    }
}

/// A directory that is gone with its value.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!("lf-bench-{name}-{}-{}", std::process::id(), SERIAL.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("temporary directory {}", path.display()))?;
        Ok(Scratch(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.0.join("nginx.conf")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory that stays behind is a nuisance, not an error of the measurement.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_both_addresses_and_goes_with_its_value() {
        let nchan = Nchan { program: "nginx".into(), module: "/x/module.so".into() };
        let (public, control) = ("127.0.0.1:81".parse().unwrap(), "127.0.0.1:82".parse().unwrap());
        let scratch = nchan.configure(public, control, 1000).unwrap();
        let path = scratch.path().to_path_buf();
        let text = fs::read_to_string(scratch.configuration()).unwrap();
        for part in
            ["load_module /x/module.so;", "listen 127.0.0.1:81 ", "listen 127.0.0.1:82 ", "worker_connections 1000;"]
        {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        drop(scratch);
        assert!(!path.exists());
    }
}
