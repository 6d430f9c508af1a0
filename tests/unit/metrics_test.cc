#include "common/metrics/metrics.h"

#include <catch2/catch.hpp>
#include <thread>

using namespace branchline;
using Catch::Matchers::Contains;

TEST_CASE("metrics are counted and rendered") {
  Metrics metrics;
  auto& refused =
      metrics.counter("branchline_link_refused_total", "Connections refused", {{"why", "name"}});
  refused.Increment(3);
  CHECK(&metrics.counter("branchline_link_refused_total", "Connections refused",
                         {{"why", "name"}}) == &refused);
  CHECK(&metrics.counter("branchline_link_refused_total", "Connections refused",
                         {{"why", "tls"}}) != &refused);
  metrics.gauge("branchline_link_queued_bytes", "Bytes that wait").Set(7);
  auto& latency = metrics.histogram("branchline_commit_seconds", "Commit latency", {0.1, 1});
  latency.Observe(0.05);
  latency.Observe(5);
  std::string page = metrics.render_metrics();
  CHECK_THAT(page, Contains("# HELP branchline_link_refused_total Connections refused\n"
                            "# TYPE branchline_link_refused_total counter\n"));
  CHECK_THAT(page, Contains("branchline_link_refused_total{why=\"name\"} 3\n"));
  CHECK_THAT(page, Contains("branchline_link_queued_bytes 7\n"));
  CHECK_THAT(page, Contains("branchline_commit_seconds_bucket{le=\"0.1\"} 1\n"));
  CHECK_THAT(page, Contains("branchline_commit_seconds_bucket{le=\"+Inf\"} 2\n"));
  CHECK_THAT(page, Contains("branchline_commit_seconds_count 2\n"));

  CHECK_THROWS(metrics.gauge("branchline_link_refused_total", "Connections refused"));
  CHECK_THROWS(metrics.counter("no good name", ""));
}

TEST_CASE("metrics count from many threads while they are rendered") {
  Metrics metrics;
  auto& counter = metrics.counter("branchline_x_total", "x");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 1000; ++n) counter.Increment();
    });
  }
  for (int i = 0; i < 100; ++i) metrics.render_metrics();
  for (auto& thread : threads) thread.join();
  CHECK(counter.Value() == 4000);
}
