// An HTTP server's part in an orderly stop: a task that waits for it, then lets answers under way
// finish.
#pragma once

#include "common/http/http.h"
#include "common/runtime/runtime.h"

namespace branchline {

inline boost::asio::awaitable<void> drain_on_stop(Runtime& runtime, HttpServer& server) {
  Event stopped(runtime.io().get_executor());
  auto handle = runtime.tasks().on_stop([&] {
    server.stop();
    stopped.notify();
  });
  while (!runtime.tasks().stopping()) co_await stopped.wait();
  co_await server.drained(3'000);
}

}  // namespace branchline
