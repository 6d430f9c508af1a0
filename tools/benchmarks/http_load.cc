#include "tools/benchmarks/http_load.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "tools/benchmarks/process.h"

namespace branchline::bench {

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void append_request(std::string& out, std::string_view method, std::string_view target,
                    std::string_view headers, std::string_view body) {
  out += method;
  out += " ";
  out += target;
  out += " HTTP/1.1\r\nHost: 127.0.0.1\r\n";
  out += headers;
  if (!body.empty()) {
    out += "Content-Type: application/json\r\nContent-Length: ";
    out += std::to_string(body.size());
    out += "\r\n";
  }
  out += "\r\n";
  out += body;
}

Connection::Connection(uint16_t port, const std::string& host) {
  {
    const auto inside = inside_of(port);
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    int error = errno;
    ::close(fd_);
    throw std::runtime_error("port " + std::to_string(port) + ": " + std::strerror(error));
  }
  int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Connection::~Connection() {
  if (fd_ >= 0) ::close(fd_);
}

Connection::Connection(Connection&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      in_(std::move(other.in_)),
      head_end_(other.head_end_),
      total_(other.total_),
      status_(other.status_) {}

void Connection::send(std::string_view request) {
  in_.erase(0, total_);
  head_end_ = total_ = 0;
  while (!request.empty()) {
    ssize_t n = ::send(fd_, request.data(), request.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw std::runtime_error("the server closed the connection");
    request.remove_prefix(static_cast<size_t>(n));
  }
}

bool Connection::receive(bool wait) {
  for (;;) {
    if (head_end_ == 0) {
      size_t end = in_.find("\r\n\r\n");
      if (end != std::string::npos) {
        head_end_ = end + 4;
        status_ = std::atoi(in_.c_str() + 9);
        std::string_view length = header("Content-Length");
        total_ = head_end_ + (length.empty() ? 0 : std::strtoull(length.data(), nullptr, 10));
      }
    }
    if (head_end_ != 0 && in_.size() >= total_) return true;
    char chunk[16 * 1024];
    ssize_t n = ::recv(fd_, chunk, sizeof chunk, wait ? 0 : MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    if (n <= 0) throw std::runtime_error("the server closed the connection");
    in_.append(chunk, static_cast<size_t>(n));
  }
}

std::string_view Connection::head() const { return std::string_view(in_).substr(0, head_end_); }
std::string_view Connection::body() const {
  return std::string_view(in_).substr(head_end_, total_ - head_end_);
}

std::string_view Connection::header(std::string_view name) const {
  std::string_view rest = head();
  std::string wanted = "\r\n" + std::string(name) + ": ";
  size_t at = rest.find(wanted);
  if (at == std::string_view::npos) return {};
  rest.remove_prefix(at + wanted.size());
  return rest.substr(0, rest.find("\r\n"));
}

double LoadResult::percentile_us(double p) const {
  if (latencies_ns.empty()) return 0;
  std::vector<uint32_t> sorted = latencies_ns;
  size_t at =
      std::min(sorted.size() - 1, static_cast<size_t>(p * static_cast<double>(sorted.size())));
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(at), sorted.end());
  return sorted[at] / 1000.0;
}

LoadResult closed_loop(const LoadPlan& plan) {
  LoadResult out;
  struct Lane {
    Connection connection;
    Clock::time_point sent;
    std::string request;
  };
  std::vector<Lane> lanes;
  for (int i = 0; i < plan.connections; ++i)
    lanes.push_back({Connection(plan.port, plan.host), {}, {}});
  auto begin = Clock::now();
  auto end = begin + std::chrono::nanoseconds(static_cast<int64_t>(plan.seconds * 1e9));
  uint64_t started = 0;
  auto next = [&](int i) {
    if (plan.requests > 0 ? started >= plan.requests : Clock::now() >= end) return false;
    Lane& lane = lanes[static_cast<size_t>(i)];
    lane.request.clear();
    plan.make(lane.request, i);
    ++started;
    lane.sent = Clock::now();
    lane.connection.send(lane.request);
    return true;
  };
  auto take = [&](int i) {
    Lane& lane = lanes[static_cast<size_t>(i)];
    auto spent =
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - lane.sent).count();
    out.latencies_ns.push_back(static_cast<uint32_t>(std::min<int64_t>(spent, UINT32_MAX)));
    ++out.requests;
    if (lane.connection.status() >= 300) {
      ++out.failed;
      if (out.first_failure.empty()) {
        out.first_failure =
            std::to_string(lane.connection.status()) + " " + std::string(lane.connection.body());
      }
    }
    if (plan.answered) plan.answered(lane.connection, i);
  };
  if (plan.connections == 1) {
    while (next(0)) {
      lanes[0].connection.receive(true);
      take(0);
    }
  } else {
    int poll = ::epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < plan.connections; ++i) {
      epoll_event event{EPOLLIN, {.u32 = static_cast<uint32_t>(i)}};
      ::epoll_ctl(poll, EPOLL_CTL_ADD, lanes[static_cast<size_t>(i)].connection.fd(), &event);
    }
    int open = 0;
    for (int i = 0; i < plan.connections; ++i) open += next(i) ? 1 : 0;
    epoll_event events[128];
    while (open > 0) {
      int n = ::epoll_wait(poll, events, 128, 30'000);
      if (n == 0) {
        ::close(poll);
        throw std::runtime_error("no answer in 30 seconds");
      }
      for (int e = 0; e < n; ++e) {
        int i = static_cast<int>(events[e].data.u32);
        if (!lanes[static_cast<size_t>(i)].connection.receive(false)) continue;
        take(i);
        if (!next(i)) --open;
      }
    }
    ::close(poll);
  }
  out.seconds = seconds_since(begin);
  return out;
}

}  // namespace branchline::bench
