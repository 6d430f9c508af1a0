#include "tools/branchline/cluster.h"

#include <algorithm>
#include <cstdio>

namespace branchline {

std::vector<ServerAnswer> ask_all(const Topology& topology, const std::string& token, const std::string& path) {
  std::vector<ServerAnswer> out;
  for (const auto& server : topology.servers) {
    ServerAnswer& answer = out.emplace_back();
    answer.server = &server;
    HttpClient client(server.admin.to_string());
    client.set_token(token);
    client.set_timeout_ms(120'000);
    auto response = client.request("GET", path);
    if (!response) {
      answer.problem = response.error().message;
    } else if (response->status != 200) {
      answer.problem = error_text(*response);
    } else if (auto json = parse_json(response->body, 32)) {
      answer.json = std::move(*json);
    } else {
      answer.problem = json.error().message;
    }
  }
  return out;
}

Result<Json> ask_master(const Topology& topology, const std::string& token, const std::string& method,
                        const std::string& path, const std::string& body) {
  HttpClient client(topology.master().admin.to_string());
  client.set_token(token);
  BL_ASSIGN(ClientResponse response, client.request(method, path, body));
  if (response.status >= 300) return fail(ErrorKind::invalid, "master.refused", error_text(response));
  return parse_json(response.body, 32);
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
