// SEMANTICS 31 on random schedules: offices that spend, give back and restock while cut off, guards
// whose forecast flips, rejections, crashes, snapshots, retries elsewhere; against a model that
// knows nothing of shares, records or merging.
#include <catch2/catch.hpp>
#include <map>

#include "replication/merge/companions.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

struct Schedule : SmallWorld {
  explicit Schedule(uint64_t seed) : dice(seed) {}

  // What clients were told, by mutation.
  struct Promise {
    SmallOffice* office;
    int64_t change = 0;    // of the stock
    bool guarded = false;  // may be rejected for another reason than its share
    std::string key;
  };
  SeededRandom dice;
  std::map<MutationId, Promise> promises;
  std::set<MutationId> judged;
  int next_key = 0;
  int flips = 0;

  SmallOffice& any() {
    return *std::next(offices.begin(), static_cast<long>(dice.below(offices.size())))->second;
  }

  void spend(SmallOffice& o) {
    auto amount = static_cast<int64_t>(1 + dice.below(9));
    bool guarded = dice.below(3) == 0;
    std::string key = dice.below(8) == 0 ? "k" + std::to_string(next_key++) : "";
    std::string ops = "update p quantityonhand-=" + std::to_string(amount);
    if (guarded) ops = "guard p.name=P " + ops;
    if (o.write(ops, key) != "ok") return;
    promises[o.last.id] = {&o, -amount, guarded, key};
    if (key.empty() || dice.below(2) == 0) return;
    SmallOffice& other = any();  // the client had no answer and asks elsewhere
    if (&other != &o && other.write(ops, key) == "ok")
      promises[other.last.id] = {&other, -amount, guarded, key};
  }

  void act() {
    SmallOffice& o = any();
    switch (dice.below(12)) {
      case 0:
        if (o.write("update p name=" + std::string(dice.below(2) ? "P" : "Q")) == "ok") ++flips;
        return;
      case 1:
        o.ship(1);
        return;
      case 2:
        o.ship();
        return;
      case 3:
        return o.fetch(1 + dice.below(400));
      case 4:
        if (o.write("update p quantityonhand<=" + std::to_string(1 + dice.below(5))) == "ok")
          promises[o.last.id] = {&o, 0, false, ""};
        return;
      case 5:
        if (dice.below(3) == 0) {
          auto amount = static_cast<int64_t>(1 + dice.below(30));
          if (o.write("update p quantityonhand+=" + std::to_string(amount)) == "ok")
            promises[o.last.id] = {&o, amount, false, ""};
        }
        return;
      case 6:
        if (dice.below(3) == 0) {  // the base comes back; what was synced stays
          o.crash();
          o.start();
          o.connect();
          if (dice.below(3) == 0) o.take_snapshot();
        }
        return;
      case 7:
        if (dice.below(4) == 0) {
          master.crash();
          master.start();
          for (auto& [name, office] : offices) office->connect();
        }
        return;
      default:
        spend(o);
    }
  }

  // The bound, as the master's records say it now.
  void check_bound() {
    Workspace& ws = master.ingest->workspace();
    RecordKey key = names.key("p");
    const Field& field = *schema->entity("product")->field("quantityonhand");
    auto found = ws.find(key);
    REQUIRE(found->record);
    Decimal stock = decode_decimal(found->record->value(field.id).payload);
    auto shares = shares_of(ws, key, field);
    REQUIRE(shares);
    Decimal held;
    for (const auto& s : *shares) {
      CHECK(s.amount.mantissa() >= 0);
      held = *Decimal::add(held, s.amount);
    }
    CHECK(Decimal::compare(held, stock) <= 0);
    CHECK(Decimal::subtract(stock, unallotted(stock, *shares)) == held);
  }

  // Every promise is kept: what an office accepted is done, unless its guard failed or it was done
  // under the same key already.
  int64_t judge() {
    int64_t total = 0;
    std::map<std::string, int> done_by_key;
    for (const auto& [id, p] : promises) {
      std::string fate = p.office->fate_of(id);
      INFO(p.office->name << " " << p.change << (p.guarded ? " guarded: " : ": ") << fate);
      CHECK(fate != "pending");
      if (fate == "rejected: guard") {
        CHECK(p.guarded);
        continue;
      }
      if (fate == "merged: duplicate_operation") {
        CHECK_FALSE(p.key.empty());
        continue;
      }
      CHECK((fate == "applied" || fate == "merged: quantityonhand combined"));
      if (!p.key.empty()) CHECK(++done_by_key[p.key] == 1);
      total += p.change;
    }
    return total;
  }
};

}  // namespace

TEST_CASE("SEMANTICS 31: on every schedule the bound holds and no accepted spend is refused",
          "[office]") {
  uint64_t guards = 0, duplicates = 0, refused = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    Schedule s(seed);
    int64_t initial = static_cast<int64_t>(10 + s.dice.below(150));
    REQUIRE(s["hq"].write("create product p name=P quantityonhand+=" + std::to_string(initial)) ==
            "ok");
    s.settle();
    s.settle();
    for (int step = 0; step < 120; ++step) {
      s.act();
      s.check_bound();
    }
    for (int i = 0; i < 3; ++i) s.settle();
    s.check_bound();
    int64_t expected = initial + s.judge();
    std::string shown = s.master.show("p");
    INFO(shown);
    CHECK(shown.find(" quantityonhand=" + std::to_string(expected) + "{") != std::string::npos);
    CHECK(expected >= 0);
    for (auto& [name, office] : s.offices) CHECK(office->show("p") == shown);
    CHECK(s.audit() == std::vector<std::string>{});
    for (const auto& [id, p] : s.promises) {
      guards += p.office->fate_of(id) == "rejected: guard" ? 1 : 0;
      duplicates += p.office->fate_of(id) == "merged: duplicate_operation" ? 1 : 0;
    }
    for (auto& [name, office] : s.offices)
      refused += office->write("update p quantityonhand-=1000") == "write.share_exceeded" ? 1 : 0;
  }
  // The rare paths were reached.
  CHECK(guards > 20);
  CHECK(duplicates > 5);
  CHECK(refused == 180);
}

}  // namespace branchline
