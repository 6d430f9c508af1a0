// Clients of an office that know what they were promised.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/crash/company.h"

namespace branchline::crash {

// A write as it was sent; a retry sends the same bytes.
struct Write {
  std::string method, target, body, key;
  bool must_exist = false;  // sent with If-Match: *
};

struct Acknowledged {
  Write write;
  std::string mutation;  // as the first answer named it
  int attempts = 1;
};

// Everything that clients were told, over all cycles and offices.
class Ledger {
 public:
  void created(const std::string& id, const std::string& name, const std::string& branch);
  void deleted(const std::string& id);
  void acknowledged(const std::string& branch, Acknowledged a);

  struct Created {
    std::string id, name, branch;
  };
  // Made since the last call, and still there.
  std::vector<Created> fresh_creates();
  std::vector<Created> living() const;
  std::set<std::string> gone() const;
  // Of this cycle: all that needed a retry and some of the others.
  std::vector<std::pair<std::string, Acknowledged>> take_samples(size_t most,
                                                                 std::mt19937_64& random);

  // Of the shared records.
  std::atomic<uint64_t> keyed_adds{0};  // every one of them was acknowledged in the end
  std::atomic<uint64_t> plain_adds{0};  // acknowledged at once
  std::atomic<uint64_t> plain_attempts{0};
  std::atomic<uint64_t> notes{0};
  std::atomic<uint64_t> writes{0}, retries{0}, unanswered{0};
  std::map<std::string, std::atomic<uint64_t>>
      adds_at;  // keyed, by branch; filled before the clients start
  void description_tried(const std::string& text);
  bool was_tried(const std::string& description) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Created> living_;
  std::vector<Created> fresh_;
  std::set<std::string> gone_, descriptions_;
  std::vector<std::pair<std::string, Acknowledged>> cycle_;
};

// Records that the clients of all offices change.
struct Shared {
  std::string keyed_counter, plain_counter, notes, described;
};

// The clients of one office, each with one request at a time.
class Clients {
 public:
  Clients(const Company& company, std::string branch, Shared shared, Ledger& ledger, uint64_t seed,
          std::string run);
  ~Clients() { finish(); }

  void start(size_t count);
  // Lets each finish what it is at, retries included, until it is acknowledged.
  void finish();
  // Ends as soon as may be; what was under way stays unknown.
  void abandon();
  int in_flight() const { return in_flight_.load(); }
  // What a client was told that must not be, e.g. a refusal of a valid write.
  std::vector<std::string> complaints();

 private:
  void work(size_t number, uint64_t seed);
  void one_write(Http& http, size_t number, std::mt19937_64& random);
  // Sends until it is acknowledged; nothing when it was refused (which is a complaint).
  std::optional<Answer> until_acknowledged(Http& http, const Write& write);
  std::optional<Answer> send(Http& http, const Write& write);

  const Company& company_;
  std::string branch_;
  Shared shared_;
  Ledger& ledger_;
  std::mt19937_64 seeds_;
  std::string run_;
  std::atomic<bool> stop_{false}, abandoned_{false};
  std::atomic<int> in_flight_{0};
  std::atomic<uint64_t> counter_{0};
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::vector<std::string> complaints_;
  std::vector<std::string> own_;  // accounts made by this office's clients, for deletes
};

// One request of this kind; used again to check that a retry is answered as the first was.
std::optional<Answer> send_write(Http& http, const Write& write);

}  // namespace branchline::crash
