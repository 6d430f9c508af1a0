// SIGINT and SIGTERM: the first asks for an orderly stop, the second ends the process.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <csignal>
#include <functional>

namespace boost::asio {
class io_context;
}

namespace branchline {

// At most one per process at a time, as signals are the process's. While it lives:
// - the first signal calls `on_stop` on the I/O thread;
// - the second calls _exit(1) from within the signal handler: also when the I/O thread hangs;
// - SIGPIPE is ignored.
// Destroying it restores the handlers that were before.
class StopSignals {
 public:
  StopSignals(boost::asio::io_context& io, std::function<void(int signal)> on_stop);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  boost::asio::posix::stream_descriptor descriptor_;
  std::function<void(int signal)> on_stop_;
  struct sigaction old_int_, old_term_, old_pipe_;
};

}  // namespace branchline
