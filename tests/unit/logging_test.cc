#include "common/logging/logging.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace branchline;

namespace {

std::string json(std::string_view message) {
  std::string out;
  append_json_line(out, 1'796'033'472'003, "info", "hamburg", message);
  return out;
}

}  // namespace

TEST_CASE("a JSON log line") {
  CHECK(json("the link is up") ==
        "{\"ts\":\"2026-11-30T10:11:12.003Z\",\"level\":\"info\",\"server\":\"hamburg\","
        "\"msg\":\"the link is up\"}\n");
}

TEST_CASE("a log line stays one line of valid UTF-8, whatever the message holds") {
  auto message = [](std::string_view in) {
    std::string line = json(in);
    size_t start = line.find("\"msg\":\"") + 7;
    return line.substr(start, line.size() - start - 3);
  };
  CHECK(message("a \"b\" \\ c") == "a \\\"b\\\" \\\\ c");
  CHECK(message("a\nb\r\t\x1b[31m\x7f") == "a\\u000ab\\u000d\\u0009\\u001b[31m\\u007f");
  CHECK(message(std::string_view("\0", 1)) == "\\u0000");
  CHECK(message("Gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80") ==
        "Gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80");
  CHECK(message("\xC2\x9B"
                "31m") == "\\u009b31m");
  const std::string bad = "\xEF\xBF\xBD";
  CHECK(message("\xFFx") == bad + "x");
  CHECK(message("\xC3") == bad);                                // cut off
  CHECK(message("\xC0\xAF") == bad + bad);                      // overlong
  CHECK(message("\xED\xA0\x80") == bad + bad + bad);            // a surrogate
  CHECK(message("\xF4\x90\x80\x80") == bad + bad + bad + bad);  // beyond U+10FFFF

  std::string text;
  append_text_line(text, 1'796'033'472'003, "warn", "hamburg", "one\ntwo \"x\"");
  CHECK(text == "2026-11-30T10:11:12.003Z warn  hamburg one\\u000atwo \"x\"\n");
}

TEST_CASE("logging is set up by name") {
  auto wrong = setup_logging("xml", "info", "hamburg");
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().code == "log.unknown_format");
  wrong = setup_logging("json", "loud", "hamburg");
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().code == "log.unknown_level");
  CHECK_THAT(wrong.error().message, Catch::Contains("debug"));

  // What arrives at stderr.
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  int saved = ::dup(2);
  ::dup2(ends[1], 2);
  auto before = spdlog::default_logger();
  auto done = setup_logging("json", "warn", "hamburg");
  spdlog::info("not this");
  spdlog::warn("but {}", "this");
  ::dup2(saved, 2);
  ::close(saved);
  ::close(ends[1]);
  spdlog::set_default_logger(before);
  REQUIRE(done);
  std::string out(4096, '\0');
  out.resize(static_cast<size_t>(::read(ends[0], out.data(), out.size())));
  ::close(ends[0]);
  CHECK_THAT(out, Catch::StartsWith("{\"ts\":\"2") &&
                      Catch::EndsWith(
                          "Z\",\"level\":\"warn\",\"server\":\"hamburg\",\"msg\":\"but this\"}\n"));
}
