// The log of a server: spdlog's default logger, to stderr, one event per line; a supervisor keeps
// it.
//
// Rule: no secrets and no personal data are ever logged. Not passwords, tokens, keys, certificates'
// contents, request or record bodies, search terms, names or addresses of customers and users; not
// the addresses of HTTP clients either. Ids, names and addresses of servers, counts, sizes and
// durations tell an operator what he needs. A message is for people; a number that programs watch
// belongs into common/metrics.
//
// Use: #include <spdlog/spdlog.h>, then spdlog::info("the link to {} is up", peer). Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace branchline {

// format: "text" or "json"; level: "trace", "debug", "info", "warn", "error" or "off". Call it
// first thing in main(); a second call replaces the first.
// Errors: invalid "log.unknown_format", "log.unknown_level".
Result<void> setup_logging(std::string_view format, std::string_view level,
                           std::string_view server);

// One line each, with its newline; for setup_logging() and tests. Whatever is in `message`, the
// line is one line and, as JSON, valid UTF-8: control characters are escaped, broken UTF-8 becomes
// U+FFFD.
//   {"ts":"2026-11-30T10:11:12.123Z","level":"info","server":"hamburg","msg":"..."}
void append_json_line(std::string& out, int64_t wall_ms, std::string_view level,
                      std::string_view server, std::string_view message);
//   2026-11-30T10:11:12.123Z info  hamburg ...
void append_text_line(std::string& out, int64_t wall_ms, std::string_view level,
                      std::string_view server, std::string_view message);

}  // namespace branchline
