#include "tests/contract/office_fixture.h"

#include <signal.h>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "common/time/clock.h"
#include "common/tls/authority.h"

namespace office_test {

using wan_test::eventually;
using wan_test::Socket;

std::string Answer::header(const std::string& name) const {
  auto at = headers.find(name);
  return at == headers.end() ? std::string() : at->second;
}

std::string Answer::id() const {
  std::string url = header("odata-entityid");
  size_t open = url.rfind('('), close = url.rfind(')');
  if (open == std::string::npos || close != url.size() - 1)
    throw std::runtime_error("no id in `" + url + "`: " + head + body);
  return url.substr(open + 1, close - open - 1);
}

Answer read_answer(Socket& socket, bool head_only) {
  std::string text;
  size_t end = std::string::npos;
  while ((end = text.find("\r\n\r\n")) == std::string::npos) {
    std::string more = socket.receive_some(1);
    if (more.empty()) throw std::runtime_error("no answer, but: `" + text + "`");
    text += more;
  }
  Answer a;
  a.head = text;
  a.status = std::stoi(text.substr(9, 3));
  std::istringstream lines(text.substr(text.find("\r\n") + 2));
  for (std::string line; std::getline(lines, line) && line.size() > 1;) {
    size_t colon = line.find(':');
    std::string name = line.substr(0, colon), value = line.substr(colon + 2);
    if (!value.empty() && value.back() == '\r') value.pop_back();
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return char(std::tolower(c)); });
    a.headers[name] = value;
  }
  std::string length = a.header("content-length");
  if (!length.empty() && !head_only) a.body = socket.receive(std::stoul(length));
  return a;
}

Answer request(uint16_t port, const std::string& method, const std::string& target,
               const std::string& body, const Headers& headers) {
  std::string text = method + " " + target +
                     " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
                     "\r\nConnection: close\r\n";
  for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
  if (!body.empty() || method == "POST")
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  Socket s = wan_test::connect_to(port);
  s.send(text + "\r\n" + body);
  return read_answer(s, method == "HEAD");
}

std::string encoded(std::string_view text) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) ||
        std::string_view("$=&(),'-_./@?:*;").find(c) != std::string_view::npos) {
      out.push_back(c);
    } else {
      out += {'%', digits[static_cast<unsigned char>(c) >> 4], digits[c & 15]};
    }
  }
  return out;
}

std::string text_of(const json::value& v) {
  return v.is_string() ? std::string(v.as_string()) : json::serialize(v);
}

void refused(const Answer& a, int status, const std::string& what) {
  INFO(a.head << a.body);
  CHECK(a.status == status);
  CHECK_THAT(a.header("content-type"), Catch::StartsWith("application/json"));
  const json::object whole = a.object();
  REQUIRE(whole.size() == 1);
  const json::object& error = whole.at("error").as_object();
  CHECK_FALSE(error.at("code").as_string().empty());
  std::string message(error.at("message").as_string());
  CHECK(message.size() > 10);
  CHECK(message.size() < 900);
  if (!what.empty()) CHECK_THAT(message, Catch::Contains(what));
  for (const char* leak : {"/tmp", ".cc", "0x7f", "std::", "rocksdb", "exception"})
    CHECK(message.find(leak) == std::string::npos);
}

Answer Client::send(const std::string& method, const std::string& target, const std::string& body,
                    Headers headers) const {
  if (!token.empty()) headers.emplace_back("Authorization", "Bearer " + token);
  if (!body.empty()) headers.emplace_back("Content-Type", "application/json");
  return request(port, method, encoded(target), body, headers);
}

Answer Client::follow(const std::string& link) const {
  size_t path = link.find('/', link.find("//") + 2);
  return request(port, "GET", link.substr(path), {}, {{"Authorization", "Bearer " + token}});
}

std::string Client::create(const std::string& set, const std::string& body, Headers headers) const {
  Answer a = post(set, body, std::move(headers));
  if (a.status != 204) throw std::runtime_error("cannot create in " + set + ": " + a.head + a.body);
  return a.id();
}

std::string Client::fate(const std::string& mutation) const {
  return text_of(send("GET", "/api/sync/mutations/" + mutation).object().at("state"));
}

Company& Company::get() {
  static Company company;
  return company;
}

Company::Company() {
  for (const char* name : {"master", "master-admin", "hq", "hq-admin", "east", "east-admin"})
    ports_[name] = wan_test::free_port();
  auto at = [&](const char* name) { return "\"127.0.0.1:" + std::to_string(ports_[name]) + "\""; };
  std::ofstream(folder_ / "topology.yaml")
      << "version: 1\nname: test\nsites:\n  - {name: here, place: Here, clients: "
         "1}\nterritories:\n  - east\n  - west\nservers:\n"
      << "  - {name: master, site: here, kind: master, link: " << at("master")
      << ", admin: " << at("master-admin") << "}\n"
      << "  - {name: hq, site: here, kind: branch, upstream: master, territories: all, http: "
      << at("hq") << ", admin: " << at("hq-admin") << "}\n"
      << "  - {name: east, site: here, kind: branch, upstream: master, territories: [east], http: "
      << at("east") << ", admin: " << at("east-admin") << "}\n"
      << "policies:\n  max_offline: 30d\n  restore_window: 35d\n";
  branchline::SystemClock clock;
  if (!branchline::create_authority(folder_ / "authority", clock))
    throw std::runtime_error("no authority");
  for (const char* name : {"master", "hq", "east"}) {
    std::filesystem::create_directories(folder_ / name);
    if (!branchline::issue_server(folder_ / "authority", name, (folder_ / name) / "tls", clock))
      throw std::runtime_error("no certificate");
    start(name);
  }
  std::ifstream((folder_ / "master") / "operator.token") >> operator_token_;
  admin = make_token({"ada", true, true, {}, ""}).secret;
  writer = make_token({"wanda", false, true, {"east"}, ""}).secret;
  reader = make_token({"rita", false, false, {"east"}, ""}).secret;
  settle();
}

Company::~Company() {
  for (auto& [name, child] : processes_) {
    if (child->running()) child->signal(SIGTERM);
  }
}

void Company::start(const std::string& server) {
  std::string program = std::string(BRANCHLINE_BIN_DIR) +
                        (server == "master" ? "/branchline-master" : "/branchline-branch");
  processes_[server] = std::make_unique<wan_test::Child>(
      std::vector<std::string>{program, "--topology", folder_ / "topology.yaml", "--server", server,
                               "--data", folder_ / server, "--log-level", "warn"});
  wait_ready(server);
}

void Company::wait_ready(const std::string& server) {
  uint16_t port = ports_.at(server == "master" ? "master-admin" : server);
  eventually(server + " is ready", [&] {
    if (!processes_.at(server)->running())
      throw std::runtime_error(server + " ended: " + processes_.at(server)->output());
    if (!wan_test::try_connect(port)) return false;
    return request(port, "GET", "/readyz").status == 200;
  });
}

void Company::stop(const std::string& server) {
  processes_.at(server)->signal(SIGTERM);
  if (int code = processes_.at(server)->wait())
    throw std::runtime_error(server + " ended with " + std::to_string(code) + ": " +
                             processes_.at(server)->output());
}

void Company::kill(const std::string& server) {
  processes_.at(server)->signal(SIGKILL);
  processes_.at(server)->wait();
}

Answer Company::master(const std::string& method, const std::string& target,
                       const std::string& body) {
  return request(ports_.at("master-admin"), method, target, body,
                 {{"Authorization", "Bearer " + operator_token_}});
}

Company::Token Company::make_token(const TokenOptions& o) {
  json::object body{{"user", o.user}, {"admin", o.admin}, {"access", o.write ? "write" : "read"}};
  if (!o.expires.empty()) body["expires"] = o.expires;
  json::array territories;
  for (const auto& t : o.territories) territories.emplace_back(t);
  body["territories"] = territories;
  Answer a = master("POST", "/admin/tokens", json::serialize(body));
  if (a.status != 201) throw std::runtime_error("no token: " + a.body);
  return {text_of(a.object().at("token")), text_of(a.object().at("id"))};
}

void Company::settle() {
  eventually("all servers agree", [&] {
    json::object m = master("GET", "/admin/status").object();
    for (const char* name : {"hq", "east"}) {
      Answer a = request(ports_.at(name), "GET", "/api/sync/status", {},
                         {{"Authorization", "Bearer " + admin}});
      if (a.status != 200) return false;
      json::object s = a.object();
      if (s.at("pending").as_int64() != 0 || s.at("csn") != m.at("csn")) return false;
    }
    return true;
  });
}

}  // namespace office_test
