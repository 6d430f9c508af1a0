#include "tests/crash/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tests/crash/process.h"

namespace branchline::crash {
namespace {

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](unsigned char x, unsigned char y) {
           return std::tolower(x) == std::tolower(y);
         });
}

}  // namespace

std::string Answer::header(std::string_view name) const {
  for (const auto& [n, v] : headers) {
    if (same_name(n, name)) return v;
  }
  return {};
}

Json Answer::json() const {
  auto parsed = parse_json(body, 32);
  if (!parsed) fail_with("an answer is no JSON: " + body.substr(0, 200));
  return std::move(*parsed);
}

Http::Http(std::string host, uint16_t port, std::string token, std::atomic<int>* in_flight,
           const wan::Descriptor* network)
    : host_(std::move(host)),
      port_(port),
      token_(std::move(token)),
      in_flight_(in_flight),
      network_(network) {}

void Http::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

bool Http::connect() {
  if (fd_ >= 0) return true;
  {
    std::optional<wan::Inside> inside;
    if (network_) inside.emplace(*network_);
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  }
  if (fd_ < 0) return false;
  timeval limit{static_cast<time_t>(patience_.count()), 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port_);
  ::inet_pton(AF_INET, host_.c_str(), &to.sin_addr);
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) return true;
  close();
  return false;
}

bool Http::send_all(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool Http::send_only(std::string_view bytes) { return connect() && send_all(bytes); }

std::optional<Answer> Http::request(std::string_view method, std::string_view target,
                                    std::string_view body, const Headers& headers) {
  if (!connect()) return std::nullopt;
  std::string out;
  out.append(method)
      .append(" ")
      .append(target)
      .append(" HTTP/1.1\r\nHost: ")
      .append(host_)
      .append("\r\n");
  if (!token_.empty()) out.append("Authorization: Bearer ").append(token_).append("\r\n");
  for (const auto& [n, v] : headers) out.append(n).append(": ").append(v).append("\r\n");
  if (!body.empty()) out.append("Content-Type: application/json\r\n");
  if (!body.empty() || method != "GET")
    out.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  out.append("\r\n").append(body);
  std::optional<Answer> answer;
  if (send_all(out)) {
    if (in_flight_) ++*in_flight_;
    answer = receive(method == "HEAD");
    if (in_flight_) --*in_flight_;
    if (!answer) ++unanswered_;
  }
  if (!answer || same_name(answer->header("Connection"), "close")) close();
  return answer;
}

std::optional<Answer> Http::receive(bool head_only) {
  std::string bytes;
  size_t head_end = std::string::npos, length = 0;
  Answer out;
  for (;;) {
    if (head_end == std::string::npos) {
      head_end = bytes.find("\r\n\r\n");
      if (head_end != std::string::npos) {
        out.status = std::atoi(bytes.c_str() + std::min<size_t>(9, bytes.size()));
        size_t at = bytes.find("\r\n") + 2;
        while (at < head_end) {
          size_t end = bytes.find("\r\n", at), colon = bytes.find(':', at);
          if (colon < end) {
            size_t value = bytes.find_first_not_of(' ', colon + 1);
            out.headers.emplace_back(bytes.substr(at, colon - at),
                                     bytes.substr(value, end - value));
          }
          at = end + 2;
        }
        if (!head_only) length = std::strtoull(out.header("Content-Length").c_str(), nullptr, 10);
      }
    }
    if (head_end != std::string::npos && bytes.size() >= head_end + 4 + length) {
      out.body = bytes.substr(head_end + 4, length);
      return out;
    }
    char buffer[16 * 1024];
    ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) return std::nullopt;
    bytes.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace branchline::crash
