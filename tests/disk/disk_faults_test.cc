// A disk that fails once, at each place where it can; and logs in which one byte is another. What
// an office acknowledged is there afterwards, once, or its server says that it is not.
#include <catch2/catch.hpp>

#include <fstream>
#include <functional>

#include "branch/replica/audit.h"
#include "branch/replica/lost_log.h"
#include "common/store/anchor.h"
#include "common/store/rocks_store.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/small_world.h"
#include "tests/support/temp_folder.h"
#include "tests/support/unsynced_file_system.h"

namespace branchline {
namespace {

namespace fs = std::filesystem;

constexpr int kWrites = 18;
const std::string kLong(2500, 'x');

// An office on a disk, in a company whose other servers have good ones. What is not synced is lost
// when its process ends.
struct Office {
  SmallWorld world{false};
  SmallOffice& hq = *world.offices.at("hq");
  SmallOffice& east = *world.offices.at("east");
  std::shared_ptr<FaultPlan> plan = std::make_shared<FaultPlan>();
  std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(
      std::make_shared<FaultyFileSystem>(std::make_shared<UnsyncedFileSystem>(), plan));
  TempFolder folder;
  std::string directory = (folder / "store").string();
  std::vector<bool> acknowledged = std::vector<bool>(kWrites, false);
  std::function<void()> after_write = [] {};

  Office() {
    hq.connect();
    world.offices.at("west")->connect();
    REQUIRE(hq.write("create account a @common name=Acme loyaltypoints+=100") == "ok");
    hq.ship();
    end();  // SmallWorld started it in memory
  }

  Result<void> open(rocksdb::Env* on) {
    RocksOptions options;
    options.env = on;
    options.write_buffer_bytes = 64 * 1024;
    BL_ASSIGN(east.disk, RocksStore::open(directory, options));
    return {};
  }
  // Its process ends.
  void end() {
    east.replica.reset();
    east.outbox.reset();
    east.disk.reset();
  }
  // Throws where the store fails; the server's process ends there (branch/replica/committer.cc).
  void start(rocksdb::Env* on) {
    if (auto ok = open(on); !ok) throw std::runtime_error(ok.error().message);
    east.start();
  }

  // The i-th change that this office's people make, keyed; again with the same key is once.
  std::string change(int i) {
    std::string n = std::to_string(i);
    return i % 3 == 0   ? "create account n" + n + " @east name=N" + n + " description=" + kLong
           : i % 3 == 1 ? "update a loyaltypoints+=1"
                        : "update a description=" + n + kLong;
  }
  void write(int i) {
    std::string answer = east.write(change(i), "key-" + std::to_string(i));
    INFO(answer);
    REQUIRE((answer == "ok" || answer == "replayed"));
    acknowledged[size_t(i)] = true;
    after_write();
  }
  void work() {
    for (int i = 0; i < 6; ++i) write(i);
    hq.write("update a name=Theirs loyaltypoints+=100");
    hq.ship();
    east.fetch();
    for (int i = 6; i < 12; ++i) write(i);
    east.ship(1);
    east.fetch();
    for (int i = 12; i < kWrites; ++i) write(i);
  }

  void require_acknowledged() {
    std::string a = east.show("a");
    for (int i = 0; i < kWrites; ++i) {
      if (!acknowledged[size_t(i)] || i % 3 != 0) continue;
      std::string n = std::to_string(i);
      INFO("change " << i);
      REQUIRE(east.show("n" + n).find("name=N" + n) != std::string::npos);
    }
  }

  // On a disk that is well again: all that was acknowledged is there, the rest is done once when
  // its clients repeat it, and all servers agree.
  void require_nothing_lost() {
    end();
    plan->reset();
    start(nullptr);
    if (east.replica->state().joined()) require_acknowledged();
    east.connect();
    for (int i = 0; i < kWrites; ++i) write(i);
    require_acknowledged();
    world.settle();
    world.settle();
    REQUIRE(world.audit() == std::vector<std::string>{});
    int added = 0;
    for (int i = 0; i < kWrites; ++i) added += i % 3 == 1 ? 1 : 0;
    INFO(hq.show("a").substr(0, 200));
    bool theirs =
        hq.show("a").find("loyaltypoints=" + std::to_string(200 + added)) != std::string::npos;
    bool not_theirs =
        hq.show("a").find("loyaltypoints=" + std::to_string(100 + added)) != std::string::npos;
    REQUIRE((theirs || not_theirs));
    end();
  }
};

// Runs `step` until it has to stop; whether it came to its end.
bool runs(const std::function<void()>& step) {
  try {
    step();
    return true;
  } catch (const std::runtime_error&) {
    return false;
  }
}

uint64_t operations_of(FileOperation kind, bool second_start) {
  Office o;
  if (!second_start) o.plan->arm(kind, 0);
  o.start(o.env.get());
  o.east.connect();
  o.work();
  if (second_start) {
    o.end();
    o.plan->arm(kind, 0);
    o.start(o.env.get());
    o.east.connect();
    o.world.settle();
  }
  o.end();
  return o.plan->count(kind);
}

void fail_each(FileOperation kind) {
  uint64_t all = operations_of(kind, false);
  INFO(all << " operations");
  REQUIRE(all > 30);
  uint64_t stopped = 0;
  for (uint64_t n = 1; n <= all; ++n) {
    CAPTURE(n);
    Office o;
    o.plan->arm(kind, n);
    bool whole = runs([&] {
      o.start(o.env.get());
      o.east.connect();
      o.work();
    });
    o.end();
    stopped += whole ? 0 : 1;
    o.require_nothing_lost();
  }
  CHECK(stopped > all / 2);  // else what failed was no operation that counts
}

}  // namespace

TEST_CASE("whichever write fails, what was acknowledged is there", "[disk]") {
  fail_each(FileOperation::write);
}

TEST_CASE("whichever sync fails, what was acknowledged is there", "[disk]") {
  fail_each(FileOperation::sync);
}

TEST_CASE("whichever read fails, a start says so or reads all, and loses nothing", "[disk]") {
  uint64_t all = operations_of(FileOperation::read, true);
  REQUIRE(all > 5);
  for (uint64_t n = 1; n <= all; ++n) {
    CAPTURE(n);
    Office o;
    o.start(o.env.get());
    o.east.connect();
    o.work();
    o.end();
    o.plan->arm(FileOperation::read, n);
    runs([&] {
      o.start(o.env.get());
      o.east.connect();
      o.world.settle();
    });
    o.require_nothing_lost();
  }
}

// --- Bytes that are others ---

namespace {

// A store as a kill leaves it, and its anchor.
struct Left {
  Office office;
  std::string data = (office.folder / "left").string();
  Anchor anchor;
  std::vector<std::pair<std::string, uint64_t>> ends;  // of the log, behind each change

  static fs::path newest_log(const std::string& directory) {
    fs::path newest;
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.path().extension() == ".log") newest = std::max(newest, entry.path());
    }
    return newest;
  }

  Left() {
    office.after_write = [this] {
      fs::path log = newest_log(office.directory);
      ends.emplace_back(log.filename().string(), fs::file_size(log));
    };
    office.start(nullptr);
    office.east.connect();
    office.work();
    for (int i = 0; i < 6; ++i) {  // small ones, into one log
      REQUIRE(office.east.write("update a loyaltypoints+=1") == "ok");
      office.after_write();
    }
    REQUIRE(office.east.home().sync());
    const ReplicaState& s = office.east.replica->state();
    anchor = {s.incarnation, s.order.value, chain_of(s.ends)};
    fs::copy(office.directory, data);
    REQUIRE(write_anchor(data + "/anchor", anchor));
  }

  // What a server's start does with it: the error that it tells, or nothing where it goes on.
  std::string start(const std::string& directory) {
    auto read = read_anchor(directory + "/anchor");
    if (!read) return read.error().message;
    if (!*read) return "no anchor";
    fs::remove(directory + "/anchor");
    RocksOptions options;
    auto store = RocksStore::open(directory, options);
    if (!store) return store.error().message;
    if (auto ok = check_lost_log(**store, **read, directory); !ok) return ok.error().message;
    Batch rows;
    SystemClock clock;
    SeededRandom random(1);
    auto replica = Replica::open(**store, office.world.schema, clock, random, rows);
    if (!replica) return replica.error().message;
    auto report = audit_replica(**store, *office.world.schema);
    REQUIRE(report);
    REQUIRE(report->problems == std::vector<std::string>{});
    REQUIRE((*replica)->state().ledger.accepted == office.east.replica->state().ledger.accepted);
    return "";
  }
};

}  // namespace

// Every byte with BRANCHLINE_EVERY_BYTE=1; else every 257th, from a random one on.
TEST_CASE("a byte of a log or of the anchor that is another: told, or nothing lost", "[disk]") {
  Left left;
  REQUIRE(left.start([&] {
    fs::copy(left.data, left.data + "-as-it-is");
    return left.data + "-as-it-is";
  }()) == "");
  size_t step = std::getenv("BRANCHLINE_EVERY_BYTE") ? 1 : 257;
  SystemRandom random;
  size_t told = 0, well = 0;
  for (const auto& entry : fs::directory_iterator(left.data)) {
    std::string name = entry.path().filename().string();
    bool anchor = name == "anchor";
    if (!anchor && !name.ends_with(".log")) continue;
    size_t each = anchor ? 1 : step;
    for (size_t at = random.next() % each; at < entry.file_size(); at += each) {
      std::string copy = left.data + "-flipped";
      fs::remove_all(copy);
      fs::copy(left.data, copy);
      uint8_t bit = static_cast<uint8_t>(1u << (random.next() % 8));
      {
        std::fstream file(copy + "/" + name, std::ios::binary | std::ios::in | std::ios::out);
        file.seekg(static_cast<std::streamoff>(at));
        char byte = static_cast<char>(file.get() ^ bit);
        file.seekp(static_cast<std::streamoff>(at));
        file.put(byte);
        REQUIRE(file.flush());
      }
      INFO(name << " byte " << at << " bit " << int(bit));
      ++(left.start(copy).empty() ? well : told);
    }
  }
  INFO(told << " told, " << well << " without loss");
  CHECK(told > 30);
}

// RocksDB opens a log that ends between two of its records as if nothing had followed.
TEST_CASE("a log that ends early, between two changes: told", "[disk]") {
  Left left;
  std::string last = Left::newest_log(left.data).filename().string();
  size_t cut = 0;
  for (const auto& [name, size] : left.ends) {
    if (name != last || size == fs::file_size(left.data + "/" + name)) continue;
    std::string copy = left.data + "-cut";
    fs::remove_all(copy);
    fs::copy(left.data, copy);
    fs::resize_file(copy + "/" + name, size);
    INFO(name << " cut at " << size);
    CHECK(left.start(copy).find("--accept-lost-log") != std::string::npos);
    ++cut;
  }
  CHECK(cut > 2);
}

}  // namespace branchline
