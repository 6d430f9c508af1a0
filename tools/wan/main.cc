// branchline-wan: see README.md.
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>

#include "common/config/topology.h"
#include "tools/wan/control.h"
#include "tools/wan/ends.h"
#include "tools/wan/proxy.h"
#include "tools/wan/shape.h"
#include "tools/wan/tunnel.h"

namespace asio = boost::asio;
using asio::ip::tcp;
using branchline::Error;
using branchline::ErrorKind;
using branchline::Result;

namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

constexpr int kExitNotAllowed = 77;  // what test runners take for "skipped"

constexpr const char* kExamples =
    R"(Two kinds of line. The proxy above carries bytes between any programs of this machine and needs
no rights; it loses nothing and TCP never starts slowly on it. `branchline-wan tun --help`: packets
between two networks of its own, as on a real line; needs root.

Examples:
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
direction by itself, for all connections together, and counts payload bytes. Two values with a
comma between are for up (from --listen to --connect) and down: --rate 5Mbit,20Mbit. Ends on SIGINT
or SIGTERM with status 0.)";

constexpr const char* kTunExamples =
    R"(Makes two networks, a and b, with nothing in them but one device each, and carries IPv4 packets
between the two: each way a queue that drops what it has no room for, a serializer, the delay, and
loss by chance. Programs are put into them with `branchline-wan exec`; outside nothing changes.

  end a: 192.0.2.1, all else leads to b        end b: 192.0.2.2

Examples:
  An office (a) and its head office (b), 40 ms apart, one packet in 200 lost:
    branchline-wan tun --name demo --delay 40ms --rate 20Mbit --queue 256KiB --loss 0.5% \
                       --control 127.0.0.1:7433
    branchline-wan exec demo b -- iperf3 -s
    branchline-wan exec demo a -- iperf3 -c 192.0.2.2

  A second office (a of `second`, 192.0.2.5) of the same head office:
    branchline-wan tun --name second --b-of demo --delay 80ms --rate 2Mbit,16Mbit

  While it runs:
    curl -X POST '127.0.0.1:7433/set?loss=2%25&delay=300ms'  # for both ways
    curl -X POST '127.0.0.1:7433/set?loss=0,5%25'            # up (a to b) nothing, down 5 %
    curl -X POST 127.0.0.1:7433/down                         # cut: what is sent is gone
    curl -X POST 127.0.0.1:7433/up
    curl 127.0.0.1:7433/stats

Two values with a comma between are for up and down. Rates and queues count whole packets, headers
included. Control listens outside of both networks. Ends on SIGINT or SIGTERM with status 0, and
whatever ends it, nothing stays; programs inside go on without the line. Status 77: networks cannot
be made here.)";

constexpr const char* kExecExamples =
    R"(Becomes COMMAND, in one end of a line that runs: its sockets reach the other end through the line
and nothing else. Files, users and processes are those outside.

Examples:
  branchline-wan exec demo a -- ping -c 3 192.0.2.2
  branchline-wan exec demo b -- python3 -m http.server)";

struct Texts {
  std::string listen, connect, control, name, b_of;
  std::optional<std::string> rtt, delay, rate, queue, loss;
  uint64_t seed = 1;
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

Result<std::optional<tcp::endpoint>> control_endpoint(asio::io_context& io, const Texts& texts) {
  if (texts.control.empty()) return std::nullopt;
  BL_ASSIGN(auto at, resolve(io, "--control", texts.control));
  return at;
}

// Each connection takes two descriptors, and the usual soft limit of 1024 is soon used up.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0)
    spdlog::warn("cannot raise the limit of descriptors");
}

Result<branchline::wan::LineShape> shape_of(const Texts& texts) {
  branchline::wan::LineShape shape;
  if (texts.rtt && texts.delay) {
    return fail(ErrorKind::invalid, "wan.option",
                "--rtt and --delay say the same twice: give one, a round trip or one way");
  }
  const std::pair<const char*, const std::optional<std::string>&> parts[] = {
      {"rtt", texts.rtt},     {"delay", texts.delay}, {"rate", texts.rate},
      {"queue", texts.queue}, {"loss", texts.loss},
  };
  for (const auto& [name, value] : parts) {
    if (!value) continue;
    if (auto set = set_shape_part(shape, name, *value); !set) {
      return fail(ErrorKind::invalid, "wan.option",
                  "--" + std::string(name) + ": " + set.error().message);
    }
  }
  return shape;
}

int usage(const std::string& message) {
  std::fprintf(stderr, "branchline-wan: %s\n", message.c_str());
  return kExitUsage;
}

// Answers requests and carries until a signal comes.
int serve(asio::io_context& io, branchline::wan::Line& line, const Texts& texts,
          const std::optional<tcp::endpoint>& control_at) {
  branchline::wan::Control control(io, line);
  if (control_at) {
    if (auto listening = control.listen(*control_at); !listening) {
      spdlog::error("--control {}: {}; end what listens there, or choose another port",
                    texts.control, listening.error().message);
      return kExitFailure;
    }
  }
  asio::signal_set signals(io, SIGINT, SIGTERM);
  signals.async_wait([&](const boost::system::error_code& error, int) {
    if (error) return;
    line.close();
    control.close();
  });
  // Ends when the last handler has: close() above leaves none behind.
  io.run();
  spdlog::info("stopped");
  return 0;
}

int run_proxy(asio::io_context& io, const Texts& texts) {
  if (texts.listen.empty() || texts.connect.empty()) {
    return usage(std::string(texts.listen.empty() ? "--listen" : "--connect") +
                 " is required: where clients connect, and where each connection leads; see "
                 "branchline-wan --help");
  }
  const auto shape = shape_of(texts);
  if (!shape) return usage(shape.error().message);
  const auto listen = resolve(io, "--listen", texts.listen);
  if (!listen) return usage(listen.error().message);
  const auto connect = resolve(io, "--connect", texts.connect);
  if (!connect) return usage(connect.error().message);
  const auto control = control_endpoint(io, texts);
  if (!control) return usage(control.error().message);
  raise_descriptor_limit();
  branchline::wan::Proxy proxy(io, *listen, *connect, *shape);
  if (auto up = proxy.up(); !up) {
    spdlog::error("--listen {}; end what listens there, or choose another port",
                  up.error().message);
    return kExitFailure;
  }
  spdlog::info("{} -> {}: {}, control {}", texts.listen, texts.connect, text_of(*shape),
               texts.control.empty() ? "none" : texts.control);
  return serve(io, proxy, texts, *control);
}

int run_tunnel(asio::io_context& io, const Texts& texts) {
  using branchline::wan::Ends;
  const auto shape = shape_of(texts);
  if (!shape) return usage(shape.error().message);
  const auto control = control_endpoint(io, texts);
  if (!control) return usage(control.error().message);
  auto ends = Ends::make(texts.name, texts.b_of);
  if (!ends) {
    const Error& error = ends.error();
    std::fprintf(stderr, "branchline-wan tun: %s\n", error.message.c_str());
    return error.kind == ErrorKind::denied    ? kExitNotAllowed
           : error.kind == ErrorKind::invalid ? kExitUsage
                                              : kExitFailure;
  }
  branchline::wan::Tunnel tunnel(io, ends->take_devices(), *shape, texts.seed);
  if (auto announced = ends->announce(); !announced) {
    spdlog::error("{}", announced.error().message);
    return kExitFailure;
  }
  spdlog::info("{}: a {} - b {}: {}, control {}", texts.name, ends->addresses()[0],
               ends->addresses()[1], text_of(*shape),
               texts.control.empty() ? "none" : texts.control);
  return serve(io, tunnel, texts, *control);
}

void add_shape_options(CLI::App& app, Texts& texts, const char* queue_help) {
  app.add_option("--rtt", texts.rtt, "round trip; each direction takes half of it (default 0)")
      ->type_name("TIME");
  app.add_option("--delay", texts.delay, "what each direction takes, instead of --rtt")
      ->type_name("TIME[,TIME]");
  app.add_option("--rate", texts.rate, "bits per second in each direction; 0: unlimited (default)")
      ->type_name("RATE[,RATE]");
  app.add_option("--queue", texts.queue, queue_help)->type_name("SIZE[,SIZE]");
  app.add_option("--control", texts.control,
                 "control server (HTTP, no sign-in: keep it on loopback)")
      ->type_name("HOST:PORT");
}

// `exec` takes its command as it is, options and all, so nothing else may read it.
int run_exec(int argc, char** argv) {
  int first = 4;
  if (argc > first && std::string_view(argv[first]) == "--") ++first;
  if (argc <= first) {
    return usage(
        "exec takes a line's name, its end (a or b) and a command: branchline-wan exec "
        "demo a -- ping 192.0.2.2");
  }
  const Error error = branchline::wan::become(argv[2], argv[3], argv + first);
  std::fprintf(stderr, "branchline-wan exec: %s\n", error.message.c_str());
  return error.kind == ErrorKind::denied    ? kExitNotAllowed
         : error.kind == ErrorKind::invalid ? kExitUsage
                                            : kExitFailure;
}

int run(int argc, char** argv) {
  if (argc > 2 && std::string_view(argv[1]) == "exec" && argv[2][0] != '-') {
    return run_exec(argc, argv);
  }
  Texts texts;
  CLI::App app(
      "Carries TCP connections over an emulated line: delay, rate, a bounded queue, and failures "
      "at will.",
      "branchline-wan");
  app.set_version_flag("--version", "branchline-wan " BRANCHLINE_VERSION);
  app.add_option("--listen", texts.listen, "where clients connect")->type_name("HOST:PORT");
  app.add_option("--connect", texts.connect, "where each connection leads")->type_name("HOST:PORT");
  add_shape_options(app, texts,
                    "what may wait for the line in each direction; beyond it senders are not "
                    "read (default 256KiB)");
  app.footer(kExamples);
  CLI::App* tun = app.add_subcommand(
      "tun", "a line of packets between two networks of its own, with loss; needs root");
  tun->add_option("--name", texts.name, "by which `exec` finds it; one of each name runs")
      ->required();
  tun->add_option("--b-of", texts.b_of, "ends in end b of this other line, which runs")
      ->type_name("NAME");
  add_shape_options(*tun, texts,
                    "what may wait in each direction; packets beyond it are dropped (default "
                    "256KiB)");
  tun->add_option("--loss", texts.loss, "share of packets that are lost by chance (default 0)")
      ->type_name("PERCENT[,PERCENT]");
  tun->add_option("--seed", texts.seed, "which packets: the same seed, the same ones")
      ->capture_default_str();
  tun->footer(kTunExamples);
  CLI::App* exec = app.add_subcommand("exec", "runs a command in one end of a line of packets");
  std::string ignored;
  exec->add_option("NAME", ignored, "of the line, as given to `tun --name`");
  exec->add_option("END", ignored, "a or b");
  exec->add_option("COMMAND", ignored, "and what belongs to it, behind --");
  exec->footer(kExecExamples);
  app.require_subcommand(0, 1);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitUsage;
  }
  if (*exec) return run_exec(argc, argv);
  asio::io_context io(1);
  return *tun ? run_tunnel(io, texts) : run_proxy(io, texts);
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
