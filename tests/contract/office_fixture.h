// A master, head office and one office as processes, on real stores and links: started once per
// run, when the first test asks. And an HTTP client that hides nothing.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/contract/wan_fixture.h"
#include "tests/support/temp_folder.h"

namespace office_test {

namespace json = boost::json;
using Headers = std::vector<std::pair<std::string, std::string>>;

struct Answer {
  int status = 0;
  std::string head;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  std::string header(const std::string& name) const;
  json::object object() const { return json::parse(body).as_object(); }
  json::array rows() const { return object().at("value").as_array(); }
  std::string error_code() const {
    return std::string(object().at("error").as_object().at("code").as_string());
  }
  std::string message() const {
    return std::string(object().at("error").as_object().at("message").as_string());
  }
  // The id in OData-EntityId.
  std::string id() const;
};

// One request on a connection of its own, and the whole answer.
Answer request(uint16_t port, const std::string& method, const std::string& target,
               const std::string& body = {}, const Headers& headers = {});
// Reads one answer from a connection that may go on.
Answer read_answer(wan_test::Socket& socket, bool head_only = false);
std::string encoded(std::string_view text);
std::string text_of(const json::value& v);
// Checks a refusal: every one has the same shape, says `what`, and gives nothing away.
void refused(const Answer& a, int status, const std::string& what = "");

// One server and a token at it.
struct Client {
  uint16_t port = 0;
  std::string token;
  static constexpr const char* kRoot = "/api/data/v9.2/";

  Answer send(const std::string& method, const std::string& target, const std::string& body = {},
              Headers headers = {}) const;
  Answer get(const std::string& resource, Headers headers = {}) const {
    return send("GET", kRoot + resource, {}, std::move(headers));
  }
  Answer post(const std::string& resource, const std::string& body, Headers headers = {}) const {
    return send("POST", kRoot + resource, body, std::move(headers));
  }
  Answer patch(const std::string& resource, const std::string& body, Headers headers = {}) const {
    return send("PATCH", kRoot + resource, body, std::move(headers));
  }
  Answer put(const std::string& resource, const std::string& body, Headers headers = {}) const {
    return send("PUT", kRoot + resource, body, std::move(headers));
  }
  Answer remove(const std::string& resource, Headers headers = {}) const {
    return send("DELETE", kRoot + resource, {}, std::move(headers));
  }
  // GET of an absolute link, as it is.
  Answer follow(const std::string& link) const;
  // Creates and returns the id; fails the test where it cannot.
  std::string create(const std::string& set, const std::string& body, Headers headers = {}) const;
  json::object status() const { return send("GET", "/api/sync/status").object(); }
  std::string fate(const std::string& mutation) const;
};

class Company {
 public:
  static Company& get();
  ~Company();

  Client east(const std::string& token = {}) const {
    return {ports_.at("east"), token.empty() ? writer : token};
  }
  Client hq(const std::string& token = {}) const {
    return {ports_.at("hq"), token.empty() ? admin : token};
  }
  uint16_t east_admin() const { return ports_.at("east-admin"); }

  struct TokenOptions {
    std::string user;
    bool admin = false;
    bool write = true;
    std::vector<std::string> territories;
    std::string expires;
  };
  struct Token {
    std::string secret, id;
  };
  Token make_token(const TokenOptions& options);
  Answer master(const std::string& method, const std::string& target, const std::string& body = {});
  // Waits until all branches have applied the master's head and nothing is pending.
  void settle();
  void stop(const std::string& server);
  void kill(const std::string& server);
  void start(const std::string& server);
  std::string topology() const { return folder_ / "topology.yaml"; }
  std::string data(const std::string& server) const { return folder_ / server; }
  wan_test::Child& process(const std::string& server) { return *processes_.at(server); }

  std::string admin;   // everywhere, administrator
  std::string writer;  // east, may write
  std::string reader;  // east, may read

 private:
  Company();
  void wait_ready(const std::string& server);

  branchline::TempFolder folder_;
  std::map<std::string, uint16_t> ports_;
  std::map<std::string, std::unique_ptr<wan_test::Child>> processes_;
  std::string operator_token_;
};

}  // namespace office_test
