// One suite for every Store: what README.md of common/store promises, crashes included.
#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>

#include "common/store/anchor.h"
#include "common/store/directory_owner.h"
#include "common/store/keyspace.h"
#include "common/store/mem_store.h"
#include "common/store/rocks_store.h"
#include "tests/support/temp_folder.h"
#include "tests/support/unsynced_file_system.h"

namespace branchline {
namespace {

namespace fs = std::filesystem;

struct Memory {
  MemStore mem;
  Store& store() { return mem; }
  void crash() { mem.crash(); }
  void reopen() {}
};

// On a file system that forgets. A crash is a copy of what was synced, opened by itself.
struct Disk {
  TempFolder folder;
  std::unique_ptr<rocksdb::Env> env = UnsyncedFileSystem::make_env();
  int place = 0;
  std::unique_ptr<RocksStore> rocks = open();

  std::string directory() const { return (folder / ("store" + std::to_string(place))).string(); }
  std::unique_ptr<RocksStore> open() {
    fs::create_directories(directory());
    RocksOptions options;
    options.env = env.get();
    auto opened = RocksStore::open(directory(), options);
    INFO((opened ? "" : opened.error().message));
    REQUIRE(opened);
    return std::move(*opened);
  }
  Store& store() { return *rocks; }
  void crash() {
    std::string before = directory();
    ++place;
    fs::copy(before, directory(), fs::copy_options::recursive);
    rocks.reset();
    rocks = open();
  }
  void reopen() {
    rocks.reset();
    rocks = open();
  }
};

std::optional<std::string> value_of(const StoreView& view, std::string_view key,
                                    Table table = Table::records) {
  auto got = view.get(table, key);
  REQUIRE(got);
  return *got;
}

std::string keys_of(std::unique_ptr<Cursor> cursor) {
  std::string out;
  for (; cursor->valid(); cursor->next())
    out += std::string(cursor->key()) + "=" + std::string(cursor->value()) + " ";
  REQUIRE_FALSE(cursor->error());
  return out;
}

Batch put(std::string_view key, std::string_view value, Table table = Table::records) {
  Batch b;
  b.put(table, key, value);
  return b;
}

TEMPLATE_TEST_CASE("what is written is read, until it is erased", "[store]", Memory, Disk) {
  TestType subject;
  Store& s = subject.store();
  REQUIRE(s.write(put("a", "1"), Sync::no));
  CHECK(value_of(s, "a") == "1");
  CHECK_FALSE(value_of(s, "a", Table::meta));  // tables are apart
  REQUIRE(s.write(put("a", "2"), Sync::no));
  CHECK(value_of(s, "a") == "2");
  REQUIRE(s.write(put("a", ""), Sync::no));
  CHECK(value_of(s, "a") == "");  // empty is not absent
  Batch erase;
  erase.erase(Table::records, "a");
  erase.erase(Table::records, "never there");
  REQUIRE(s.write(erase, Sync::no));
  CHECK_FALSE(value_of(s, "a"));
  REQUIRE(s.write({}, Sync::yes));
}

TEMPLATE_TEST_CASE("a batch is applied in order, as one", "[store]", Memory, Disk) {
  TestType subject;
  Store& s = subject.store();
  Batch b;
  b.put(Table::records, "k", "first");
  b.erase(Table::records, "k");
  b.put(Table::records, "k", "last");
  b.put(Table::index, "i", "x");
  b.put(Table::records, "m", "1");
  b.erase_range(Table::records, "l", "n");
  b.put(Table::records, "n", "behind the range");
  REQUIRE(s.write(b, Sync::yes));
  CHECK(value_of(s, "k") == "last");
  CHECK(value_of(s, "i", Table::index) == "x");
  CHECK_FALSE(value_of(s, "m"));
  CHECK(value_of(s, "n") == "behind the range");
}

TEMPLATE_TEST_CASE("scans keep order and bounds, both ways", "[store]", Memory, Disk) {
  TestType subject;
  Store& s = subject.store();
  std::string high("\xff", 1), high_more("\xff\xff", 2), zero("\0", 1);
  Batch b;
  for (std::string_view key : {"b", "a", "ab", "aa", "c"}) b.put(Table::records, key, key);
  b.put(Table::records, high, "h");
  b.put(Table::records, high_more, "hh");
  b.put(Table::records, zero, "z");
  b.put(Table::index, "aa", "another table");
  REQUIRE(s.write(b, Sync::no));
  CHECK(keys_of(s.scan(Table::records, "a", "c")) == "a=a aa=aa ab=ab b=b ");
  CHECK(keys_of(s.scan_back(Table::records, "a", "c")) == "b=b ab=ab aa=aa a=a ");
  CHECK(keys_of(s.scan(Table::records, "aa", "")) ==
        "aa=aa ab=ab b=b c=c " + high + "=h " + high_more + "=hh ");
  CHECK(keys_of(s.scan_back(Table::records, "c", "")) == high_more + "=hh " + high + "=h c=c ");
  CHECK(keys_of(s.scan(Table::records, "", "a")) == zero + "=z ");
  CHECK(keys_of(s.scan(Table::records, "b", "b")) == "");
  CHECK(keys_of(s.scan(Table::records, "c", "a")) == "");
  CHECK(keys_of(s.scan_back(Table::records, "c", "a")) == "");
  CHECK(keys_of(scan_prefix(s, Table::records, "a")) == "a=a aa=aa ab=ab ");
  CHECK(keys_of(scan_prefix(s, Table::records, high)) == high + "=h " + high_more + "=hh ");
  CHECK(prefix_end("a") == "b");
  CHECK(prefix_end(std::string("a\xff", 2)) == "b");
  CHECK(prefix_end(high_more).empty());
}

TEMPLATE_TEST_CASE("a range is erased from its begin up to its end", "[store]", Memory, Disk) {
  TestType subject;
  Store& s = subject.store();
  Batch b;
  for (std::string_view key : {"a", "b", "ba", "c", "d"}) b.put(Table::records, key, key);
  b.put(Table::index, "b", "another table");
  REQUIRE(s.write(b, Sync::yes));
  Batch range;
  range.erase_range(Table::records, "b", "c");
  REQUIRE(s.write(range, Sync::yes));
  CHECK(keys_of(s.scan(Table::records, "", "")) == "a=a c=c d=d ");
  CHECK(value_of(s, "b", Table::index) == "another table");
  REQUIRE(s.write(put("b", "again"), Sync::yes));
  subject.reopen();
  CHECK(keys_of(subject.store().scan(Table::records, "", "")) == "a=a b=again c=c d=d ");
}

TEMPLATE_TEST_CASE("snapshots and cursors do not see later writes", "[store]", Memory, Disk) {
  TestType subject;
  Store& s = subject.store();
  REQUIRE(s.write(put("a", "old"), Sync::no));
  REQUIRE(s.write(put("b", "old"), Sync::no));
  auto snapshot = s.snapshot();
  auto cursor = s.scan(Table::records, "", "");
  Batch b;
  b.put(Table::records, "a", "new");
  b.erase(Table::records, "b");
  b.put(Table::records, "c", "new");
  REQUIRE(s.write(b, Sync::no));
  CHECK(value_of(*snapshot, "a") == "old");
  CHECK(keys_of(snapshot->scan(Table::records, "", "")) == "a=old b=old ");
  CHECK(keys_of(snapshot->scan_back(Table::records, "", "")) == "b=old a=old ");
  CHECK(keys_of(std::move(cursor)) == "a=old b=old ");
  CHECK(keys_of(s.scan(Table::records, "", "")) == "a=new c=new ");
}

TEMPLATE_TEST_CASE("a crash keeps what was synced and all before it", "[store]", Memory, Disk) {
  TestType subject;
  REQUIRE(subject.store().write(put("1", "unsynced"), Sync::no));
  REQUIRE(subject.store().write(put("2", "synced"), Sync::yes));
  REQUIRE(subject.store().write(put("3", "lost"), Sync::no));
  subject.crash();
  CHECK(keys_of(subject.store().scan(Table::records, "", "")) == "1=unsynced 2=synced ");
  REQUIRE(subject.store().write(put("4", "kept"), Sync::no));
  REQUIRE(subject.store().sync());
  REQUIRE(subject.store().write(put("5", "lost"), Sync::no));
  subject.crash();
  CHECK(keys_of(subject.store().scan(Table::records, "", "")) == "1=unsynced 2=synced 4=kept ");
}

TEMPLATE_TEST_CASE("a crash never tears a batch", "[store]", Memory, Disk) {
  TestType subject;
  for (int round = 0; round < 20; ++round) {
    Batch b;
    for (int i = 0; i < 50; ++i)
      b.put(static_cast<Table>(i % kTableCount), "k" + std::to_string(i), std::to_string(round));
    REQUIRE(subject.store().write(b, round % 3 == 0 ? Sync::yes : Sync::no));
  }
  subject.crash();
  auto seen = value_of(subject.store(), "k0", Table::meta);
  CHECK(seen == "18");
  for (int i = 0; i < 50; ++i) {
    CHECK(value_of(subject.store(), "k" + std::to_string(i), static_cast<Table>(i % kTableCount)) ==
          seen);
  }
}

TEMPLATE_TEST_CASE("large batches and much data survive", "[store]", Memory, Disk) {
  TestType subject;
  std::string big(100'000, 'x');
  for (int i = 0; i < 300; ++i) {  // more than a write buffer: tables are flushed meanwhile
    REQUIRE(subject.store().write(put("big" + std::to_string(1000 + i), big + std::to_string(i)),
                                  i % 10 == 9 ? Sync::yes : Sync::no));
  }
  subject.crash();
  int n = 0;
  auto cursor = scan_prefix(subject.store(), Table::records, "big");
  for (; cursor->valid(); cursor->next(), ++n) {
    if (cursor->value() != big + std::to_string(n)) FAIL("value " << n << " is another");
  }
  CHECK(n == 300);
}

// --- RocksStore alone: what a disk can do ---

Result<std::unique_ptr<RocksStore>> open_at(const std::string& directory) {
  return RocksStore::open(directory, {});
}

// A store of `count` synced writes, closed.
void fill(const std::string& directory, int count) {
  auto store = open_at(directory);
  REQUIRE(store);
  for (int i = 0; i < count; ++i) {
    REQUIRE((*store)->write(
        put("key" + std::to_string(10000 + i), std::string(100, char('a' + i % 26))), Sync::yes));
  }
}

std::string only_log(const std::string& directory) {
  std::string found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".log" && fs::file_size(entry.path()) > 0) {
      REQUIRE(found.empty());
      found = entry.path().string();
    }
  }
  REQUIRE_FALSE(found.empty());
  return found;
}

TEST_CASE("a data directory in use is refused, and says so") {
  TempFolder folder;
  std::string directory = (folder / "a/b/store").string();  // made where it is missing
  auto first = open_at(directory);
  REQUIRE(first);
  auto second = open_at(directory);
  REQUIRE_FALSE(second);
  CHECK(second.error().code == "store.locked");
  CHECK(second.error().message.find("in use by another process") != std::string::npos);
  first->reset();
  CHECK(open_at(directory));
}

TEST_CASE("a directory that cannot be made or written is refused by name") {
  TempFolder folder;
  std::ofstream(folder / "file") << "no directory";
  auto below_file = open_at((folder / "file/store").string());
  REQUIRE_FALSE(below_file);
  CHECK(below_file.error().code == "store.directory");
  CHECK(below_file.error().message.find("file/store") != std::string::npos);
  auto read_only = open_at("/proc/branchline");  // for root as for others
  REQUIRE_FALSE(read_only);
  CHECK(read_only.error().message.find("/proc/branchline") != std::string::npos);
}

TEST_CASE("a flipped bit in the middle of the log is refused, not skipped") {
  TempFolder folder;
  std::string directory = (folder / "store").string();
  fill(directory, 500);
  std::string log = only_log(directory);
  auto size = static_cast<long>(fs::file_size(log));
  for (long at : {size / 7, size / 3, size / 2}) {
    std::fstream file(log, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    char byte = 0;
    file.get(byte);
    file.seekp(at);
    file.put(static_cast<char>(byte ^ 0x10));
    file.close();
    auto store = open_at(directory);
    REQUIRE_FALSE(store);
    INFO(store.error().message);
    CHECK(store.error().kind == ErrorKind::corrupt);
    CHECK(store.error().message.find(directory) != std::string::npos);
    std::fstream mend(log, std::ios::in | std::ios::out | std::ios::binary);
    mend.seekp(at);
    mend.put(byte);
  }
  auto mended = open_at(directory);
  REQUIRE(mended);
  CHECK(value_of(**mended, "key10499"));
}

TEST_CASE("a torn tail of the log, as a crash leaves it, is accepted") {
  TempFolder folder;
  std::string directory = (folder / "store").string();
  fill(directory, 100);
  std::string log = only_log(directory);
  fs::resize_file(log, fs::file_size(log) - 5);
  auto store = open_at(directory);
  REQUIRE(store);
  CHECK(value_of(**store, "key10098"));
  CHECK_FALSE(value_of(**store, "key10099"));
}

TEST_CASE("a failed write or sync is an error, told as such") {
  for (bool write : {true, false}) {
    TempFolder folder;
    auto fault = std::make_shared<DiskFault>();
    auto env = UnsyncedFileSystem::make_env(fault);
    fs::create_directories(folder / "store");
    RocksOptions options;
    options.env = env.get();
    auto store = RocksStore::open((folder / "store").string(), options);
    REQUIRE(store);
    REQUIRE((*store)->write(put("a", "1"), Sync::yes));
    (write ? fault->write_fails : fault->sync_fails) = true;
    auto failed = (*store)->write(put("b", "2"), Sync::yes);
    REQUIRE_FALSE(failed);
    CHECK(is_store_fault(failed.error()));
    CHECK(failed.error().message.find("input/output error") != std::string::npos);
  }
}

TEST_CASE("a data directory is one server's") {
  TempFolder folder;
  std::string path = folder.path().string();
  CHECK(claim_directory(path, "east"));
  CHECK(claim_directory(path, "east"));
  auto other = claim_directory(path, "south");
  REQUIRE_FALSE(other);
  CHECK(other.error().code == "store.other_server");
  CHECK(other.error().message.find("`east`") != std::string::npos);
  auto none = claim_directory(path + "/absent", "east");
  REQUIRE_FALSE(none);
  CHECK(none.error().code == "store.directory");
}

TEST_CASE("an anchor is read as it was written, or refused") {
  TempFolder folder;
  std::string path = (folder / "anchor").string();
  auto none = read_anchor(path);
  REQUIRE(none);
  CHECK_FALSE(*none);
  Anchor anchor{Incarnation(0x0102030405060708ull), 77, sha256("chain")};
  REQUIRE(write_anchor(path, anchor));
  REQUIRE(write_anchor(path, anchor));  // replaces
  auto read = read_anchor(path);
  REQUIRE((read && *read));
  CHECK(**read == anchor);
  CHECK_FALSE(fs::exists(path + ".new"));
  std::string bytes(fs::file_size(path), '\0');
  std::ifstream(path, std::ios::binary)
      .read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  for (size_t at = 0; at < bytes.size(); at += 7) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << damaged;
    auto refused = read_anchor(path);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::corrupt);
  }
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes.substr(0, 20);
  CHECK_FALSE(read_anchor(path));
  CHECK_FALSE(write_anchor((folder / "missing/anchor").string(), anchor));
}

// A store whose log ends in batches that were not synced, and copies of it with other bytes.
struct TornLog {
  static constexpr int kSynced = 20, kUnsynced = 12;
  TempFolder folder;
  std::string whole;  // the log
  size_t synced = 0;  // how much of it was, by the last sync
  std::string log;    // its name
  int copies = 0;

  TornLog() {
    auto store = *RocksStore::open((folder / "store").string(), {});
    write(*store, 0, kSynced, Sync::yes);
    for (const auto& file : fs::directory_iterator(folder / "store")) {
      if (file.path().extension() == ".log") log = file.path().filename().string();
    }
    synced = fs::file_size(folder / "store" / log);
    write(*store, kSynced, kUnsynced, Sync::no);
    std::ifstream in(folder / "store" / log, std::ios::binary);
    whole.assign(std::istreambuf_iterator<char>(in), {});
    REQUIRE(whole.size() > synced + 3 * 4096);
    fs::copy(folder / "store", folder / "cut");  // as it is while the store lives
  }
  static void write(RocksStore& store, int from, int count, Sync sync) {
    for (int i = from; i < from + count; ++i) {
      Batch b;
      std::string value(static_cast<size_t>(700 * (i % 5) + 30), 'v');
      b.put(Table::records, "key" + std::to_string(1000 + i), value + std::to_string(i));
      REQUIRE(store.write(b, sync));
    }
  }
  // How many batches are there where its log has these bytes, one after another; or the code of the
  // error.
  std::string opened_with(const std::string& bytes) {
    auto place = folder / ("copy" + std::to_string(++copies));
    fs::copy(folder / "cut", place);
    std::ofstream(place / log, std::ios::binary | std::ios::trunc) << bytes;
    auto store = RocksStore::open(place.string(), {});
    if (!store) {
      UNSCOPED_INFO(store.error().message);
      return std::string(to_string(store.error().kind));
    }
    int there = 0, last = -1;
    for (auto c = (*store)->scan(Table::records, "", ""); c->valid(); c->next(), ++there)
      last = std::stoi(std::string(c->key().substr(3))) - 1000;
    store->reset();
    auto again = RocksStore::open(place.string(), {});
    if (!again || (*again)->torn_bytes() > 0) return "torn again";
    fs::remove_all(place);
    return last + 1 == there ? (there < kSynced ? "lost" : "whole") : "a hole";
  }
};

TEST_CASE("a log that a power cut tore opens with all that was synced, and without holes") {
  TornLog t;
  REQUIRE(t.opened_with(t.whole) == "whole");
  for (size_t page = t.synced / 4096; page * 4096 < t.whole.size(); ++page) {
    size_t from = std::max(t.synced, page * 4096);
    size_t to = std::min(t.whole.size(), (page + 1) * 4096);
    INFO("page at " << from << " of " << t.whole.size() << ", synced to " << t.synced);
    std::string missing = t.whole;
    std::fill(missing.begin() + long(from), missing.begin() + long(to), '\0');
    CHECK(t.opened_with(missing) == "whole");
    std::fill(missing.begin() + long(from), missing.end(), '\0');
    CHECK(t.opened_with(missing) == "whole");
    // The length, too, is of some moment.
    for (size_t n : {from + 1, from + 100, to}) {
      CHECK(t.opened_with(missing.substr(0, std::min(n, t.whole.size()))) == "whole");
      CHECK(t.opened_with(t.whole.substr(0, std::min(n, t.whole.size()))) == "whole");
    }
  }
}

TEST_CASE("a log in which a byte is another is refused, also in its last record") {
  TornLog t;
  for (size_t at : {size_t{100}, t.synced - 10, t.synced + 50, t.whole.size() - 20}) {
    std::string bytes = t.whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    INFO(at << " of " << bytes.size());
    CHECK(t.opened_with(bytes) == "corrupt");
  }
}

TEST_CASE("the log of a store that is open elsewhere is left alone") {
  TempFolder folder;
  auto store = *RocksStore::open((folder / "store").string(), {});
  TornLog::write(*store, 0, 3, Sync::yes);
  fs::path log;
  for (const auto& file : fs::directory_iterator(folder / "store")) {
    if (file.path().extension() == ".log") log = file.path();
  }
  std::ofstream(log, std::ios::binary | std::ios::app) << std::string(5000, '\0');
  size_t size = fs::file_size(log);
  auto second = RocksStore::open((folder / "store").string(), {});
  REQUIRE_FALSE(second);
  CHECK(second.error().code == "store.locked");
  CHECK(fs::file_size(log) == size);
}

}  // namespace
}  // namespace branchline
