// A small world with accounts in each territory, whose texts name where they belong.
#pragma once

#include <catch2/catch.hpp>

#include "common/base/check.h"
#include "tests/support/small_world.h"

namespace branchline {

inline Replica::Write writer(SmallOffice& o) {
  return [&o](const Batch& b, Sync s) { return o.store.write(b, s); };
}

// Takes chunks from where `source` stands; how many it took.
inline size_t take(SmallOffice& o, SnapshotSource& source, size_t most = SIZE_MAX) {
  size_t taken = 0;
  for (; taken < most; ++taken) {
    auto chunk = source.chunk(o.replica->seeded_chunks());
    REQUIRE(chunk);
    if (!*chunk) break;
    REQUIRE(o.replica->seed_chunk(**chunk, writer(o)));
  }
  return taken;
}

struct Filled : SmallWorld {
  explicit Filled(int accounts = 40) {
    SmallOffice& hq = (*this)["hq"];
    for (int i = 0; i < accounts; ++i) {
      std::string n = std::to_string(i), t = i % 3 == 0 ? "common" : i % 3 == 1 ? "east" : "west";
      BL_CHECK(hq.write("create account a" + n + " @" + t + " name=canary-" + t +
                        "-name description=canary-" + t + "-text" + std::string(80, 'x') +
                        " tags+=canary-" + t) == "ok");
    }
    settle();
  }
  bool whole() {
    settle();
    settle();
    auto problems = audit();
    for (const auto& p : problems) UNSCOPED_INFO(p);
    return problems.empty();
  }
  bool holds(SmallOffice& o, const std::string& needle, bool with_fates = false) {
    for (size_t t = 0; t < kTableCount; ++t) {
      if (t == size_t(Table::fates) && !with_fates) continue;
      for (const auto& [key, value] : o.store.tables()[t]) {
        if (value.find(needle) != std::string::npos) return true;
      }
    }
    return false;
  }
  void subscribe(const std::string& name, std::vector<std::string> territories) {
    for (auto& s : topology.servers) {
      if (s.name == name) s.territories = territories;
    }
    master.apply_topology();
  }
  void ask_anew(SmallOffice& o) {
    Introduction intro = o.introduction();
    intro.reseed = true;
    o.registration = master.register_branch(intro);
    REQUIRE(o.registration.join);
    REQUIRE(o.store.write(*o.replica->welcome(o.registration), Sync::yes));
  }
};

}  // namespace branchline
