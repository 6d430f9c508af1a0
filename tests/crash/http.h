// A plain, blocking HTTP client that never tries again by itself: whether an answer came is what
// these tests are about.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/json/json.h"
#include "tools/wan/ends.h"

namespace branchline::crash {

struct Answer {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool ok() const { return status >= 200 && status < 300; }
  std::string header(std::string_view name) const;  // empty: not there
  Json json() const;                                // throws Failure where it is none
};

class Http {
 public:
  // `in_flight`, if given, counts requests that were sent and not answered yet. `network`: where
  // the server lives, if not here; outlives this.
  Http(std::string host, uint16_t port, std::string token = "",
       std::atomic<int>* in_flight = nullptr, const wan::Descriptor* network = nullptr);
  Http(const Http&) = delete;
  Http& operator=(const Http&) = delete;
  ~Http() { close(); }

  using Headers = std::vector<std::pair<std::string, std::string>>;
  // Nothing: no connection, or it broke before the answer was complete; the request may have been
  // done or not.
  std::optional<Answer> request(std::string_view method, std::string_view target,
                                std::string_view body = {}, const Headers& headers = {});
  // For tests that misbehave: connects, sends these bytes, leaves the connection open.
  bool send_only(std::string_view bytes);
  void set_patience(std::chrono::seconds s) { patience_ = s; }
  // Requests that went out and were never answered.
  uint64_t unanswered() const { return unanswered_; }
  void close();

 private:
  bool connect();
  bool send_all(std::string_view bytes);
  std::optional<Answer> receive(bool head_only);

  std::string host_;
  uint16_t port_;
  std::string token_;
  std::atomic<int>* in_flight_;
  const wan::Descriptor* network_;
  std::chrono::seconds patience_{30};
  uint64_t unanswered_ = 0;
  int fd_ = -1;
};

}  // namespace branchline::crash
