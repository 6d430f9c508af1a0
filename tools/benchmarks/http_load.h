// The client: one thread, raw sockets, keep-alive connections. The same for subject and floor.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace branchline::bench {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point begin);
double median(std::vector<double> values);

// Appends a request to `out`. `body` empty: no body.
void append_request(std::string& out, std::string_view method, std::string_view target,
                    std::string_view headers, std::string_view body);

class Connection {
 public:
  // Throws where nobody listens.
  explicit Connection(uint16_t port, const std::string& host = "127.0.0.1");
  ~Connection();
  Connection(Connection&&) noexcept;
  Connection(const Connection&) = delete;

  int fd() const { return fd_; }
  void send(std::string_view request);
  // Takes what has arrived (blocks where `wait`); true when an answer is complete.
  bool receive(bool wait);
  // Of the complete answer, until the next send().
  int status() const { return status_; }
  std::string_view head() const;
  std::string_view body() const;
  // A header's value, name in the server's spelling.
  std::string_view header(std::string_view name) const;

 private:
  int fd_ = -1;
  std::string in_;
  size_t head_end_ = 0, total_ = 0;
  int status_ = 0;
};

struct LoadResult {
  uint64_t requests = 0, failed = 0;
  double seconds = 0;
  std::vector<uint32_t> latencies_ns;
  std::string first_failure;
  double rate() const { return seconds > 0 ? static_cast<double>(requests) / seconds : 0; }
  // 0 to 1; in microseconds.
  double percentile_us(double p) const;
};

struct LoadPlan {
  uint16_t port = 0;
  std::string host = "127.0.0.1";
  int connections = 1;
  double seconds = 0;     // how long, or
  uint64_t requests = 0;  // how many
  std::function<void(std::string& out, int connection)> make;
  std::function<void(const Connection& answer, int connection)> answered;  // optional
};
// Each connection sends its next request when its answer is there.
LoadResult closed_loop(const LoadPlan& plan);

}  // namespace branchline::bench
