#include "tests/simulation/nemesis_identity.h"

#include <algorithm>

#include "common/base/check.h"

namespace branchline::sim {

void IdentityNemesis::schedule(int64_t span) {
  World& w = host_.world;
  operate();
  if (w.chance(0.6)) {
    int64_t copied = w.between(span / 10, span / 2);
    w.after(copied, [this] {
      if (!host_.broken()) old_master_ = host_.master.disk.durable();
    });
    int restores = w.chance(0.3) ? 2 : 1;  // the second: to before the first
    for (int i = 0; i < restores; ++i) {
      w.after(copied + w.between(100'000, span / 2), [this] {
        if (!host_.broken()) restore_master();
      });
    }
  }
  for (int i = 0; i < 2; ++i) {
    w.after(w.between(span / 10, span), [this] {
      if (!host_.broken()) start_copy();
    });
  }
}

void IdentityNemesis::restore_master() {
  host_.fault("master set back to an old copy");
  SimMaster& master = host_.master;
  if (master.up()) master.crash();
  master.disk.restore(old_master_);
  if (host_.world.chance(0.5)) {  // as `branchline restore` does; else only the files were put back
    Batch mark;
    mark.put(Table::meta, keys::meta_restored(), encode_restored_mark({1}));
    BL_CHECK(master.disk.write(mark, Sync::yes));
  } else {
    restored_untold_ = true;
  }
  host_.world.after(host_.world.between(10'000, 800'000), [this] {
    if (!host_.master.up() && !host_.broken()) host_.master.start();
  });
}

bool IdentityNemesis::copy_runs(const std::string& name) const {
  return std::any_of(copies_.begin(), copies_.end(),
                     [&](const auto& c) { return c->name == name && c->up(); });
}

bool IdentityNemesis::copied(const std::string& name) const {
  return std::any_of(copies_.begin(), copies_.end(),
                     [&](const auto& c) { return c->name == name; });
}

void IdentityNemesis::start_copy() {
  World& w = host_.world;
  // Of an office, or of a copy of it that runs.
  SimBranch* of = host_.branches[w.random.below(host_.branches.size())].get();
  for (auto& c : copies_) {
    if (c->ready() && w.chance(0.5)) of = c.get();
  }
  if (!of->ready()) return;
  host_.fault("copy started");
  auto& copy = copies_.emplace_back(std::make_unique<SimBranch>(
      w, of->name, of->schema, host_.topology_digest, host_.master, host_.bug));
  copy->disk.restore(of->disk.durable());
  copy->damaged = of->damaged;
  copy->clock.offset_ms = of->clock.offset_ms;
  copy->start();
  w.after(w.between(200'000, 6'000'000), [c = copy.get()] {
    if (c->up()) c->crash();
  });
}

// An operator who looks once a second: where the copy is stopped, the other may come back.
void IdentityNemesis::operate() {
  host_.world.after(1'000'000, [this] {
    operate();
    SimMaster& master = host_.master;
    if (!master.up() || host_.broken()) return;
    for (auto& b : host_.branches) {
      if (!b->up() || !b->refused_as_copy || copy_runs(b->name)) continue;
      if (master.release(b->name)) ++host_.world.counts["seen: refused copy released"];
    }
  });
}

void IdentityNemesis::heal() {
  for (auto& c : copies_) {
    if (c->up()) c->crash();
  }
}

std::string IdentityNemesis::failure() const {
  for (const auto& c : copies_) {
    if (!c->failure.empty()) return "a copy of " + c->failure;
  }
  return {};
}

}  // namespace branchline::sim
