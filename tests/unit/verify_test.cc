// A replica that is not what its master holds: found, mended, told, whatever is pending on it.
#include <catch2/catch.hpp>

#include "branch/replica/verifier.h"
#include "common/base/probe.h"
#include "master/verify/verify.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

struct Offices : SmallWorld {
  SmallOffice& hq = (*this)["hq"];
  SmallOffice& east = (*this)["east"];
  SmallOffice& west = (*this)["west"];
  Verifier verifier;
  uint64_t rounds = 0;
  size_t sample_every = Recount::kSampleEvery;
  std::vector<VerifyPoint> points;

  Offices() {
    REQUIRE(hq.write("create account a @common name=Acme telephone1=111 loyaltypoints+=10") ==
            "ok");
    REQUIRE(hq.write("create account b @common name=Bolt") == "ok");
    REQUIRE(hq.write("create account e @east name=Eastern") == "ok");
    REQUIRE(hq.write("create account w @west name=Western") == "ok");
    REQUIRE(hq.write("update a tags+=gold") == "ok");
    settle();
  }

  // What the link would do: the office stands at the master's csn when the answer comes.
  void run(SmallOffice& o) {
    auto put = [&](const Batch& b, Sync s) { return o.store.write(b, s); };
    std::set<TerritoryId> held = o.scope().territories;
    for (int i = 0; verifier.step() != Verifier::Step::rest; ++i) {
      REQUIRE(i < 200);
      if (verifier.step() == Verifier::Step::count) {
        auto count = Recount::open(o.store.snapshot(), schema, sample_every);
        REQUIRE(count);
        for (bool done = false; !done;) {
          auto step = (*count)->step(7);
          REQUIRE(step);
          done = *step;
        }
        verifier.counted((*count)->findings());
        continue;
      }
      if (verifier.step() == Verifier::Step::reseed) {
        verifier.reseeding();
        continue;
      }
      REQUIRE(verifier.step() == Verifier::Step::ask);
      ++rounds;
      auto question = decode_verify_request(encode_verify_request([&] {
        auto q = verifier.request();
        q.number = rounds;
        return q;
      }()));
      REQUIRE(question);
      o.fetch();
      auto view = master.store.snapshot();
      auto point = verify_point(*view, held, *question);
      REQUIRE(point);
      auto sent = decode_verify_point(encode_verify_point(*point));
      REQUIRE(sent);
      points.push_back(*sent);
      auto taken = verifier.at_point(*sent, *o.replica, o.store, put, 1);
      INFO((taken ? "" : taken.error().message));
      REQUIRE(taken);
      if (verifier.step() != Verifier::Step::sum) continue;
      auto sums = decode_verify_sums(encode_verify_sums(verify_sums(*view, held, *question)));
      REQUIRE(sums);
      verifier.sums_came(*sums);
      verifier.summed(Verifier::sum(verifier.view(), schema, verifier.ranges()));
    }
  }
  const VerifyStatus& verify(SmallOffice& o) {
    REQUIRE(verifier.begin());
    run(o);
    return verifier.status();
  }
  std::string row_key(SmallOffice& o, const std::string& record) {
    return keys::record(o.replica->state().side, names.key(record, "account"));
  }
  // Damages the disk of an office that is down meanwhile.
  void damage(SmallOffice& o, const std::function<void(Batch&)>& how) {
    REQUIRE(o.store.sync());
    o.crash();
    Batch batch;
    how(batch);
    REQUIRE(o.store.write(batch, Sync::yes));
    o.start();
    o.connect();
  }
  void flip(SmallOffice& o, const std::string& record, const std::string& text) {
    std::string key = row_key(o, record);
    auto row = o.store.get(Table::records, key);
    REQUIRE((row && *row));
    size_t at = (*row)->find(text);
    REQUIRE(at != std::string::npos);
    (**row)[at] ^= 1;
    damage(o, [&](Batch& b) { b.put(Table::records, key, **row); });
  }
  std::string first_key(SmallOffice& o, Table table, const std::string& prefix) {
    auto rows = scan_prefix(o.store, table, prefix);
    REQUIRE(rows->valid());
    return std::string(rows->key());
  }
  void sound() {
    auto problems = audit();
    INFO((problems.empty() ? "" : problems.front()));
    CHECK(problems.empty());
  }
  bool found(const std::string& text) {
    for (const auto& line : verifier.status().found) {
      if (line.find(text) != std::string::npos) return true;
    }
    for (const auto& line : verifier.status().found) UNSCOPED_INFO(line);
    return false;
  }
};

}  // namespace

TEST_CASE("what is as it should be is found clean, with work pending", "[verify]") {
  Offices w;
  REQUIRE(w.east.write("update a name=Acme2 loyaltypoints+=5") == "ok");
  REQUIRE(w.east.write("create account n @east name=New; update e name=E2") == "ok");
  REQUIRE(w.east.write("delete b") == "ok");
  w.east.lane = Lane::bulk;
  REQUIRE(w.east.write("update a telephone1=222; update n name=Newer") == "ok");
  auto& s = w.verify(w.east);
  CHECK(s.outcome == "clean");
  CHECK(s.found.empty());
  CHECK(s.compared_equal);
  CHECK(s.done_csn == w.master.feed->head().csn);
  CHECK(w.rounds == 1);
  w.settle();
  w.sound();
}

TEST_CASE("a flipped bit in a record is found and mended", "[verify]") {
  Offices w;
  std::string a = w.east.show("a");
  w.flip(w.east, "a", "Acme");
  REQUIRE(w.east.show("a") != a);
  CHECK_FALSE(w.audit().empty());
  auto& s = w.verify(w.east);
  CHECK(s.outcome == "mended");
  CHECK(s.records_mended == 1);
  CHECK(w.found(to_string(w.names.key("a", "account").id) + " differed"));
  CHECK(w.east.show("a") == a);
  w.sound();
  CHECK(w.verify(w.east).outcome == "clean");
}

TEST_CASE("whatever is wrong with a record is mended with work pending on it", "[verify]") {
  Offices w;
  std::string base = w.master.show("a");
  REQUIRE(w.east.write("update a telephone1=222 loyaltypoints+=5 tags+=new") == "ok");
  MutationId first = w.east.last.id;
  REQUIRE(w.east.write("update a telephone1=333; update e name=E2") == "ok");
  REQUIRE(w.east.write("create contact c @east lastname=C parentcustomerid=e") == "ok");
  std::string shown = w.east.show("a"), e = w.east.show("e"), c = w.east.show("c");
  std::string key = w.row_key(w.east, "a");
  std::string what;
  SECTION("a value beneath") {
    w.flip(w.east, "a", "Acme");
    what = "differed";
  }
  SECTION("a value that is pending itself") {
    w.flip(w.east, "a", "333");
    what = "was damaged";
  }
  SECTION("its format") {
    auto row = **w.east.store.get(Table::records, key);
    row[0] ^= 0x40;
    // While it runs: one that starts with work pending on such a row refuses to.
    Batch b;
    b.put(Table::records, key, row);
    REQUIRE(w.east.store.write(b, Sync::yes));
    what = "was damaged";
  }
  SECTION("its row is gone") {
    w.damage(w.east, [&](Batch& b) { b.erase(Table::records, key); });
    what = "was damaged";
  }
  SECTION("a committed element is gone") {
    std::string element = w.first_key(w.east, Table::elements, key);
    w.damage(w.east, [&](Batch& b) { b.erase(Table::elements, element); });
    what = "d";
  }
  SECTION("an element too many") {
    std::string element = w.first_key(w.east, Table::elements, key);
    auto value = **w.east.store.get(Table::elements, element);
    element.back() = 77;
    w.damage(w.east, [&](Batch& b) { b.put(Table::elements, element, value); });
    what = "differed";
  }
  auto& s = w.verify(w.east);
  CHECK(s.outcome == "mended");
  CHECK(s.records_mended >= 1);
  CHECK(w.found(what));
  CHECK(w.east.show("a") == shown);
  CHECK(w.east.show("e") == e);
  CHECK(w.east.show("c") == c);
  CHECK(w.east.replica->state().ledger.pending == 3);
  w.sound();
  // What is pending is shipped and decided as if nothing had been.
  w.settle();
  CHECK(w.east.fate_of(first) == "applied");
  CHECK(w.east.show("a") == w.master.show("a"));
  CHECK(base != w.master.show("a"));
  w.sound();
}

TEST_CASE("records that are missing or too many are found by their range", "[verify]") {
  Offices w;
  for (int i = 0; i < 1500; ++i) {
    std::string name = "r" + std::to_string(i);
    REQUIRE(w.hq.write("create account " + name + " @common name=" + name) == "ok");
  }
  w.settle();
  // So that what takes several questions among millions takes them here.
  w.sample_every = 8;
  uint64_t narrowed = Probe::counts()["verify.narrowed"];
  SECTION("a record is gone") {
    std::string key = w.row_key(w.east, "r700");
    w.damage(w.east, [&](Batch& b) { b.erase(Table::records, key); });
    auto& s = w.verify(w.east);
    CHECK(s.records_mended == 1);
    CHECK(w.found("was missing"));
  }
  SECTION("a record too many") {
    auto row = **w.east.store.get(Table::records, w.row_key(w.east, "r3"));
    std::string key = w.row_key(w.east, "r3");
    key[key.size() - 5] ^= 1;
    w.damage(w.east, [&](Batch& b) { b.put(Table::records, key, row); });
    auto& s = w.verify(w.east);
    CHECK(s.records_mended == 1);
    CHECK(w.found("is not the master's"));
  }
  SECTION("two values far apart") {
    w.flip(w.east, "r10", "r10");
    w.flip(w.east, "r1400", "r1400");
    CHECK(w.verify(w.east).records_mended == 2);
  }
  CHECK(Probe::counts()["verify.narrowed"] > narrowed);
  // Only ranges were fetched, of at most so many records each.
  for (const auto& p : w.points) {
    size_t records = 0;
    if (p.rows.empty()) continue;
    REQUIRE(open_rows(p.rows, [&](Table t, std::string_view, std::string_view) -> Result<void> {
      records += t == Table::records ? 1 : 0;
      return {};
    }));
    CHECK(records <= 40);
    CHECK(records > 0);
  }
  CHECK(w.verifier.status().fetched_anew == 0);
  w.sound();
}

TEST_CASE("index rows are made anew from the records", "[verify]") {
  Offices w;
  REQUIRE(w.east.write("update a name=Acme2") == "ok");
  std::string side(1, static_cast<char>(w.east.replica->state().side));
  std::string key = w.first_key(w.east, Table::index, side);
  std::string wrong = key;
  wrong[wrong.size() - 17] ^= 1;
  SECTION("one that is wrong") {
    w.damage(w.east, [&](Batch& b) {
      b.erase(Table::index, key);
      b.put(Table::index, wrong, {});
    });
    CHECK(w.verify(w.east).index_rows_mended == 2);
  }
  SECTION("one too many") {
    w.damage(w.east, [&](Batch& b) { b.put(Table::index, wrong, {}); });
    CHECK(w.verify(w.east).index_rows_mended == 1);
  }
  CHECK(w.verifier.status().records_mended == 0);
  CHECK(w.found("index rows were wrong"));
  w.sound();
}

TEST_CASE("sums and counts that were kept wrongly are set right", "[verify]") {
  Offices w;
  REQUIRE(w.east.write("update a name=Acme2") == "ok");
  ReplicaState state = w.east.replica->state();
  TerritoryId t = state.territories.front();
  REQUIRE(w.east.store.sync());
  w.east.crash();
  {
    auto row = w.east.store.get(Table::meta, keys::meta_state());
    auto kept = decode_replica_state(**row);
    kept->totals.sums[t] += Sum128{7, 7};
    kept->totals.counts[{EntityId(1), t}] += 3;
    Batch b;
    b.put(Table::meta, keys::meta_state(), encode_replica_state(*kept));
    REQUIRE(w.east.store.write(b, Sync::yes));
  }
  w.east.start();
  w.east.connect();
  // Comparing alone finds the sums.
  REQUIRE(w.verifier.compare());
  w.run(w.east);
  CHECK(w.verifier.status().mismatches > 0);
  CHECK(w.verifier.status().outcome == "mended");
  CHECK(w.verifier.status().totals_mended == 1);
  CHECK(w.verifier.status().records_mended == 0);
  w.sound();
}

TEST_CASE("a master whose own checksums are wrong is named, and no copy is fetched", "[verify]") {
  Offices w;
  auto row = w.master.store.get(Table::meta, keys::meta_state());
  REQUIRE((row && *row));
  auto kept = decode_master_state(**row);
  REQUIRE(kept);
  kept->totals.sums[w.east.replica->state().territories.front()] += Sum128{7, 7};
  Batch b;
  b.put(Table::meta, keys::meta_state(), encode_master_state(*kept));
  REQUIRE(w.master.store.write(b, Sync::yes));
  REQUIRE(w.verifier.compare());
  w.run(w.east);
  const VerifyStatus& s = w.verifier.status();
  CHECK(s.outcome == kMasterDiffers);
  CHECK(w.found("branchline audit"));
  CHECK_FALSE(s.compared_equal);
  CHECK_FALSE(s.running);
  CHECK(s.fetched_anew == 0);
  CHECK(s.records_mended == 0);
}

TEST_CASE("a lost write whose sums were lost with it is found by comparing", "[verify]") {
  Offices w;
  // The row and its sums together: each by itself is consistent here.
  std::string key = w.row_key(w.east, "b");
  auto row = **w.east.store.get(Table::records, key);
  auto old = Record::decode(w.names.key("b", "account"), row);
  REQUIRE(w.hq.write("update b name=Bolt2") == "ok");
  w.settle();
  auto now = Record::decode(w.names.key("b", "account"), **w.east.store.get(Table::records, key));
  REQUIRE(w.east.store.sync());
  w.east.crash();
  {
    auto kept = decode_replica_state(**w.east.store.get(Table::meta, keys::meta_state()));
    kept->totals.sums[now->territory()] -= record_sum(*now);
    kept->totals.sums[now->territory()] += record_sum(*old);
    Batch b;
    b.put(Table::meta, keys::meta_state(), encode_replica_state(*kept));
    b.put(Table::records, key, row);
    REQUIRE(w.east.store.write(b, Sync::yes));
  }
  w.east.start();
  w.east.connect();
  REQUIRE(w.verifier.compare());
  w.run(w.east);
  CHECK(w.verifier.status().records_mended == 1);
  CHECK(w.verifier.status().totals_mended == 1);
  CHECK(w.east.show("b") == w.master.show("b"));
  w.sound();
}

TEST_CASE("nothing of other territories is told to who verifies", "[verify]") {
  Offices w;
  VerifyRequest all;
  all.number = 1;
  all.rows = {KeyRange{}};
  all.sums = {KeyRange{}};
  auto held = w.east.scope().territories;
  auto point = verify_point(w.master.store, held, all);
  REQUIRE(point);
  size_t records = 0;
  REQUIRE(
      open_rows(point->rows, [&](Table t, std::string_view k, std::string_view v) -> Result<void> {
        CHECK(v.find("Western") == std::string_view::npos);
        if (t != Table::records) return {};
        ++records;
        auto key = keys::parse_record(std::string(1, '\0') + std::string(k));
        auto record = Record::decode(*key, std::string(v));
        CHECK(held.count(record->territory()) == 1);
        return {};
      }));
  CHECK(records > 0);
  for (const auto& [t, sum] : point->totals) CHECK(held.count(t) == 1);
  // A change in the west changes no sum of what the east is told.
  Sum128 before = verify_sums(w.master.store, held, all).sums.at(0);
  REQUIRE(w.west.write("update w name=West2") == "ok");
  w.settle();
  CHECK(verify_sums(w.master.store, held, all).sums.at(0) == before);
}

TEST_CASE("rows of a repair that were not asked for are refused", "[verify]") {
  Offices w;
  VerifyRequest all;
  all.number = 1;
  all.rows = {KeyRange{}};
  auto everything = verify_point(w.master.store, w.hq.scope().territories, all);
  REQUIRE(everything);
  ReplicaState before = w.east.replica->state();
  auto foreign = w.east.replica->repair({KeyRange{}}, everything->rows);
  REQUIRE_FALSE(foreign);
  CHECK(foreign.error().code == "verify.rows");
  auto own = verify_point(w.master.store, w.east.scope().territories, all);
  REQUIRE(own);
  auto more = w.east.replica->repair({only(w.names.key("a", "account"))}, own->rows);
  REQUIRE_FALSE(more);
  CHECK(more.error().code == "verify.rows");
  CHECK(encode_replica_state(w.east.replica->state()) == encode_replica_state(before));
  w.sound();
}

TEST_CASE("what cannot be mended by parts is fetched anew", "[verify]") {
  Offices w;
  // A row under a key that is none.
  std::string key = w.row_key(w.east, "a");
  key.pop_back();
  w.damage(w.east, [&](Batch& b) { b.put(Table::records, key, "x"); });
  REQUIRE(w.verifier.begin());
  w.run(w.east);
  CHECK(w.verifier.status().fetched_anew == 1);
  CHECK(w.found("fetched anew"));
}

TEST_CASE("ranges of a question must ascend", "[verify]") {
  VerifyRequest q;
  q.number = 1;
  q.rows = {KeyRange{"b", "c"}, KeyRange{"a", "b"}};
  CHECK_FALSE(decode_verify_request(encode_verify_request(q)));
  q.rows = {KeyRange{"b", "a"}};
  CHECK_FALSE(decode_verify_request(encode_verify_request(q)));
  q.rows = {KeyRange{"a", ""}, KeyRange{"b", "c"}};
  CHECK_FALSE(decode_verify_request(encode_verify_request(q)));
  q.rows = {KeyRange{"a", "b"}, KeyRange{"b", ""}};
  CHECK(decode_verify_request(encode_verify_request(q)));
}

}  // namespace branchline
