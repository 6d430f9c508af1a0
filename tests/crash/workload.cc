#include "tests/crash/workload.h"

#include <algorithm>

namespace branchline::crash {
namespace {

constexpr const char* kData = "/api/data/v9.2/";

// ".../accounts(id)" -> id
std::string id_of(const Answer& answer) {
  std::string url = answer.header("OData-EntityId");
  size_t open = url.rfind('('), close = url.rfind(')');
  return open == std::string::npos || close < open ? "" : url.substr(open + 1, close - open - 1);
}

// A server that goes away says 503 or nothing; the client comes again.
bool come_again(const std::optional<Answer>& a) { return !a || a->status == 503; }

}  // namespace

std::optional<Answer> send_write(Http& http, const Write& w) {
  Http::Headers headers;
  if (!w.key.empty()) headers.emplace_back("Idempotency-Key", w.key);
  if (w.must_exist) headers.emplace_back("If-Match", "*");
  return http.request(w.method, w.target, w.body, headers);
}

void Ledger::created(const std::string& id, const std::string& name, const std::string& branch) {
  std::lock_guard lock(mutex_);
  living_[id] = {id, name, branch};
  fresh_.push_back({id, name, branch});
}

void Ledger::deleted(const std::string& id) {
  std::lock_guard lock(mutex_);
  living_.erase(id);
  gone_.insert(id);
}

void Ledger::acknowledged(const std::string& branch, Acknowledged a) {
  std::lock_guard lock(mutex_);
  cycle_.emplace_back(branch, std::move(a));
}

std::vector<Ledger::Created> Ledger::fresh_creates() {
  std::lock_guard lock(mutex_);
  std::vector<Created> out;
  for (auto& c : fresh_) {
    if (living_.count(c.id)) out.push_back(std::move(c));
  }
  fresh_.clear();
  return out;
}

std::vector<Ledger::Created> Ledger::living() const {
  std::lock_guard lock(mutex_);
  std::vector<Created> out;
  for (const auto& [id, c] : living_) out.push_back(c);
  return out;
}

std::set<std::string> Ledger::gone() const {
  std::lock_guard lock(mutex_);
  return gone_;
}

std::vector<std::pair<std::string, Acknowledged>> Ledger::take_samples(size_t most,
                                                                       std::mt19937_64& random) {
  std::lock_guard lock(mutex_);
  std::shuffle(cycle_.begin(), cycle_.end(), random);
  std::sort(cycle_.begin(), cycle_.end(),
            [](const auto& a, const auto& b) { return a.second.attempts > b.second.attempts; });
  if (cycle_.size() > most) cycle_.resize(most);
  return std::exchange(cycle_, {});
}

void Ledger::description_tried(const std::string& text) {
  std::lock_guard lock(mutex_);
  descriptions_.insert(text);
}

bool Ledger::was_tried(const std::string& description) const {
  std::lock_guard lock(mutex_);
  return descriptions_.count(description) > 0;
}

Clients::Clients(const Company& company, std::string branch, Shared shared, Ledger& ledger,
                 uint64_t seed, std::string run)
    : company_(company),
      branch_(std::move(branch)),
      shared_(std::move(shared)),
      ledger_(ledger),
      seeds_(seed),
      run_(std::move(run)) {}

void Clients::start(size_t count) {
  stop_ = false;
  for (size_t i = 0; i < count; ++i) {
    uint64_t seed = seeds_();
    threads_.emplace_back([this, i, seed] { work(i, seed); });
  }
}

void Clients::finish() {
  stop_ = true;
  for (auto& t : threads_) t.join();
  threads_.clear();
}

void Clients::abandon() {
  abandoned_ = true;
  finish();
}

std::vector<std::string> Clients::complaints() {
  std::lock_guard lock(mutex_);
  return complaints_;
}

void Clients::work(size_t number, uint64_t seed) {
  std::mt19937_64 random(seed);
  auto http = company_.office(branch_, &in_flight_);
  while (!stop_) one_write(*http, number, random);
  ledger_.unanswered += http->unanswered();
}

std::optional<Answer> Clients::until_acknowledged(Http& http, const Write& write) {
  auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (int attempt = 1;; ++attempt) {
    auto answer = send_write(http, write);
    if (!come_again(answer)) {
      if (answer->ok()) {
        ++ledger_.writes;
        ledger_.retries += attempt > 1 ? 1 : 0;
        ledger_.acknowledged(branch_, {write, answer->header("Branchline-Mutation"), attempt});
        return answer;
      }
      std::lock_guard lock(mutex_);
      complaints_.push_back(write.method + " " + write.target + " (attempt " +
                            std::to_string(attempt) + ") was answered " +
                            std::to_string(answer->status) + " " + answer->body.substr(0, 300));
      return std::nullopt;
    }
    if (abandoned_) return std::nullopt;
    if (std::chrono::steady_clock::now() > deadline) {
      std::lock_guard lock(mutex_);
      complaints_.push_back(write.method + " " + write.target + " was never answered");
      return std::nullopt;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void Clients::one_write(Http& http, size_t number, std::mt19937_64& random) {
  std::string key =
      run_ + "-" + branch_ + "-" + std::to_string(number) + "-" + std::to_string(counter_++);
  auto account = [](const std::string& id) { return std::string(kData) + "accounts(" + id + ")"; };
  uint64_t dice = random() % 100;
  if (dice < 40) {
    Write w{"POST", std::string(kData) + "accounts",
            R"({"name":")" + key + R"(","accountnumber":")" + key + R"("})", key, false};
    auto a = until_acknowledged(http, w);
    if (!a) return;
    std::string id = id_of(*a);
    ledger_.created(id, key, branch_);
    std::lock_guard lock(mutex_);
    own_.push_back(id);
  } else if (dice < 60) {
    if (until_acknowledged(http, {"PATCH", account(shared_.keyed_counter),
                                  R"({"loyaltypoints@Branchline.add":1})", key, true})) {
      ++ledger_.keyed_adds;
      ++ledger_.adds_at.at(branch_);
    }
  } else if (dice < 68) {
    // Without a key nobody may repeat it: the truth lies between what was acknowledged and what was
    // tried.
    ++ledger_.plain_attempts;
    auto a = send_write(http, {"PATCH", account(shared_.plain_counter),
                               R"({"loyaltypoints@Branchline.add":1})", "", true});
    if (a && a->ok()) ++ledger_.plain_adds;
    if (!a) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  } else if (dice < 80) {
    std::string body = R"-({"objectid_account@odata.bind":"/accounts()-" + shared_.notes +
                       R"-()","notetext":")-" + key + R"-("})-";
    if (until_acknowledged(http, {"POST", std::string(kData) + "annotations", body, key, false}))
      ++ledger_.notes;
  } else if (dice < 92) {
    ledger_.description_tried(key);
    until_acknowledged(http, {"PATCH", account(shared_.described),
                              R"({"description":")" + key + R"(","tags":["a","b"]})", key, true});
  } else {
    std::string id;
    {
      std::lock_guard lock(mutex_);
      if (own_.empty()) return;
      std::swap(own_[random() % own_.size()], own_.back());
      id = own_.back();
      own_.pop_back();
    }
    if (until_acknowledged(http, {"DELETE", account(id), "", key, false})) ledger_.deleted(id);
  }
}

}  // namespace branchline::crash
