#include "tests/crash/company.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <thread>

namespace branchline::crash {
namespace {

// A loopback address of our own: a server that is down for a moment must find its port free again,
// and the kernel gives 127.0.0.1's free ports to whoever connects somewhere.
std::string own_loopback_address() {
  std::random_device random;
  std::uniform_int_distribution<int> middle(1, 254);
  return "127." + std::to_string(middle(random)) + "." + std::to_string(middle(random)) + "." +
         std::to_string(middle(random));
}

// The ports are told apart by holding all of them until the last one is known.
std::vector<uint16_t> free_ports(const std::string& host, size_t count) {
  std::vector<int> sockets;
  std::vector<uint16_t> out;
  for (size_t i = 0; i < count; ++i) {
    int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    ::inet_pton(AF_INET, host.c_str(), &at.sin_addr);
    socklen_t length = sizeof at;
    auto* generic = reinterpret_cast<sockaddr*>(&at);
    if (::bind(fd, generic, length) != 0 || ::getsockname(fd, generic, &length) != 0)
      fail_with("no free port");
    out.push_back(ntohs(at.sin_port));
    sockets.push_back(fd);
  }
  for (int fd : sockets) ::close(fd);
  return out;
}

std::string trimmed(std::string s) {
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.back()))) s.pop_back();
  return s;
}

}  // namespace

uint64_t number_in(const Json& object, std::string_view name) {
  const Json* m = object.member(name);
  return m && m->kind == Json::Kind::number ? std::strtoull(m->text.c_str(), nullptr, 10) : 0;
}

std::string text_in(const Json& object, std::string_view name) {
  const Json* m = object.member(name);
  return m ? m->text : std::string();
}

Company::Company(CompanyPlan plan) : plan_(std::move(plan)), host_(own_loopback_address()) {
  if (plan_.data_folder.empty()) plan_.data_folder = plan_.folder;
  if (!plan_.topology.empty()) {
    host_ = plan_.host;
    auto port = [this](size_t n) { return static_cast<uint16_t>(plan_.port + n); };
    seats_["master"].master = true;
    seats_["master"].link = port(1);
    seats_["master"].admin = port(2);
    for (size_t n = 1; n <= plan_.branches.size(); ++n) {
      Seat& seat = seats_[plan_.branches[n - 1].name];
      seat.http = port(10 * n + 1);
      seat.admin = port(10 * n + 2);
    }
    write_file(topology(), plan_.topology);
    make_certificates();
    return;
  }
  auto ports = free_ports(host_, 2 + plan_.branches.size() * 5);
  size_t next = 0;
  Seat& master = seats_["master"];
  master.master = true;
  master.link = ports[next++];
  master.admin = ports[next++];
  for (const auto& b : plan_.branches) {
    Seat& seat = seats_[b.name];
    seat.http = ports[next++];
    seat.admin = ports[next++];
    seat.line = ports[next++];
    seat.control = ports[next++];
    seat.link = ports[next++];
    seat.hub = std::any_of(plan_.branches.begin(), plan_.branches.end(),
                           [&](const auto& other) { return other.upstream == b.name; });
    seat.tunnel = !b.tunnel.empty();
    if (seat.tunnel && first_tunnel_.empty()) first_tunnel_ = b.name;
  }
  write_topology();
  make_certificates();
}

Company::~Company() = default;

void Company::write_topology() {
  auto address = [this](uint16_t port) { return "\"" + host_ + ":" + std::to_string(port) + "\""; };
  std::string t = "version: 1\nname: crash\nsites:\n  - {name: here}\nterritories:\n";
  for (const auto& name : plan_.territories) t += "  - " + name + "\n";
  const Seat& master = seats_.at("master");
  std::string link = address(master.link);
  if (!first_tunnel_.empty()) link = "\"192.0.2.2:" + std::to_string(master.link) + "\"";
  t += "servers:\n  - {name: master, site: here, kind: master, link: " + link +
       ", admin: " + address(master.admin) + "}\n";
  for (const auto& b : plan_.branches) {
    const Seat& seat = seats_.at(b.name);
    t += "  - name: " + b.name + "\n    site: here\n    kind: branch\n    upstream: " + b.upstream +
         "\n    territories: ";
    if (b.territories.empty()) {
      t += "all";
    } else {
      t += "[";
      for (size_t i = 0; i < b.territories.size(); ++i) t += (i ? ", " : "") + b.territories[i];
      t += "]";
    }
    t += "\n    http: " + address(seat.http) + "\n    admin: " + address(seat.admin) + "\n";
    if (seat.hub) t += "    link: " + address(seat.link) + "\n";
    if (!b.rtt.empty()) t += "    dial: " + address(seat.line) + "\n";
  }
  write_file(topology(), t);
}

void Company::make_certificates() {
  auto must = [](std::vector<std::string> arguments) {
    Finished f = run(std::move(arguments));
    if (f.code != 0) fail_with("branchline ca: " + f.output);
  };
  std::string authority = plan_.folder + "/ca";
  must({program("branchline"), "ca", "create", "--dir", authority});
  for (const auto& [name, seat] : seats_) {
    must({program("branchline"), "ca", "issue", "--dir", authority, "--server", name, "--out",
          plan_.folder + "/tls/" + name});
  }
}

void Company::set_program(const std::string& server, const std::string& program_name,
                          std::vector<std::string> options) {
  seats_.at(server).program = program_name;
  seats_.at(server).options = std::move(options);
}

std::vector<std::string> Company::servers() const {
  std::vector<std::string> out;
  for (const auto& [name, seat] : seats_) out.push_back(name);
  return out;
}

void Company::start_all() {
  // All others are in a network that the first tunnel makes.
  if (!first_tunnel_.empty()) start_line(first_tunnel_);
  for (const auto& b : plan_.branches) {
    if (b.name != first_tunnel_) start_line(b.name);
  }
  start("master");
  wait_ready("master");
  make_token();
  for (const auto& b : plan_.branches) start(b.name);
  for (const auto& b : plan_.branches) wait_ready(b.name);
}

std::string Company::line_name(const std::string& server) const {
  const std::string& branch = seats_.at(server).tunnel ? server : first_tunnel_;
  return "company-" + std::to_string(::getpid()) + "-" + branch;
}

const wan::Descriptor* Company::network(const std::string& server) const {
  const auto at = networks_.find(seats_.at(server).tunnel ? server : "");
  return at == networks_.end() ? nullptr : &at->second;
}

std::vector<std::string> Company::place(const std::string& server) const {
  if (first_tunnel_.empty()) return {};
  return {program("branchline-wan"), "exec", line_name(server),
          seats_.at(server).tunnel ? "a" : "b", "--"};
}

void Company::start_tunnel(const BranchPlan& b) {
  const uint16_t control = seats_.at(b.name).control;
  std::vector<std::string> arguments{
      program("branchline-wan"), "tun",       "--name",
      line_name(b.name),         "--control", host_ + ":" + std::to_string(control)};
  if (b.name != first_tunnel_) arguments.insert(arguments.end(), {"--b-of", line_name("master")});
  arguments.insert(arguments.end(), b.tunnel.begin(), b.tunnel.end());
  const std::string log = plan_.folder + "/" + b.name + ".line.log";
  lines_[b.name] = std::make_unique<Process>(std::move(arguments), log);
  eventually("the tunnel of " + b.name, [&] {
    if (!lines_[b.name]->running()) fail_with("the tunnel of " + b.name + ": " + read_file(log));
    auto a = Http(host_, control).request("GET", "/healthz");
    return a && a->ok();
  });
  const auto keep = [&](const std::string& name, const char* end) {
    auto network = wan::network_of(line_name(b.name), end);
    if (!network) fail_with(network.error().message);
    networks_[name] = std::move(*network);
  };
  keep(b.name, "a");
  keep("", "b");
}

void Company::start(const std::string& server) {
  const Seat& seat = seats_.at(server);
  std::vector<std::string> arguments = place(server);
  if (seat.program.empty()) {
    arguments.push_back(program(seat.master ? "branchline-master" : "branchline-branch"));
  } else {
    arguments.push_back(program(seat.program));
    arguments.push_back(seat.master ? "master" : "branch");
  }
  for (const char* option : {"--topology", "--server", "--data", "--tls", "--log-level"}) {
    std::string name = option;
    arguments.push_back(name);
    arguments.push_back(name == "--topology" ? topology()
                        : name == "--server" ? server
                        : name == "--data"   ? data(server)
                        : name == "--tls"    ? plan_.folder + "/tls/" + server
                                             : plan_.log_level);
  }
  arguments.insert(arguments.end(), seat.options.begin(), seat.options.end());
  processes_.erase(server);
  processes_[server] = std::make_unique<Process>(std::move(arguments), log_file(server));
}

void Company::start_line(const std::string& branch) {
  auto b = std::find_if(plan_.branches.begin(), plan_.branches.end(),
                        [&](const auto& p) { return p.name == branch; });
  if (!b->tunnel.empty()) return start_tunnel(*b);
  if (b->rtt.empty()) return;
  const Seat& seat = seats_.at(branch);
  auto address = [this](uint16_t port) { return host_ + ":" + std::to_string(port); };
  if (!first_tunnel_.empty()) fail_with("a line with --rtt beside tunnels: give it a tunnel too");
  std::vector<std::string> arguments{program("branchline-wan"),
                                     "--listen",
                                     address(seat.line),
                                     "--connect",
                                     address(seats_.at(b->upstream).link),
                                     "--rtt",
                                     b->rtt,
                                     "--control",
                                     address(seat.control)};
  if (!b->rate.empty()) arguments.insert(arguments.end(), {"--rate", b->rate});
  lines_[branch] =
      std::make_unique<Process>(std::move(arguments), plan_.folder + "/" + branch + ".line.log");
  eventually("the line of " + branch, [&] {
    auto a = Http(host_, seat.control).request("GET", "/healthz");
    return a && a->ok();
  });
}

bool Company::answers(const std::string& server) {
  const Seat& seat = seats_.at(server);
  const wan::Descriptor* at = network(server);
  auto a = seat.master ? Http(host_, seat.admin, "", nullptr, at).request("GET", "/healthz")
                       : Http(host_, seat.http, "", nullptr, at).request("GET", "/readyz");
  return a && a->ok();
}

void Company::wait_ready(const std::string& server) {
  eventually(server + " ready", [&] {
    if (!process(server).running()) {
      std::string text = log(server);
      fail_with(server + " ended with " + std::to_string(process(server).wait()) +
                " while it started: " + text.substr(text.size() > 600 ? text.size() - 600 : 0));
    }
    return answers(server);
  });
}

std::string Company::operator_token(const std::string& server) const {
  return trimmed(read_file(data(server) + "/operator.token"));
}

void Company::make_token() {
  Http master(host_, seats_.at("master").admin, operator_token("master"), nullptr,
              network("master"));
  auto made = master.request("POST", "/admin/tokens",
                             R"({"user":"crash","fullname":"Crash Test","admin":true})");
  if (!made || made->status != 201)
    fail_with("no token: " + (made ? made->body : std::string("no answer")));
  token_ = text_in(made->json(), "token");
}

Process& Company::process(const std::string& server) { return *processes_.at(server); }

void Company::kill(const std::string& server) {
  process(server).signal(SIGKILL);
  process(server).wait();
  processes_.erase(server);
}

void Company::stop(const std::string& server) {
  process(server).signal(SIGTERM);
  int code = process(server).wait();
  processes_.erase(server);
  if (code != 0) fail_with(server + " ended with " + std::to_string(code) + " on SIGTERM");
}

void Company::stop_all() {
  for (const auto& name : servers()) {
    if (has(name)) stop(name);
  }
}

std::unique_ptr<Http> Company::office(const std::string& branch,
                                      std::atomic<int>* in_flight) const {
  return std::make_unique<Http>(host_, seats_.at(branch).http, token_, in_flight, network(branch));
}

Json Company::office_get(const std::string& branch, const std::string& target) const {
  auto answer = office(branch)->request("GET", target);
  if (!answer || answer->status != 200) {
    fail_with("GET " + target + " at " + branch + ": " +
              (answer ? std::to_string(answer->status) + " " + answer->body : "no answer"));
  }
  return answer->json();
}

Json Company::admin_get(const std::string& server, const std::string& target) const {
  Http http(host_, seats_.at(server).admin, operator_token(server), nullptr, network(server));
  http.set_patience(std::chrono::seconds(120));
  auto answer = http.request("GET", target);
  if (!answer || answer->status != 200) {
    fail_with("GET " + target + " at " + server + ": " +
              (answer ? std::to_string(answer->status) + " " + answer->body : "no answer"));
  }
  return answer->json();
}

void Company::line(const std::string& branch, const std::string& order) {
  auto answer = Http(host_, seats_.at(branch).control).request("POST", order);
  if (!answer || !answer->ok()) fail_with("the line of " + branch + " refused " + order);
}

Json Company::line_stats(const std::string& branch) const {
  auto answer = Http(host_, seats_.at(branch).control).request("GET", "/stats");
  if (!answer || !answer->ok()) fail_with("the line of " + branch + " does not tell");
  return answer->json();
}

uint64_t Company::pending(const std::string& branch) const {
  return number_in(office_get(branch, "/api/sync/status"), "pending");
}

uint64_t Company::unacknowledged(const std::string& branch) const {
  Json status = office_get(branch, "/api/sync/status");
  const Json* link = status.member("link");
  return link ? number_in(*link, "unacknowledgedBytes") : 0;
}

void Company::wait_drained(std::chrono::seconds patience) {
  std::string where;
  try {
    eventually(
        "drained",
        [&] {
          uint64_t head = number_in(admin_get("master", "/admin/status"), "csn");
          for (const auto& b : plan_.branches) {
            Json status = office_get(b.name, "/api/sync/status");
            where = b.name + " has " + std::to_string(number_in(status, "pending")) +
                    " pending and stands at csn " + std::to_string(number_in(status, "csn")) +
                    " of " + std::to_string(head) + ", link " +
                    (status.member("link") ? text_in(*status.member("link"), "state") + " " +
                                                 text_in(*status.member("link"), "problem")
                                           : "");
            if (number_in(status, "pending") > 0 || number_in(status, "csn") < head) {
              std::this_thread::sleep_for(std::chrono::milliseconds(50));
              return false;
            }
          }
          return true;
        },
        patience);
  } catch (const Failure& f) {
    fail_with(f.what + " (" + where + ")");
  }
}

Finished Company::audit() const {
  return run({program("branchline"), "audit", "--topology", topology(), "--token", token_});
}

}  // namespace branchline::crash
