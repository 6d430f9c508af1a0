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
  int status = 0;            // what it answered with; 0: it did not answer
  bool refused() const { return status == 401 || status == 403; }
};

// GET `path` at the operators' address of each server, all at the same time; in the topology's
// order.
std::vector<ServerAnswer> ask_all(const Topology& topology, const std::string& token,
                                  const std::string& path, int64_t timeout_ms);
// One request to the operators' address of one server; as ask_all() gives it.
ServerAnswer ask_one(const ServerSpec& server, const std::string& token, const std::string& method,
                     const std::string& path, int64_t timeout_ms);
// The exit code of a question to all of them: 0, 1 for an answer that is none, 2 where the token is
// refused, 3 where a server did not answer.
int exit_code_of(const std::vector<ServerAnswer>& answers);
// One request to the master's operators' address; its JSON, or the error it answered, under that
// error's code.
Result<Json> ask_master(const Topology& topology, const std::string& token,
                        const std::string& method, const std::string& path,
                        const std::string& body = {});

// The same of any server; `not_found` where the topology has none of that name.
Result<Json> ask_server(const Topology& topology, const std::string& name, const std::string& token,
                        const std::string& method, const std::string& path,
                        const std::string& body = {});

// Members of answers, with defaults for what is absent.
std::string text_of(const Json& object, std::string_view name);
uint64_t number_of(const Json& object, std::string_view name);
bool flag_of(const Json& object, std::string_view name);

// Appends JSON as it was read.
void put_json(std::string& out, const Json& json);
// Appends "servers":[{name, answer | problem}], each answer as the server gave it.
void put_answers(std::string& out, const std::vector<ServerAnswer>& answers);
// Tells an error on stderr; the exit code that goes with it: 1 where what was asked could not be
// done, 2 for wrong use or a refused token, 3 where nobody answered.
int complain(const Error& e);

// Prints a table whose columns are as wide as they need be; the first row is the head.
void print_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace branchline
