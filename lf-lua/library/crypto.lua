---@meta
-- Digests, encodings, random bytes, URIs.

---@class lf.base64
lf.base64 = {}

---Bytes as base64, with padding.
---@param bytes string
---@return string
function lf.base64.encode(bytes) end

---Bytes of base64 text with padding.
---@param text string
---@return string? bytes
---@return string? err
function lf.base64.decode(text) end

---Bytes as base64 in the alphabet for URLs, without padding.
---@param bytes string
---@return string
function lf.base64.encode_url(bytes) end

---Bytes of base64 text in the alphabet for URLs, with or without padding.
---@param text string
---@return string? bytes
---@return string? err
function lf.base64.decode_url(text) end

---The MD5 digest in hexadecimal digits.
---@param bytes string
---@return string
function lf.md5(bytes) end

---The MD5 digest, 16 bytes.
---@param bytes string
---@return string
function lf.md5_bin(bytes) end

---The SHA-1 digest in hexadecimal digits.
---@param bytes string
---@return string
function lf.sha1(bytes) end

---The SHA-1 digest, 20 bytes.
---@param bytes string
---@return string
function lf.sha1_bin(bytes) end

---The SHA-256 digest in hexadecimal digits.
---@param bytes string
---@return string
function lf.sha256(bytes) end

---The SHA-256 digest, 32 bytes.
---@param bytes string
---@return string
function lf.sha256_bin(bytes) end

---The authentication code of bytes under a key, in hexadecimal digits.
---@param algorithm "md5"|"sha1"|"sha256"
---@param key string
---@param bytes string
---@return string? code
---@return string? err
function lf.hmac(algorithm, key, bytes) end

---The authentication code of bytes under a key.
---@param algorithm "md5"|"sha1"|"sha256"
---@param key string
---@param bytes string
---@return string? code
---@return string? err
function lf.hmac_bin(algorithm, key, bytes) end

---The CRC-32 checksum, as zlib has it.
---@param bytes string
---@return integer
function lf.crc32(bytes) end

---Bytes as hexadecimal digits.
---@param bytes string
---@return string
function lf.hex(bytes) end

---Bytes of hexadecimal digits.
---@param digits string
---@return string? bytes
---@return string? err
function lf.unhex(digits) end

---Random bytes of the system, at most a megabyte.
---@param count integer
---@return string? bytes
---@return string? err
function lf.random_bytes(count) end

---A random UUID of version 4.
---@return string? uuid
---@return string? err
function lf.uuid() end

---Text with everything percent-encoded but the unreserved characters of RFC 3986.
---@param text string
---@return string
function lf.escape_uri(text) end

---Percent-encoded text decoded, with `+` as a space. What is not an escape stays.
---@param text string
---@return string
function lf.unescape_uri(text) end

---The query of arguments, sorted by key: `true` stands alone, `false` is left out, a table repeats its key.
---@param arguments table<string|number, string|number|boolean|(string|number|boolean)[]>
---@return string? query
---@return string? err
function lf.encode_args(arguments) end

---The arguments of a query; a key that comes more than once has a table of its values.
---@param query string
---@param max? integer Arguments that are read, 100 unless given; 0: all.
---@return table<string, string|boolean|(string|boolean)[]> arguments
---@return "truncated"? truncated There were more than `max`.
function lf.decode_args(query, max) end
