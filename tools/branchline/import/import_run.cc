#include "tools/branchline/import/import_run.h"

#include <algorithm>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "common/base/hash.h"
#include "common/json/json.h"
#include "tools/branchline/http_client.h"
#include "tools/branchline/import/import_requests.h"

namespace branchline::import {
namespace {

constexpr const char* kRoot = "/api/data/v9.2/";
constexpr int kRaces = 4;  // others may change the same record between our read and our write
constexpr auto kFirstPause = std::chrono::milliseconds(50);
constexpr auto kLongestPause = std::chrono::milliseconds(5000);

// `shutdown`: the import as a whole ends; everything else concerns one record.
std::unexpected<Error> refused(const ClientResponse& response) {
  return fail(ErrorKind::invalid, "import.refused", error_text(response));
}

struct Shared {
  const Mapping& mapping;
  const Plan& plan;
  const RunOptions& options;
  Progress& progress;
  std::mutex mutex;  // guards what follows
  RunResult result;
  std::set<uint32_t> rejected_rows;
  std::map<std::string, std::string> lookup_ids;
  std::atomic<bool> over{false};
};

class Worker {
 public:
  explicit Worker(Shared& shared)
      : s_(shared), client_(shared.options.url), random_(std::random_device{}()) {
    client_.set_token(shared.options.token);
  }

  // Whether an office is there and takes the token; where not, the import is over.
  void greet() {
    std::string target = std::string(kRoot) + "WhoAmI()";
    auto response = ask("GET", target, "", {});
    if (!response) return;  // it is over already
    auto json = parse_json(response->body);
    if (response->status == 200 && json && !text_member(*json, "Server").empty()) return;
    std::string why = "this is no office's address (it is a master's?): GET " + target +
                      " is answered with status " + std::to_string(response->status);
    if (response->status != 200) why += ", " + error_text(*response);
    std::lock_guard lock(s_.mutex);
    s_.result.gave_up = why;
    s_.result.no_office = true;
    s_.over = true;
  }

  void work(const std::vector<PlannedMutation>& step, std::atomic<size_t>& next) {
    for (size_t i = next++; i < step.size() && !s_.over; i = next++) {
      one(step[i]);
      s_.progress.done += step[i].rows.size();
    }
  }

 private:
  void one(const PlannedMutation& planned) {
    PlannedMutation m = planned;
    {
      // A row is imported as a whole: where an earlier step failed with it, nothing else is made of
      // it.
      std::lock_guard lock(s_.mutex);
      if (s_.rejected_rows.count(m.record.row) > 0) return;
      std::erase_if(m.children, [&](const PlannedChild& c) {
        return s_.rejected_rows.count(c.record.row) > 0;
      });
    }
    auto done = save(m);
    if (!done) failed(m.record, m.rows, done.error());
  }

  Result<void> save(const PlannedMutation& m) {
    for (int attempt = 0; attempt < kRaces; ++attempt) {
      BL_ASSIGN(auto there, read(m));
      if (there) {
        BL_ASSIGN(bool done, compare(m, *there));
        if (done) return {};
        continue;
      }
      std::string body = create_body(s_.mapping.name, m);
      BL_ASSIGN(auto response, write("POST", m.record.map->set, body, m.record, ""));
      if (response.status == 412) continue;  // somebody made it meanwhile
      if (response.status == 410 && error_code(response) == "record.deleted") {
        count(m.record, &SetCounts::deleted);
        return {};
      }
      if (response.status >= 300) return refused(response);
      if (!response.header("Branchline-Replayed").empty()) {
        // Made before: by this run, if its first answer was lost, or by an earlier one.
        BL_ASSIGN(auto again, read(m));
        if (!again) {
          count(m.record, &SetCounts::deleted);
          return {};
        }
      }
      count(m.record, &SetCounts::created);
      for (const auto& c : m.children) count(c.record, &SetCounts::created);
      return {};
    }
    return fail(ErrorKind::conflict, "import.race",
                "others keep changing this record; import again later");
  }

  Result<std::optional<Json>> read(const PlannedMutation& m) {
    std::string target = kRoot + address_of(s_.mapping.name, m.record);
    std::string expand;
    for (const auto& map : m.record.map->children) {
      bool used = std::any_of(m.children.begin(), m.children.end(),
                              [&](const auto& c) { return c.map == &map; });
      if (used) expand += (expand.empty() ? "?$expand=" : ",") + map.collection;
    }
    BL_ASSIGN(auto response, ask("GET", target + expand, "", {}));
    if (response.status == 404) return std::optional<Json>();
    if (response.status >= 300) return refused(response);
    BL_ASSIGN(Json json, parse_json(response.body, 32));
    return std::optional<Json>(std::move(json));
  }

  // False where somebody changed the record between our read and our write.
  Result<bool> compare(const PlannedMutation& m, const Json& there) {
    BL_ASSIGN(bool done, compare_one(m.record, there));
    if (!done) return false;
    const Entity& entity = *m.record.map->entity;
    for (const auto& child : m.children) {
      const Json* collection = there.member(child.map->collection);
      const Json* held = collection ? find_child(s_.mapping.name, child, *collection) : nullptr;
      auto result =
          held ? compare_one(child.record, *held)
               : add_child(child, m.record.map->set, text_member(there, entity.primary_key));
      if (!result && result.error().kind == ErrorKind::shutdown) return result;
      if (!result) {
        failed(child.record, {child.record.row}, result.error());
      } else if (!*result) {
        return false;
      }
    }
    return true;
  }

  Result<bool> compare_one(const PlannedRecord& record, const Json& there) {
    auto lookup = [this](const PlannedCell& cell) { return lookup_id(cell); };
    BL_ASSIGN(auto cells, differences(record, there, lookup));
    if (cells.empty()) {
      count(record, &SetCounts::unchanged);
      return true;
    }
    std::string etag = text_member(there, "@odata.etag");
    std::string id = text_member(there, record.map->entity->primary_key);
    std::string body = update_body(s_.mapping.name, cells);
    BL_ASSIGN(auto response, write("PATCH", record.map->set + "(" + id + ")", body, record, etag));
    if (response.status == 412 && error_code(response) == "precondition.etag") return false;
    if (response.status == 404) return false;
    if (response.status >= 300) return refused(response);
    count(record, &SetCounts::updated);
    return true;
  }

  Result<bool> add_child(const PlannedChild& child, const std::string& parent_set,
                         const std::string& parent_id) {
    std::string body = create_child_body(s_.mapping.name, child, parent_set, parent_id);
    BL_ASSIGN(auto response, write("POST", child.record.map->set, body, child.record, ""));
    if (response.status >= 300) return refused(response);
    bool replayed = !response.header("Branchline-Replayed").empty();
    count(child.record, replayed ? &SetCounts::deleted : &SetCounts::created);
    return true;
  }

  Result<std::string> lookup_id(const PlannedCell& cell) {
    std::string target = lookup_address(s_.mapping.name, cell);
    {
      std::lock_guard lock(s_.mutex);
      if (auto at = s_.lookup_ids.find(target); at != s_.lookup_ids.end()) return at->second;
    }
    const std::string& key = cell.map->target->primary_key;
    BL_ASSIGN(auto response, ask("GET", kRoot + target + "?$select=" + key, "", {}));
    if (response.status >= 300) return refused(response);
    BL_ASSIGN(Json json, parse_json(response.body, 32));
    std::string id = text_member(json, key);
    std::lock_guard lock(s_.mutex);
    s_.lookup_ids[target] = id;
    return id;
  }

  Result<ClientResponse> write(const std::string& method, const std::string& path,
                               const std::string& body, const PlannedRecord& record,
                               const std::string& etag) {
    HttpClient::Headers headers;
    headers.emplace_back("Branchline-Lane", "bulk");
    headers.emplace_back("Idempotency-Key",
                         operation_key(s_.mapping.name, record.map->set, record.key, body, etag));
    if (!etag.empty()) headers.emplace_back("If-Match", etag);
    BL_ASSIGN(auto response, ask(method, kRoot + path, body, headers));
    if (response.status < 300 && !response.header("Branchline-Mutation").empty() &&
        response.header("Branchline-Replayed").empty()) {
      std::lock_guard lock(s_.mutex);
      ++s_.result.mutations;
    }
    return response;
  }

  // Waits out a branch that does not answer, is joining, is busy or has no room. `shutdown`: the
  // import is over.
  Result<ClientResponse> ask(const std::string& method, const std::string& target,
                             const std::string& body, const HttpClient::Headers& headers) {
    auto pause = kFirstPause;
    auto deadline = std::chrono::steady_clock::now() + s_.options.patience;
    for (;;) {
      if (s_.over) return fail(ErrorKind::shutdown, "import.over", "");
      HttpClient::Headers all = headers;
      // Each row asks whether it is here already; what other offices hold is not this import's.
      all.emplace_back("Branchline-Read", "local");
      auto response = client_.request(method, target, body, all);
      std::string why;
      if (!response) {
        why = response.error().message;
      } else if (response->status == 503 || response->status == 507 || response->status == 429) {
        why = error_text(*response);
      } else if (response->status == 401) {
        give_up("the branch refuses the token: " + error_text(*response), false);
        continue;
      } else {
        s_.progress.waiting = nullptr;
        return response;
      }
      if (std::chrono::steady_clock::now() >= deadline) {
        give_up(why, true);
        continue;
      }
      s_.progress.waiting = response ? "the branch asks to wait" : "the branch does not answer";
      // With jitter, so that the connections do not come back all at once.
      std::this_thread::sleep_for(pause / 2 +
                                  pause * std::uniform_real_distribution<>(0, 0.5)(random_));
      pause = std::min(pause * 2, kLongestPause);
    }
  }

  static std::string error_code(const ClientResponse& response) {
    auto json = parse_json(response.body);
    const Json* error = json ? json->member("error") : nullptr;
    return error ? text_member(*error, "code") : std::string();
  }

  void give_up(const std::string& why, bool no_answer) {
    std::lock_guard lock(s_.mutex);
    if (s_.result.gave_up.empty()) {
      s_.result.gave_up = why;
      s_.result.no_answer = no_answer;
    }
    s_.over = true;
  }

  void count(const PlannedRecord& record, uint64_t SetCounts::* what) {
    std::lock_guard lock(s_.mutex);
    ++(s_.result.sets[record.map->set].*what);
  }

  void failed(const PlannedRecord& record, const std::vector<uint32_t>& rows, const Error& error) {
    if (error.kind == ErrorKind::shutdown) return;
    // The branch's messages begin with the field's name where there is one.
    std::string column, value, field = error.message.substr(0, error.message.find(':'));
    for (const auto& f : record.map->fields) {
      if (f.field->name == field) column = f.column;
    }
    std::lock_guard lock(s_.mutex);
    ++s_.result.sets[record.map->set].rejected;
    for (uint32_t row : rows) {
      if (!s_.rejected_rows.insert(row).second) continue;
      s_.result.rejections.push_back(
          {row, column, value, record.map->set + " " + record.key + ": " + error.message});
      ++s_.progress.rejected;
    }
  }

  Shared& s_;
  HttpClient client_;
  std::minstd_rand random_;
};

}  // namespace

RunResult run_plan(const Mapping& mapping, const Plan& plan, const RunOptions& options,
                   Progress& progress) {
  Shared shared{mapping, plan, options, progress, {}, {}, {}, {}, false};
  for (const auto& r : plan.rejections) shared.rejected_rows.insert(r.row);
  progress.rejected = plan.rejections.size();
  uint64_t total = 0;
  for (const auto& step : plan.steps) {
    for (const auto& m : step) total += m.rows.size();
  }
  progress.total = total;
  progress.rows = plan.rows.size();
  if (total > 0) Worker(shared).greet();
  for (const auto& step : plan.steps) {
    std::atomic<size_t> next{0};
    std::vector<std::jthread> workers;
    for (size_t i = 0; i < std::min(options.jobs, step.size()); ++i) {
      workers.emplace_back([&] { Worker(shared).work(step, next); });
    }
  }
  auto by_row = [](const Rejection& a, const Rejection& b) { return a.row < b.row; };
  std::sort(shared.result.rejections.begin(), shared.result.rejections.end(), by_row);
  return std::move(shared.result);
}

}  // namespace branchline::import
