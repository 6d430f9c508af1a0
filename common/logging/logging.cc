#include "common/logging/logging.h"

#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>

namespace branchline {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

void append_time(std::string& out, int64_t wall_ms) {
  std::time_t seconds = static_cast<std::time_t>(wall_ms / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[40];
  size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  out.append(text, size);
  int written = std::snprintf(text, sizeof text, ".%03dZ", static_cast<int>(wall_ms % 1000));
  out.append(text, static_cast<size_t>(written));
}

// Bytes of the well-formed UTF-8 sequence at the start of `in`, or 0 (RFC 3629: no surrogates, no
// overlong forms).
size_t sequence(std::string_view in) {
  auto at = [&](size_t i) { return i < in.size() ? static_cast<uint8_t>(in[i]) : 0; };
  auto follows = [&](size_t i, int low = 0x80, int high = 0xBF) {
    return at(i) >= low && at(i) <= high;
  };
  int lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return follows(1) ? 2 : 0;
  if (lead == 0xE0) return follows(1, 0xA0) && follows(2) ? 3 : 0;
  if (lead == 0xED) return follows(1, 0x80, 0x9F) && follows(2) ? 3 : 0;
  if (lead >= 0xE1 && lead <= 0xEF) return follows(1) && follows(2) ? 3 : 0;
  if (lead == 0xF0) return follows(1, 0x90) && follows(2) && follows(3) ? 4 : 0;
  if (lead >= 0xF1 && lead <= 0xF3) return follows(1) && follows(2) && follows(3) ? 4 : 0;
  if (lead == 0xF4) return follows(1, 0x80, 0x8F) && follows(2) && follows(3) ? 4 : 0;
  return 0;
}

void append_escaped(std::string& out, std::string_view in, bool json) {
  while (!in.empty()) {
    size_t size = sequence(in);
    uint8_t c = static_cast<uint8_t>(in[0]);
    if (size == 0) {
      out += kReplacement;
      size = 1;
    } else if (c < 0x20 || c == 0x7f || (c == 0xC2 && static_cast<uint8_t>(in[1]) < 0xA0)) {
      // In text too: a newline that a peer sent must not look like a line of ours, nor drive a
      // terminal.
      char text[8];
      std::snprintf(text, sizeof text, "\\u%04x", size == 1 ? c : static_cast<uint8_t>(in[1]));
      out += text;
    } else if (json && (c == '"' || c == '\\')) {
      out += '\\';
      out += static_cast<char>(c);
    } else {
      out += in.substr(0, size);
    }
    in.remove_prefix(size);
  }
}

std::string_view name_of(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
      return "trace";
    case spdlog::level::debug:
      return "debug";
    case spdlog::level::info:
      return "info";
    case spdlog::level::warn:
      return "warn";
    case spdlog::level::err:
      return "error";
    case spdlog::level::critical:
      return "fatal";
    default:
      return "off";
  }
}

class LineFormatter : public spdlog::formatter {
 public:
  LineFormatter(bool json, std::string server) : json_(json), server_(std::move(server)) {}

  void format(const spdlog::details::log_msg& event, spdlog::memory_buf_t& out) override {
    int64_t ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(event.time.time_since_epoch())
            .count();
    std::string_view message(event.payload.data(), event.payload.size());
    std::string line;
    (json_ ? append_json_line : append_text_line)(line, ms, name_of(event.level), server_, message);
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<LineFormatter>(json_, server_);
  }

 private:
  bool json_;
  std::string server_;
};

}  // namespace

void append_json_line(std::string& out, int64_t wall_ms, std::string_view level,
                      std::string_view server, std::string_view message) {
  out += "{\"ts\":\"";
  append_time(out, wall_ms);
  out += "\",\"level\":\"";
  out += level;
  out += "\",\"server\":\"";
  append_escaped(out, server, true);
  out += "\",\"msg\":\"";
  append_escaped(out, message, true);
  out += "\"}\n";
}

void append_text_line(std::string& out, int64_t wall_ms, std::string_view level,
                      std::string_view server, std::string_view message) {
  append_time(out, wall_ms);
  out += ' ';
  out += level;
  out.append(level.size() < 6 ? 6 - level.size() : 1, ' ');
  append_escaped(out, server, false);
  out += ' ';
  append_escaped(out, message, false);
  out += '\n';
}

Result<void> setup_logging(std::string_view format, std::string_view level,
                           std::string_view server) {
  if (format != "text" && format != "json") {
    return fail(ErrorKind::invalid, "log.unknown_format",
                "the log format '" + std::string(format) + "' is unknown; use text or json");
  }
  for (auto candidate : {spdlog::level::trace, spdlog::level::debug, spdlog::level::info,
                         spdlog::level::warn, spdlog::level::err, spdlog::level::off}) {
    if (level != name_of(candidate)) continue;
    auto logger = std::make_shared<spdlog::logger>(
        "branchline", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_formatter(std::make_unique<LineFormatter>(format == "json", std::string(server)));
    logger->set_level(candidate);
    spdlog::set_default_logger(std::move(logger));
    return {};
  }
  return fail(ErrorKind::invalid, "log.unknown_level",
              "the log level '" + std::string(level) +
                  "' is unknown; use trace, debug, info, warn, error or off");
}

}  // namespace branchline
