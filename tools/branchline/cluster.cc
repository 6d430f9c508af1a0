#include "tools/branchline/cluster.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <thread>

#include "common/json/json_writer.h"

namespace branchline {

namespace {

constexpr size_t kAskedAtOnce = 16;

// What a server says of an answer that is none, in the words of who stands at a command line.
std::string problem_of(const ClientResponse& response) {
  if (error_code(response) == "token.missing")
    return "no token was given: use --token TOKEN, or set $BRANCHLINE_TOKEN";
  return error_text(response);
}

}  // namespace

ServerAnswer ask_one(const ServerSpec& server, const std::string& token, const std::string& method,
                     const std::string& path, int64_t timeout_ms) {
  ServerAnswer answer;
  answer.server = &server;
  HttpClient client(server.admin.to_string());
  client.set_token(token);
  client.set_timeout_ms(timeout_ms);
  auto response = client.request(method, path);
  if (!response) {
    answer.problem = response.error().message;
    return answer;
  }
  answer.status = response->status;
  if (response->status != 200) {
    answer.problem = problem_of(*response);
  } else if (auto json = parse_json(response->body, 32)) {
    answer.json = std::move(*json);
  } else {
    answer.problem = json.error().message;
  }
  return answer;
}

namespace {

ErrorKind kind_of(int status) {
  switch (status) {
    case 401:
    case 403:
      return ErrorKind::denied;
    case 404:
      return ErrorKind::not_found;
    case 409:
      return ErrorKind::conflict;
    case 429:
    case 507:
      return ErrorKind::exhausted;
    default:
      // Wrong use is the caller's; the rest is the server's, which could not.
      return status < 500 ? ErrorKind::invalid : ErrorKind::corrupt;
  }
}

}  // namespace

std::vector<ServerAnswer> ask_all(const Topology& topology, const std::string& token,
                                  const std::string& path, int64_t timeout_ms) {
  std::vector<ServerAnswer> out(topology.servers.size());
  // At the same time, so that what they say belongs together and silent ones cost their time once.
  std::atomic<size_t> next = 0;
  std::vector<std::jthread> askers(std::min(out.size(), kAskedAtOnce));
  for (auto& asker : askers) {
    asker = std::jthread([&] {
      for (size_t i = next++; i < out.size(); i = next++)
        out[i] = ask_one(topology.servers[i], token, "GET", path, timeout_ms);
    });
  }
  askers.clear();
  return out;
}

int exit_code_of(const std::vector<ServerAnswer>& answers) {
  bool refused = false, silent = false, none = false;
  for (const auto& a : answers) {
    if (a.json) continue;
    (a.refused() ? refused : a.status == 0 ? silent : none) = true;
  }
  return refused ? 2 : silent ? 3 : none ? 1 : 0;
}

namespace {

Result<Json> ask_one(const ServerSpec& server, const std::string& token, const std::string& method,
                     const std::string& path, const std::string& body) {
  HttpClient client(server.admin.to_string());
  client.set_token(token);
  BL_ASSIGN(ClientResponse response, client.request(method, path, body));
  if (response.status >= 300) {
    std::string code = error_code(response);
    return fail(kind_of(response.status), code.empty() ? "master.refused" : code,
                problem_of(response));
  }
  return parse_json(response.body, 32);
}

}  // namespace

Result<Json> ask_master(const Topology& topology, const std::string& token,
                        const std::string& method, const std::string& path,
                        const std::string& body) {
  return ask_one(topology.master(), token, method, path, body);
}

Result<Json> ask_server(const Topology& topology, const std::string& name, const std::string& token,
                        const std::string& method, const std::string& path,
                        const std::string& body) {
  const ServerSpec* server = topology.server(name);
  if (!server) {
    return fail(ErrorKind::not_found, "server.unknown",
                "the topology has no server named `" + name + "`");
  }
  return ask_one(*server, token, method, path, body);
}

std::string text_of(const Json& object, std::string_view name) {
  const Json* m = object.member(name);
  return m ? m->text : std::string();
}

uint64_t number_of(const Json& object, std::string_view name) {
  const Json* m = object.member(name);
  return m && m->kind == Json::Kind::number ? std::strtoull(m->text.c_str(), nullptr, 10) : 0;
}

bool flag_of(const Json& object, std::string_view name) {
  const Json* m = object.member(name);
  return m && m->boolean;
}

void put_json(std::string& out, const Json& json) {
  switch (json.kind) {
    case Json::Kind::null:
      out += "null";
      break;
    case Json::Kind::boolean:
      out += json.boolean ? "true" : "false";
      break;
    case Json::Kind::number:
      out += json.text;
      break;
    case Json::Kind::string:
      append_json_string(out, json.text);
      break;
    case Json::Kind::array:
      out.push_back('[');
      for (size_t i = 0; i < json.items.size(); ++i) {
        if (i) out.push_back(',');
        put_json(out, json.items[i]);
      }
      out.push_back(']');
      break;
    case Json::Kind::object:
      out.push_back('{');
      for (size_t i = 0; i < json.members.size(); ++i) {
        if (i) out.push_back(',');
        append_json_string(out, json.members[i].name);
        out.push_back(':');
        put_json(out, json.members[i].value);
      }
      out.push_back('}');
  }
}

void put_answers(std::string& out, const std::vector<ServerAnswer>& answers) {
  out += "\"servers\":[";
  for (size_t i = 0; i < answers.size(); ++i) {
    if (i) out.push_back(',');
    out += "{\"name\":";
    append_json_string(out, answers[i].server->name);
    if (answers[i].json) {
      out += ",\"answer\":";
      put_json(out, *answers[i].json);
    } else {
      out += ",\"problem\":";
      append_json_string(out, answers[i].problem);
    }
    out.push_back('}');
  }
  out.push_back(']');
}

int complain(const Error& e) {
  std::fprintf(stderr, "%s\n", e.message.c_str());
  switch (e.kind) {
    case ErrorKind::unavailable:
      return 3;
    case ErrorKind::exhausted:
    case ErrorKind::corrupt:
      return 1;
    default:
      return 2;
  }
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
    }
    std::printf("%s\n", line.c_str());
  }
}

}  // namespace branchline
