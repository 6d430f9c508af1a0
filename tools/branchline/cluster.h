// The servers of a topology as the command line asks them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/config/topology.h"
#include "common/json/json.h"
#include "tools/branchline/http_client.h"

namespace branchline {

struct ServerAnswer {
  const ServerSpec* server = nullptr;
  std::optional<Json> json;  // of a 200
  std::string problem;       // why there is none
};

// GET `path` at the operators' address of each server.
std::vector<ServerAnswer> ask_all(const Topology& topology, const std::string& token, const std::string& path);
// One request to the master's operators' address; its JSON, or the error it answered.
Result<Json> ask_master(const Topology& topology, const std::string& token, const std::string& method,
                        const std::string& path, const std::string& body = {});

// Members of answers, with defaults for what is absent.
std::string text_of(const Json& object, std::string_view name);
uint64_t number_of(const Json& object, std::string_view name);
bool flag_of(const Json& object, std::string_view name);

// Prints a table whose columns are as wide as they need be; the first row is the head.
void print_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace branchline
