#include "tools/benchmarks/fleet.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "tools/benchmarks/data.h"
#include "tools/benchmarks/http_load.h"
#include "tools/branchline/cluster.h"

namespace branchline::bench {
namespace {

std::string address(uint16_t port, const std::string& host = "127.0.0.1") {
  return "\"" + host + ":" + std::to_string(port) + "\"";
}

std::string line_name(const std::string& server) {
  return "bench-" + std::to_string(::getpid()) + "-" + server;
}

std::string numbered(const char* name, size_t n) {
  std::string digits = std::to_string(n + 1);
  return name + std::string(digits.size() < 3 ? 3 - digits.size() : 0, '0') + digits;
}

bool answers(uint16_t port, const std::string& target) {
  const auto inside = inside_of(port);
  auto answer = HttpClient("127.0.0.1:" + std::to_string(port)).request("GET", target);
  return answer && answer->status == 200;
}

}  // namespace

Fleet::Fleet(FleetOptions options) : options_(std::move(options)) {
  std::filesystem::create_directories(options_.folder);
  branches_ = {"hq", "office", "second"};
  if (options_.offices > 0) branches_.clear();
  for (size_t i = 0; i < options_.offices; ++i) branches_.push_back(numbered("office", i));
  write_topology();
  make_certificates();
  if (options_.offices == 0) {
    for (const auto& name : {"office", "second"}) start_line(name);
  }
  launch("master");
  wait_until([this] { return answers(ports_.at("master").admin, "/healthz"); }, 20,
             "the master to start");
  Json made = ask(ports_.at("master").admin, token_of("master"), "POST", "/admin/tokens",
                  R"({"user":"bench","name":"bench","access":"write"})");
  auth_ = "Authorization: Bearer " + text_of(made, "token") + "\r\n";
  if (options_.offices > 0) return;
  start("hq");
  load_contacts();
}

Fleet::~Fleet() {
  // Branches first, all at once.
  for (const auto& [name, process] : processes_) {
    if (name != "master") process.ask_to_end();
  }
  for (const auto& name : branches_) stop(name);
  stop("master");
  for (const auto& [name, ports] : ports_) {
    port_lives_here(ports.http);
    port_lives_here(ports.admin);
  }
}

void Fleet::start_line(const std::string& server) {
  const Ports& p = ports_.at(server);
  const std::string local = "127.0.0.1:", log = options_.folder + "/wan-" + server + ".log";
  const std::vector<std::string> shape{"--rtt",     options_.round_trip,
                                       "--rate",    options_.rate,
                                       "--queue",   "256KiB",
                                       "--control", local + std::to_string(p.control)};
  std::vector<std::string> command{program_folder() + "/branchline-wan"};
  if (!options_.tunnel) {
    command.insert(command.end(), {"--listen", local + std::to_string(p.wan), "--connect",
                                   local + std::to_string(ports_.at("master").link)});
  } else {
    command.insert(command.end(), {"tun", "--name", line_name(server)});
    if (server != "office") command.insert(command.end(), {"--b-of", line_name("office")});
  }
  command.insert(command.end(), shape.begin(), shape.end());
  lines_[server] = Process(command, log);
  if (!options_.tunnel) return;
  wait_until(
      [&] {
        if (!lines_[server].running()) {
          std::ifstream file(log);
          std::string text;
          std::getline(file, text);
          throw std::runtime_error(text);
        }
        return answers(p.control, "/healthz");
      },
      20, "the tunnel of " + server);
  const auto keep = [&](const std::string& name, const char* end) {
    auto found = wan::network_of(line_name(server), end);
    if (!found) throw std::runtime_error(found.error().message);
    networks_[name] = std::move(*found);
  };
  keep(server, "a");
  keep("", "b");
  for (const auto& [name, ports] : ports_) {
    if (!networks_.contains(name == "second" || name == "office" ? name : "")) continue;
    port_lives_in(ports.http, network(name));
    port_lives_in(ports.admin, network(name));
  }
}

std::vector<std::string> Fleet::place(const std::string& server) const {
  if (!options_.tunnel) return {};
  const bool own = server == "office" || server == "second";
  return {program_folder() + "/branchline-wan", "exec", line_name(own ? server : "office"),
          own ? "a" : "b", "--"};
}

void Fleet::write_topology() {
  ports_["master"].link = free_port();
  ports_["master"].admin = free_port();
  std::ofstream file(options_.folder + "/topology.yaml");
  file << "version: 1\nname: bench\nterritories:\n";
  std::map<std::string, std::string> territories;
  for (size_t i = 0; i < branches_.size(); ++i) {
    if (options_.offices == 0) {
      if (i == 0) file << "  - main\n";
      territories[branches_[i]] = "main";
      continue;
    }
    if (i % kDistrict == 0) file << "  - " << district(i) << "\n";
    std::string own = numbered("town", i);
    file << "  - " << own << "\n";
    territories[branches_[i]] = district(i) + ", " + own;
  }
  file << "sites:\n  - {name: here}\n";
  const auto has_line = [this](const std::string& server) {
    return options_.offices == 0 && server != "hq";
  };
  const auto site_of = [&](const std::string& server) {
    return options_.rate_in_topology && has_line(server) ? server : "here";
  };
  if (options_.rate_in_topology) {
    for (const char* site : {"office", "second"}) file << "  - {name: " << site << "}\n";
    file << "links:\n";
    for (const char* site : {"office", "second"}) {
      file << "  - {from: here, to: " << site << ", rtt: " << options_.round_trip
           << ", rate: " << options_.rate << "}\n";
    }
  }
  file << "servers:\n";
  file << "  - {name: master, site: here, kind: master, link: "
       << address(ports_["master"].link, options_.tunnel ? kMasterAddress : "127.0.0.1")
       << ", admin: " << address(ports_["master"].admin) << "}\n";
  for (const auto& name : branches_) {
    Ports& p = ports_[name];
    p.http = free_port();
    p.admin = free_port();
    file << "  - {name: " << name << ", site: " << site_of(name)
         << ", kind: branch, upstream: master, territories: [" << territories.at(name)
         << "], http: " << address(p.http) << ", admin: " << address(p.admin);
    if (has_line(name)) {
      p.wan = free_port();
      p.control = free_port();
      if (!options_.tunnel) file << ", dial: " << address(p.wan);
    }
    file << "}\n";
  }
}

std::string Fleet::district(size_t office) { return numbered("district", office / kDistrict); }

void Fleet::make_certificates() {
  std::string tool = program_folder() + "/branchline", ca = options_.folder + "/ca",
              log = options_.folder + "/ca.log";
  Process({tool, "ca", "create", "--dir", ca}, log, true).finish();
  for (const auto& [name, ports] : ports_) {
    Process({tool, "ca", "issue", "--dir", ca, "--server", name, "--out",
             options_.folder + "/" + name + "/tls"},
            log, true)
        .finish();
  }
}

void Fleet::launch(const std::string& server) {
  std::string program = server == "master" ? "/branchline-master" : "/branchline-branch";
  std::vector<std::string> command = place(server);
  command.insert(command.end(), {program_folder() + program, "--topology",
                                 options_.folder + "/topology.yaml", "--server", server, "--data",
                                 options_.folder + "/" + server, "--log-level", "info"});
  processes_[server] =
      Process(command, options_.folder + "/" + server + ".log", false, options_.environment);
}

void Fleet::start(const std::string& server) {
  if (runs(server)) return;
  launch(server);
  if (server == "master") {
    wait_until(
        [&] {
          clients_.erase(ports_.at(server).admin);
          return answers(ports_.at(server).admin, "/healthz");
        },
        60, "the master to start", 0.002);
    return;
  }
  wait_for_join(server);
}

void Fleet::wait_for_join(const std::string& server) {
  wait_until([&] { return answers(port(server), "/readyz"); }, 300, server + " to join");
}

void Fleet::start_all(const std::vector<std::string>& servers) {
  for (const auto& s : servers) {
    if (!runs(s)) launch(s);
  }
  for (const auto& s : servers) wait_for_join(s);
}

void Fleet::stop(const std::string& server) {
  auto at = processes_.find(server);
  if (at == processes_.end()) return;
  at->second.terminate();
  processes_.erase(at);
  if (ports_.count(server)) clients_.erase(ports_.at(server).admin);
}

std::string Fleet::token_of(const std::string& server) {
  std::string& token = tokens_[server];
  if (token.empty()) {
    std::ifstream file(options_.folder + "/" + server + "/operator.token");
    std::getline(file, token);
  }
  return token;
}

Json Fleet::ask(uint16_t port, const std::string& token, const std::string& method,
                const std::string& target, const std::string& body) {
  auto [at, fresh] = clients_.try_emplace(port, "127.0.0.1:" + std::to_string(port));
  at->second.set_token(token);
  at->second.set_timeout_ms(120'000);
  const auto inside = inside_of(port);
  auto answer = at->second.request(method, target, body);
  if (!answer) throw std::runtime_error(target + ": " + answer.error().message);
  if (answer->status >= 300) throw std::runtime_error(target + ": " + error_text(*answer));
  auto json = parse_json(answer->body, 32);
  if (!json) throw std::runtime_error(target + ": " + json.error().message);
  return std::move(*json);
}

Json Fleet::line(const std::string& server, const std::string& request) {
  return ask(ports_.at(server).control, "", "POST", request);
}
Json Fleet::line_stats(const std::string& server) {
  return ask(ports_.at(server).control, "", "GET", "/stats");
}

Json Fleet::status(const std::string& server) {
  return ask(ports_.at(server).admin, token_of(server), "GET", "/admin/status");
}
uint64_t Fleet::pending(const std::string& server) { return number_of(status(server), "pending"); }

bool Fleet::connected(const std::string& server) {
  Json s = status(server);
  const Json* link = s.member("link");
  return link && text_of(*link, "state") == "following";
}

bool Fleet::agree(const std::vector<std::string>& branches) {
  for (const auto& b : branches) {
    if (pending(b) != 0) return false;
  }
  Json master = status("master");
  const Json* theirs = master.member("sums");
  for (const auto& b : branches) {
    Json s = status(b);
    if (number_of(s, "csn") != number_of(master, "csn") || number_of(s, "pending") != 0)
      return false;
    const Json* mine = s.member("sums");
    if (!mine || !theirs || mine->members.empty()) return false;
    for (const auto& [territory, sum] : mine->members) {
      if (sum.text != text_of(*theirs, territory))
        throw std::runtime_error(b + " stands at the master's csn with another checksum of " +
                                 territory);
    }
  }
  return true;
}

void Fleet::wait_until(const std::function<bool()>& condition, double seconds,
                       const std::string& what, double pause) {
  auto begin = Clock::now();
  while (!condition()) {
    if (seconds_since(begin) > seconds) throw std::runtime_error("waited in vain for " + what);
    std::this_thread::sleep_for(std::chrono::duration<double>(pause));
  }
}

void Fleet::settle(const std::vector<std::string>& branches) {
  wait_until([&] { return agree(branches); }, 900, "all servers to agree");
}

void Fleet::load_contacts() {
  if (options_.progress)
    options_.progress("loading " + std::to_string(options_.contacts) + " contacts");
  ids_ = create_contacts("hq", options_.contacts, 1);
  settle({"hq"});
}

std::vector<std::string> Fleet::create_contacts(const std::string& server, uint64_t count,
                                                uint64_t seed, const std::string& territory) {
  Dice dice(seed);
  LoadPlan plan;
  plan.port = port(server);
  plan.connections = static_cast<int>(std::min<uint64_t>(32, count));
  plan.requests = count;
  std::string body;
  plan.make = [&](std::string& out, int) {
    body.clear();
    append_contact(body, dice);
    if (!territory.empty()) {
      body.pop_back();
      body += ",\"Branchline.territory\":\"" + territory + "\"}";
    }
    append_request(out, "POST", "/api/data/v9.2/contacts", auth_, body);
  };
  std::vector<std::string> ids;
  plan.answered = [&](const Connection& answer, int) {
    std::string_view url = answer.header("OData-EntityId");
    if (url.size() > 37) ids.emplace_back(url.substr(url.size() - 37, 36));
  };
  LoadResult result = closed_loop(plan);
  if (result.failed > 0) throw std::runtime_error("creating contacts: " + result.first_failure);
  return ids;
}

}  // namespace branchline::bench
