// `escrow`: shares, and the interleavings in which a bound or a promise would break.
#include <catch2/catch.hpp>

#include "replication/merge/companions.h"
#include "tests/support/merge_bench.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

// A product with a stock of 100; office 5 holds 20 of it.
struct Bench : MergeBench {
  Author master = author(1), east = author(5), west = author(6);
  Bench() {
    REQUIRE(run(master, "create product p name=P quantityonhand+=100") == "applied");
    REQUIRE(run(master, "update p quantityonhand>5=20") == "applied");
    all_see();
  }
  void all_see() {
    for (Author* a : {&master, &east, &west}) sees_all(*a);
  }
  bool stock(const std::string& text) {
    std::string shown = show("p");
    INFO(shown);
    bool same = shown.ends_with(" quantityonhand=" + text);
    CHECK(same);
    return same;
  }
};

// The master is server 1, east 2, hq 3, west 4.
struct Offices : SmallWorld {
  SmallOffice& hq = (*this)["hq"];
  SmallOffice& east = (*this)["east"];
  SmallOffice& west = (*this)["west"];
  explicit Offices(int stock = 120) {
    REQUIRE(hq.write("create product p name=P quantityonhand+=" + std::to_string(stock)) == "ok");
    settle();
    settle();
  }
  ~Offices() { CHECK(audit() == std::vector<std::string>{}); }
  std::string stock(const std::string& shown) {
    size_t at = shown.find("quantityonhand=");
    return at == std::string::npos ? shown : shown.substr(at + 15);
  }
  std::string at(SmallOffice& o) { return stock(o.show("p")); }
};

}  // namespace

TEST_CASE("escrow: a spend takes from the share and from the stock, and never beyond", "[merge]") {
  Bench b;
  CHECK(b.run(b.east, "update p quantityonhand-=15") == "applied");
  CHECK(b.stock("85{5:5}"));
  SECTION("what nobody holds covers what an office had forgotten to have spent") {
    CHECK(b.run(b.east, "update p quantityonhand-=6") == "merged: quantityonhand from_reserve");
    CHECK(b.stock("79{5:0}"));
  }
  SECTION("not what others hold") {
    REQUIRE(b.run(b.master, "update p quantityonhand>6=70") == "applied");
    b.all_see();
    CHECK(b.run(b.east, "update p quantityonhand-=16") ==
          "rejected: quantityonhand share_exceeded");
    REQUIRE(b.decision.share_left);
    CHECK(b.decision.share_left->to_string() == "5");
    CHECK(b.stock("85{5:5,6:70}"));
  }
  SECTION("the master sells what nobody holds") {
    b.all_see();
    CHECK(b.run(b.master, "update p quantityonhand-=80") == "applied");
    CHECK(b.stock("5{5:5}"));
    CHECK(b.run(b.master, "update p quantityonhand-=1") ==
          "rejected: quantityonhand share_exceeded");
  }
  SECTION("a mutation that spends is atomic") {
    REQUIRE(b.run(b.west, "update p name=West") == "applied");
    b.east.clock_ms -= 1000;
    CHECK(b.run(b.east, "update p name=East quantityonhand-=1") == "rejected: name older, atomic");
    CHECK(b.stock("85{5:5}"));
  }
  SECTION("a share survives its record's deletion and return") {
    REQUIRE(b.run(b.master, "delete p") == "overridden: concurrent_edit");  // the spend was unseen
    b.all_see();
    REQUIRE(b.run(b.master, "delete p") == "applied");
    CHECK(b.run(b.east, "update p quantityonhand-=2") == "merged: revived");
    CHECK(b.stock("83{5:3}"));
  }
}

TEST_CASE("escrow: who may grant, and who may give back", "[merge]") {
  Bench b;
  CHECK(b.run(b.east, "update p quantityonhand>5=1") == "rejected: quantityonhand not_holder");
  CHECK(b.run(b.master, "update p quantityonhand>6=81") ==
        "rejected: quantityonhand share_exceeded");
  CHECK(b.run(b.west, "update p quantityonhand>5<=1") == "rejected: quantityonhand not_holder");
  CHECK(b.run(b.east, "update p quantityonhand<=21") == "rejected: quantityonhand share_exceeded");
  CHECK(b.run(b.east, "update p quantityonhand<=8") == "applied");
  CHECK(b.stock("100{5:12}"));
  // The master writes off what a lost disk held.
  CHECK(b.run(b.master, "update p quantityonhand>5<=12") == "applied");
  CHECK(b.stock("100{5:0}"));
  CHECK(b.run(b.master, "update p quantityonhand>6=60 quantityonhand>7=40") == "applied");
  CHECK(b.stock("100{5:0,6:60,7:40}"));
  CHECK(b.run(b.west, "update p quantityonhand+=5") == "applied");
  CHECK(b.stock("105{5:0,6:60,7:40}"));
}

TEST_CASE("escrow: a share belongs to one data directory", "[merge]") {
  Bench b;
  auto restarted = b.author(5, 501);
  b.lineage.add(OriginId(5), Incarnation(501), {Incarnation(500), Order(9)});
  b.sees_all(restarted);
  CHECK(b.run(restarted, "update p quantityonhand-=1") == "applied");
  CHECK(b.stock("99{5:19}"));
  // A new disk: its first start has no predecessor.
  auto replaced = b.author(5, 777);
  b.sees_all(replaced);
  CHECK(b.run(replaced, "update p quantityonhand<=1") == "rejected: quantityonhand share_exceeded");
  CHECK(b.stock("99{5:19}"));
}

TEST_CASE("escrow: offices get their parts and sell them while they are cut off", "[office]") {
  Offices w;
  CHECK(w.at(w.east) == "120{2:20,3:20,4:20}");
  CHECK(w.east.write("update p quantityonhand-=21") == "write.share_exceeded");
  REQUIRE(w.east.write("update p quantityonhand-=15") == "ok");
  CHECK(w.east.write("update p quantityonhand-=6") == "write.share_exceeded");
  REQUIRE(w.west.write("update p quantityonhand-=20") == "ok");
  w.settle();
  w.settle();
  // Both were below half of their part, and were filled up.
  CHECK(w.at(w.east) == "85{2:17,3:20,4:14}");
  CHECK(w.at(w.west) == w.at(w.east));
}

TEST_CASE("escrow: the last pieces go to somebody", "[office]") {
  Offices w(2);
  CHECK(w.at(w.hq) == "2{2:1,3:1}");
  CHECK(w.west.write("update p quantityonhand-=1") == "write.share_exceeded");
  CHECK(w.hq.write("update p quantityonhand-=1") == "ok");
  CHECK(w.east.write("update p quantityonhand<=1") == "ok");
  w.settle();
  w.settle();
  CHECK(w.at(w.hq) == "1{2:1,3:0}");
}

TEST_CASE("escrow: a forecast of rejection frees nothing", "[office]") {
  Offices w;
  // East spends all it has, if the name is still P.
  REQUIRE(w.east.write("guard p.name=P update p quantityonhand-=20") == "ok");
  REQUIRE(w.hq.write("update p name=Q") == "ok");
  w.hq.ship();
  w.east.fetch();
  // By now it looks as if the master would reject it, but the name may change back before.
  CHECK(w.east.write("update p quantityonhand-=1") == "write.share_exceeded");
  SECTION("it changes back, and the spend applies") {
    REQUIRE(w.hq.write("update p name=P") == "ok");
    w.hq.ship();
    w.settle();
    CHECK(w.at(w.east) == "100{2:16,3:20,4:20}");
  }
  SECTION("it is rejected, and the spend is returned with the fate") {
    w.settle();
    CHECK(w.east.fate() == "rejected: guard");
    CHECK(w.at(w.east) == "120{2:20,3:20,4:20}");
    CHECK(w.east.write("update p quantityonhand-=20") == "ok");
  }
  SECTION("the office starts anew and takes a snapshot meanwhile") {
    w.east.crash();
    w.east.start();
    w.east.connect();
    w.east.take_snapshot();
    CHECK(w.east.write("update p quantityonhand-=1") == "write.share_exceeded");
    w.settle();
    CHECK(w.at(w.east) == "120{2:20,3:20,4:20}");
  }
  w.settle();
  w.settle();
}

TEST_CASE("escrow: a retry at another office spends once, and the first office gets its share back",
          "[office]") {
  Offices w;
  REQUIRE(w.east.write("update p quantityonhand-=5", "order-1") == "ok");
  REQUIRE(w.west.write("update p quantityonhand-=5", "order-1") == "ok");
  w.west.ship();
  w.settle();
  CHECK(w.east.fate() == "merged: duplicate_operation");
  CHECK(w.at(w.east) == "115{2:20,3:20,4:15}");
  w.settle();
}

TEST_CASE("escrow: a disk that was set back overspends; it is found out, and the bound holds",
          "[office]") {
  Offices w;
  auto copy = w.east.store.tables();
  REQUIRE(w.east.write("update p quantityonhand-=20") == "ok");
  w.settle();
  w.settle();
  CHECK(w.at(w.hq) == "100{2:16,3:20,4:20}");
  w.east.crash();
  w.east.store.restore(copy);
  w.east.start();
  // It believes that it still has 20.
  REQUIRE(w.east.write("update p quantityonhand-=20") == "ok");
  w.east.connect();
  w.settle();
  w.settle();
  CHECK(w.east.fate().find("from_reserve") != std::string::npos);
  CHECK(w.at(w.hq).starts_with("80{"));
}

TEST_CASE("escrow: a new disk gets shares of its own, and those of the old one are frozen",
          "[office]") {
  Offices w;
  w.east.crash();
  w.east.store.restore(MemStore::Tables{});
  w.east.start();
  w.east.connect();
  w.settle();
  w.settle();
  w.master.grant();
  w.settle();
  // 20 stay with the lost chain; of the other 100 each office's part is 16.
  CHECK(w.at(w.hq).find("2:20") != std::string::npos);
  CHECK(w.at(w.hq).find("2:16") != std::string::npos);
  CHECK(w.east.write("update p quantityonhand-=17") == "write.share_exceeded");
  CHECK(w.east.write("update p quantityonhand-=16") == "ok");
  w.settle();
  w.settle();
  // The operator knows that the disk is lost.
  auto write_off = [&](bool sold) {
    uint64_t shares = 0;
    auto written = [&](IngestResult&& r) {
      REQUIRE(w.master.store.write(r.batch, Sync::yes));
      w.master.feed->add(r.line);
    };
    auto done = w.master.ingest->write_off(w.east.registration.origin, false, sold, written);
    REQUIRE(done);
    CHECK_FALSE(done->more);
    shares = done->shares;
    w.master.grant();
    w.settle();
    return shares;
  };
  std::string before = w.at(w.hq);
  SECTION("what it held returns") {
    CHECK(write_off(false) == 1);
    CHECK(w.at(w.hq).starts_with("104{"));
  }
  SECTION("what it held was sold") {
    CHECK(write_off(true) == 1);
    CHECK(w.at(w.hq).starts_with("84{"));
  }
  INFO(before << " -> " << w.at(w.hq));
  CHECK(w.at(w.hq).find("2:20") == std::string::npos);
  CHECK(w.at(w.hq).find("2:0") != std::string::npos);
  CHECK(write_off(true) == 0);
}

TEST_CASE("escrow: nothing is granted while the master may not", "[office]") {
  Offices w;
  w.master.ingest->allow_grants(false);
  REQUIRE(w.east.write("update p quantityonhand-=20") == "ok");
  w.settle();
  w.settle();
  CHECK(w.at(w.hq) == "100{2:0,3:20,4:20}");
  w.master.ingest->allow_grants(true);
  w.master.grant();
  w.settle();
  CHECK(w.at(w.hq) == "100{2:16,3:20,4:20}");
}

}  // namespace branchline
