// branchline-wan: see README.md.
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>

#include "common/config/topology.h"
#include "tools/wan/control.h"
#include "tools/wan/proxy.h"
#include "tools/wan/shape.h"

namespace asio = boost::asio;
using asio::ip::tcp;
using branchline::Error;
using branchline::ErrorKind;
using branchline::Result;

namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

constexpr const char* kExamples = R"(Examples:
  A 20 Mbit line with a round trip of 80 ms, before a server on port 7400:
    branchline-wan --listen 127.0.0.1:7432 --connect 127.0.0.1:7400 \
                   --rtt 80ms --rate 20Mbit --control 127.0.0.1:7433

  While it runs:
    curl -X POST '127.0.0.1:7433/set?rtt=600ms&rate=512kbit'  # a satellite
    curl -X POST '127.0.0.1:7433/set?stall=true'  # connections stay, nothing moves
    curl -X POST 127.0.0.1:7433/down              # connections break, new ones are refused
    curl -X POST 127.0.0.1:7433/up
    curl 127.0.0.1:7433/stats

Durations: 1500us 80ms 2s. Rates: 512kbit 20Mbit 1Gbit. Sizes: 64KiB 1MiB. The rate holds for each
direction by itself, for all connections together, and counts payload bytes. Ends on SIGINT or
SIGTERM with status 0.)";

struct Texts {
  std::string listen, connect, control, rtt = "0", rate = "0", queue = "256KiB";
};

struct Options {
  tcp::endpoint listen, connect;
  std::optional<tcp::endpoint> control;
  branchline::wan::LineShape shape;
};

Result<tcp::endpoint> resolve(asio::io_context& io, const std::string& option,
                              const std::string& text) {
  const auto parsed = branchline::parse_endpoint(text);
  if (!parsed) {
    return fail(ErrorKind::invalid, "wan.option",
                option + ": '" + text +
                    "' is no address: write host:port, as in 127.0.0.1:7432 or [::1]:7432");
  }
  boost::system::error_code error;
  const auto found = tcp::resolver(io).resolve(parsed->host, std::to_string(parsed->port), error);
  if (error || found.empty()) {
    return fail(ErrorKind::invalid, "wan.option",
                option + ": cannot find the host '" + parsed->host + "' (" + error.message() +
                    "): write an address such as 127.0.0.1, or a name this machine knows");
  }
  // `localhost` is often both; servers of a test listen on 127.0.0.1.
  for (const auto& entry : found) {
    if (entry.endpoint().address().is_v4()) return entry.endpoint();
  }
  return found.begin()->endpoint();
}

// Each connection takes two descriptors, and the usual soft limit of 1024 is soon used up.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0)
    spdlog::warn("cannot raise the limit of descriptors");
}

template <typename T>
Result<T> named(const char* option, Result<T> result) {
  if (result) return result;
  return fail(ErrorKind::invalid, "wan.option",
              std::string(option) + ": " + result.error().message);
}

Result<Options> check(asio::io_context& io, const Texts& texts) {
  using namespace branchline::wan;
  Options o;
  BL_ASSIGN(o.shape.rtt_us, named("--rtt", read_rtt(texts.rtt)));
  BL_ASSIGN(o.shape.rate_bits, named("--rate", read_rate(texts.rate)));
  BL_ASSIGN(o.shape.queue_bytes, named("--queue", read_queue(texts.queue)));
  BL_ASSIGN(o.listen, resolve(io, "--listen", texts.listen));
  BL_ASSIGN(o.connect, resolve(io, "--connect", texts.connect));
  if (!texts.control.empty()) {
    BL_ASSIGN(o.control, resolve(io, "--control", texts.control));
  }
  return o;
}

int serve(asio::io_context& io, const Options& options, const Texts& texts) {
  using namespace branchline::wan;
  Proxy proxy(io, options.listen, options.connect, options.shape);
  Control control(io, proxy);
  if (auto up = proxy.up(); !up) {
    spdlog::error("--listen {}; end what listens there, or choose another port",
                  up.error().message);
    return kExitFailure;
  }
  if (options.control) {
    if (auto listening = control.listen(*options.control); !listening) {
      spdlog::error("--control {}: {}; end what listens there, or choose another port",
                    texts.control, listening.error().message);
      return kExitFailure;
    }
  }
  asio::signal_set signals(io, SIGINT, SIGTERM);
  signals.async_wait([&](const boost::system::error_code& error, int) {
    if (error) return;
    proxy.close();
    control.close();
  });
  spdlog::info("{} -> {}: rtt {}, rate {}, queue {}, control {}", texts.listen, texts.connect,
               texts.rtt, texts.rate == "0" ? "unlimited" : texts.rate, texts.queue,
               texts.control.empty() ? "none" : texts.control);
  // Ends when the last handler has: close() above leaves none behind.
  io.run();
  spdlog::info("stopped");
  return 0;
}

int run(int argc, char** argv) {
  Texts texts;
  CLI::App app(
      "Carries TCP connections over an emulated line: delay, rate, a bounded queue, and failures "
      "at will.",
      "branchline-wan");
  app.set_version_flag("--version", "branchline-wan " BRANCHLINE_VERSION);
  app.add_option("--listen", texts.listen, "where clients connect")
      ->required()
      ->type_name("HOST:PORT");
  app.add_option("--connect", texts.connect, "where each connection leads")
      ->required()
      ->type_name("HOST:PORT");
  app.add_option("--rtt", texts.rtt, "round trip; each direction takes half of it")
      ->type_name("TIME")
      ->capture_default_str();
  app.add_option("--rate", texts.rate, "bits per second in each direction; 0: unlimited")
      ->type_name("RATE")
      ->capture_default_str();
  app.add_option("--queue", texts.queue,
                 "what may wait for the line in each direction; beyond it senders are not read")
      ->type_name("SIZE")
      ->capture_default_str();
  app.add_option("--control", texts.control,
                 "control server (HTTP, no sign-in: keep it on loopback)")
      ->type_name("HOST:PORT");
  app.footer(kExamples);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitUsage;
  }
  raise_descriptor_limit();
  asio::io_context io(1);
  const auto options = check(io, texts);
  if (!options) {
    std::fprintf(stderr, "branchline-wan: %s\n", options.error().message.c_str());
    return kExitUsage;
  }
  return serve(io, *options, texts);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    spdlog::set_default_logger(spdlog::stderr_color_mt("wan"));
    spdlog::set_pattern("%H:%M:%S.%e %^%l%$ %v");
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "branchline-wan: %s\n", e.what());
    return kExitFailure;
  }
}
