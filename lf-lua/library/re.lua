---@meta
-- Regular expressions, in time linear in the subject: without back-references and look-around.

---@class lf.re
lf.re = {}

---Groups by number, [0] all of it, and by name; `false` for a group that took no part.
---@alias lf.re.Captures table<integer|string, string|false>

---Where to begin: a position, or a table whose `pos` is one and moves behind what was found.
---@alias lf.re.Start integer|{ pos: integer }

---The first match. Options: `i` any case, `m` `^` and `$` at lines, `s` `.` matches newlines, `x` spaces and comments,
---`u` Unicode classes; `j` and `o` are accepted.
---@param subject string
---@param regex string
---@param options? string
---@param start? lf.re.Start
---@return lf.re.Captures? captures
---@return string? err
function lf.re.match(subject, regex, options, start) end

---Where the first match, or a group of it, is.
---@param subject string
---@param regex string
---@param options? string
---@param start? lf.re.Start
---@param group? integer
---@return integer? from
---@return integer? to
---@return string? err
function lf.re.find(subject, regex, options, start, group) end

---An iterator over all matches.
---@param subject string
---@param regex string
---@param options? string
---@return (fun(): lf.re.Captures?)? iterator
---@return string? err
function lf.re.gmatch(subject, regex, options) end

---The subject with the first match replaced: `$0`, `$1`, `${1}`, `${name}`, `$$`, or what a function answers.
---@param subject string
---@param regex string
---@param replacement string|fun(captures: lf.re.Captures): string|number
---@param options? string
---@return string? replaced
---@return integer? count
---@return string? err
function lf.re.sub(subject, regex, replacement, options) end

---The subject with all matches replaced.
---@param subject string
---@param regex string
---@param replacement string|fun(captures: lf.re.Captures): string|number
---@param options? string
---@return string? replaced
---@return integer? count
---@return string? err
function lf.re.gsub(subject, regex, replacement, options) end

---The parts between matches, with the groups of the matches in between.
---@param subject string
---@param regex string
---@param options? string
---@param start? lf.re.Start
---@param max? integer Parts at most; 0: no limit.
---@return string[]? parts
---@return string? err
function lf.re.split(subject, regex, options, start, max) end
