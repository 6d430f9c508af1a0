#include "common/runtime/stop_signals.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <cerrno>

#include "common/base/check.h"

namespace branchline {
namespace {

// What the handler may touch: lock-free atomics are all that is safe there.
std::atomic<int> event_fd{-1};
std::atomic<int> first_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int signal) {
  int saved = errno;
  int none = 0;
  if (!first_signal.compare_exchange_strong(none, signal)) _exit(1);
  uint64_t one = 1;
  [[maybe_unused]] ssize_t n = ::write(event_fd.load(), &one, sizeof one);
  errno = saved;
}

}  // namespace

StopSignals::StopSignals(boost::asio::io_context& io, std::function<void(int signal)> on_stop)
    : descriptor_(io, ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), on_stop_(std::move(on_stop)) {
  int none = -1;
  BL_CHECK(event_fd.compare_exchange_strong(none, descriptor_.native_handle()));
  first_signal = 0;
  descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                         [this](const boost::system::error_code& error) {
                           if (!error) on_stop_(first_signal.load());
                         });
  struct sigaction action{};
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  action.sa_handler = on_signal;
  BL_CHECK(::sigaction(SIGINT, &action, &old_int_) == 0);
  BL_CHECK(::sigaction(SIGTERM, &action, &old_term_) == 0);
  action.sa_handler = SIG_IGN;
  BL_CHECK(::sigaction(SIGPIPE, &action, &old_pipe_) == 0);
}

StopSignals::~StopSignals() {
  ::sigaction(SIGINT, &old_int_, nullptr);
  ::sigaction(SIGTERM, &old_term_, nullptr);
  ::sigaction(SIGPIPE, &old_pipe_, nullptr);
  event_fd = -1;
}

}  // namespace branchline
