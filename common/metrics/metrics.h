// The numbers of a server for Prometheus. One Metrics per server, made by its composition root and
// handed to the parts that count. A part asks for its metric once, in its constructor, and keeps
// the reference: looking one up takes a lock, counting only an atomic addition.
//
// Names: branchline_<part>_<what>_<unit>[_total], e.g. branchline_link_received_bytes_total. Labels
// are few and bounded: names of servers, of entity types, of outcomes; never ids, users or
// customers.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <string>
#include <vector>

namespace branchline {

// Thread-safe. The references live as long as this.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  // The same name and labels give the same metric. A malformed name or label, or a name that is
  // already of another kind, is a bug and throws std::invalid_argument.
  prometheus::Counter& counter(const std::string& name, const std::string& help,
                               const Labels& labels = {});
  prometheus::Gauge& gauge(const std::string& name, const std::string& help,
                           const Labels& labels = {});
  // `bounds`: upper bounds of the buckets, ascending.
  prometheus::Histogram& histogram(const std::string& name, const std::string& help,
                                   const std::vector<double>& bounds, const Labels& labels = {});

  // All of them in Prometheus' text format 0.0.4; content type kMetricsContentType.
  std::string render_metrics() const;

 private:
  prometheus::Registry registry_;
};

inline constexpr const char* kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

// Bounds in seconds from 100 us to 10 s, for latencies.
const std::vector<double>& latency_bounds();

}  // namespace branchline
