// A head office and two offices whose disks are copied, and a master whose disk is restored.
#pragma once

#include <catch2/catch.hpp>

#include "tests/support/small_world.h"

namespace branchline {

struct Desk : SmallWorld {
  SmallOffice& hq = (*this)["hq"];
  SmallOffice& east = (*this)["east"];
  SmallOffice& west = (*this)["west"];
  Desk() {
    REQUIRE(hq.write("create account a @common name=Acme loyaltypoints+=10") == "ok");
    settle();
  }
  std::string greet(SmallOffice& office, bool other_alive = false) {
    Batch rows;
    auto r = master.ingest->begin_session(office.introduction(), rows, other_alive);
    REQUIRE(master.store.write(rows, Sync::yes));
    const MasterState& s = master.ingest->state();
    if (master.feed->head().line != s.line) master.feed->rename({s.line, s.head, s.chain});
    if (r) {
      office.registration = *r;
      return r->rolled_back ? "rolled back" : "taken";
    }
    return r.error().code;
  }
  MemStore::Tables copy_of(SmallOffice& office) {
    REQUIRE(office.store.sync());
    return office.store.durable();
  }
  // The same name on another disk.
  std::unique_ptr<SmallOffice> clone(SmallOffice& office, const MemStore::Tables& disk) {
    auto out = std::make_unique<SmallOffice>(*this, office.name);
    out->credential = office.credential;
    out->store.restore(disk);
    out->start();
    return out;
  }
  void restart(SmallOffice& office) {
    office.crash();
    office.start();
  }

  // --- The master's disk ---
  MemStore::Tables backup() {
    REQUIRE(master.store.sync());
    return master.store.durable();
  }
  void restore(const MemStore::Tables& disk, bool marked) {
    master.crash();
    master.store.restore(disk);
    if (marked) {
      Batch mark;
      mark.put(Table::meta, keys::meta_restored(), encode_restored_mark({1}));
      REQUIRE(master.store.write(mark, Sync::yes));
    }
    master.start();
  }
  // As an office's uplink does: greets until it is taken, leaving the line where it is told to.
  void reconnect(SmallOffice& office) {
    for (int i = 0; i < 3; ++i) {
      std::string said = greet(office);
      if (said != kLineReplaced) {
        INFO(office.name + ": " + said);
        REQUIRE((said == "taken" || said == "rolled back"));
        office.connect();
        return;
      }
      auto put = [&](const Batch& b, Sync s) { return office.store.write(b, s); };
      REQUIRE(office.replica->leave_line(put));
    }
    FAIL(office.name + " is not taken");
  }
  // Ships without reading fates.
  void offer(SmallOffice& office) { office.ship(); }
  void settle_all() {
    for (int i = 0; i < 3; ++i) settle();
  }
  bool open() { return master.ingest->reconciling().open(); }
  LineId line() { return master.ingest->state().line; }
  std::vector<std::string> problems() { return audit(); }
  std::string points() {
    std::string text = master.show("a");
    size_t at = text.find("loyaltypoints=");
    return text.substr(at + 14, text.find(' ', at) - at - 14);
  }
};

}  // namespace branchline
