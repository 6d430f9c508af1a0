// A plain HTTP client for command lines: one request at a time, over connections that it keeps.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/error.h"

namespace branchline {

struct ClientResponse {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::string header(std::string_view name) const;
};

class HttpClient {
 public:
  // "http://127.0.0.1:7410" or "127.0.0.1:7410".
  explicit HttpClient(const std::string& base);
  ~HttpClient();
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;

  using Headers = std::vector<std::pair<std::string, std::string>>;
  // `unavailable` where nobody answers in time. An answer of any status is a value.
  Result<ClientResponse> request(const std::string& method, const std::string& target,
                                 const std::string& body = {}, const Headers& headers = {});
  void set_token(std::string token);
  void set_timeout_ms(int64_t ms);
  const std::string& base() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The code of an error body; empty where it is none.
std::string error_code(const ClientResponse& response);
// The message of an error body, or the body's beginning.
std::string error_text(const ClientResponse& response);

}  // namespace branchline
