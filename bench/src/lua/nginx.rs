//! nginx with lua-nginx-module, asked for the same pages as lf-lua.

use crate::nginx::Nginx;
use anyhow::Result;
use std::net::SocketAddr;

const INSTALL: &str = "on Debian: apt-get install nginx-light libnginx-mod-http-lua";

/// # Errors
/// If nginx or one of the modules is not there.
pub(crate) fn find() -> Result<Nginx> {
    Nginx::find(&["ndk_http_module.so", "ngx_http_lua_module.so"], INSTALL)
}

/// The pages of `hello.lua`. They are sent in chunks: telling their length beforehand costs nginx more than it spares.
pub(crate) fn configuration(address: SocketAddr) -> String {
    format!(
        "lua_code_cache on;\n\
         init_by_lua_block {{ require('ffi').cdef 'int usleep(unsigned int us);' }}\n\
         server {{ listen {address} backlog=4096;\n\
         default_type text/plain;\n\
         location = /hello {{ content_by_lua_block {{ ngx.print('hello\\n') }} }}\n\
         location = /block {{ content_by_lua_block {{ require('ffi').C.usleep(10000) ngx.print('hello\\n') }} }}\n\
         }}\n"
    )
}
