// Questions and small work for the ingest thread, awaited on the I/O thread.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>

#include "master/ingest/ingest_loop.h"

namespace branchline {

// Runs on the ingest thread, its answer comes back to the I/O thread.
template <typename T>
boost::asio::awaitable<T> on_ingest(
    IngestLoop& loop, std::move_only_function<T(Ingest&, const IngestLoop::Tools&)> task) {
  auto start = [&loop, task = std::move(task)](auto handler) mutable {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    loop.post(
        [task = std::move(task), shared](Ingest& ingest, const IngestLoop::Tools& tools) mutable {
          auto result = std::make_shared<T>(task(ingest, tools));
          return std::move_only_function<void()>(
              [shared, result] { (std::move(*shared))(std::move(*result)); });
        });
  };
  co_return co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(T)>(
      std::move(start), boost::asio::use_awaitable);
}

}  // namespace branchline
