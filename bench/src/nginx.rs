//! nginx: found with its modules, and configured for speed in a directory of its own.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Where distributions keep the modules of nginx.
const MODULE_PLACES: [&str; 4] =
    ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules", "/usr/local/nginx/modules"];
/// Beside PATH: not everybody has the administrator's directories in it.
const PROGRAM_PLACES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];
/// Connections that nginx makes room for; it takes the memory at the start.
const CONNECTIONS_MAX: u64 = 100_000;

/// What is installed.
#[derive(Clone, Debug)]
pub(crate) struct Nginx {
    program: PathBuf,
    modules: Vec<PathBuf>,
}

impl Nginx {
    /// nginx and the modules it is to load, in their order; `remedy` says how to install them.
    ///
    /// # Errors
    /// If one is not there.
    pub(crate) fn find(modules: &[&str], remedy: &str) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).chain(PROGRAM_PLACES.map(PathBuf::from));
        let Some(program) = places.map(|place| place.join("nginx")).find(|path| path.is_file()) else {
            bail!("nginx is not installed ({remedy})");
        };
        let find = |name: &&str| {
            let found = MODULE_PLACES.iter().map(|place| Path::new(place).join(name)).find(|path| path.is_file());
            found.with_context(|| format!("nginx has no {name} ({remedy})"))
        };
        Ok(Nginx { program, modules: modules.iter().map(find).collect::<Result<Vec<PathBuf>>>()? })
    }

    /// Writes a configuration into a directory of its own; `http` stands in its `http` block.
    ///
    /// One process that is worker and master at once, so that its account is that of the work. No log is written,
    /// connections are kept.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub(crate) fn configure(&self, http: &str) -> Result<Scratch> {
        let connections = crate::limits::raise_descriptors().unwrap_or(CONNECTIONS_MAX).min(CONNECTIONS_MAX);
        let scratch = Scratch::new("nginx")?;
        let place = scratch.path().display();
        let modules: String =
            self.modules.iter().map(|module| format!("load_module {};\n", module.display())).collect();
        let text = format!(
            "{modules}\
             daemon off;\nmaster_process off;\nworker_processes 1;\npcre_jit on;\nerror_log stderr error;\npid {place}/pid;\n\
             events {{ use epoll; worker_connections {connections}; }}\n\
             http {{\n\
             access_log off;\nkeepalive_requests 1000000000;\nkeepalive_timeout 1d;\ntcp_nodelay on;\n\
             client_body_temp_path {place}/body;\nproxy_temp_path {place}/proxy;\nfastcgi_temp_path {place}/fastcgi;\n\
             uwsgi_temp_path {place}/uwsgi;\nscgi_temp_path {place}/scgi;\n\
             {http}}}\n"
        );
        let file = configuration(&scratch);
        fs::write(&file, text).with_context(|| format!("configuration {}", file.display()))?;
        Ok(scratch)
    }

    /// The command that runs what was configured.
    pub(crate) fn command(&self, scratch: &Scratch) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-p").arg(scratch.path()).arg("-c").arg(configuration(scratch));
        command
    }
}

fn configuration(scratch: &Scratch) -> PathBuf {
    scratch.path().join("nginx.conf")
}

/// A directory that is gone with its value.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn new(name: &str) -> Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!("lf-bench-{name}-{}-{}", std::process::id(), SERIAL.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("temporary directory {}", path.display()))?;
        Ok(Scratch(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
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
    fn a_configuration_loads_the_modules_in_order_and_goes_with_its_value() {
        let nginx = Nginx { program: "nginx".into(), modules: vec!["/x/first.so".into(), "/x/second.so".into()] };
        let scratch = nginx.configure("server { listen 81; }\n").unwrap();
        let path = scratch.path().to_path_buf();
        let text = fs::read_to_string(configuration(&scratch)).unwrap();
        assert!(text.starts_with("load_module /x/first.so;\nload_module /x/second.so;\n"), "{text}");
        assert!(text.ends_with("server { listen 81; }\n}\n"), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_module_that_is_missing_is_named_with_the_remedy() {
        let error =
            Nginx::find(&["ngx_nonexistent_module.so"], "on Debian: apt-get install x").unwrap_err().to_string();
        assert!(error.contains("apt-get install x") && error.contains("nginx"), "{error}");
    }
}
