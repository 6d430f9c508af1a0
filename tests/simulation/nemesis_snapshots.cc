#include "tests/simulation/nemesis_snapshots.h"

#include <algorithm>

namespace branchline::sim {

SnapshotNemesis::SnapshotNemesis(World& world, Topology& topology, SimMaster& master,
                                 std::vector<SimBranch*> branches, std::function<bool()> broken)
    : world_(world),
      topology_(topology),
      master_(master),
      branches_(std::move(branches)),
      broken_(std::move(broken)) {
  for (const auto& s : topology_.servers) {
    for (const auto& t : s.territories) held_.emplace(s.name, t);
  }
}

SimBranch& SnapshotNemesis::any() { return *branches_[world_.random.below(branches_.size())]; }

void SnapshotNemesis::fault(const char* name) {
  ++world_.counts[std::string("fault: ") + name];
  ++world_.counts["faults"];
  world_.say(name);
}

void SnapshotNemesis::schedule(int64_t span_us) {
  auto at_random = [&](void (SnapshotNemesis::*what)()) {
    world_.after(world_.between(0, span_us), [this, what] {
      if (!broken_()) (this->*what)();
    });
  };
  for (int i = 0; i < 3; ++i) at_random(&SnapshotNemesis::change_subscription);
  for (int i = 0; i < 2; ++i) at_random(&SnapshotNemesis::break_join);
  for (int i = 0; i < 3; ++i) {
    if (world_.chance(0.4)) at_random(&SnapshotNemesis::grow);
  }
  if (world_.chance(0.4)) at_random(&SnapshotNemesis::long_absence);
}

// An office gets a territory more with what is below it, or one less. Often its line is down
// meanwhile, so that it works on with what it held.
void SnapshotNemesis::change_subscription() {
  std::vector<ServerSpec*> offices;
  for (auto& s : topology_.servers) {
    if (s.kind == ServerKind::branch && s.name != "hq") offices.push_back(&s);
  }
  ServerSpec& office = *offices[world_.random.below(offices.size())];
  const TerritorySpec& t = topology_.territories[world_.random.below(topology_.territories.size())];
  auto holds = [&](const std::string& name) {
    const auto& held = office.territories;
    return std::find(held.begin(), held.end(), name) != held.end();
  };
  auto below = with_below(topology_.territories, {t.name});
  if (!holds(t.name)) {
    fault("territory added");
    for (const auto& name : below) {
      if (!holds(name)) office.territories.push_back(name);
      held_.emplace(office.name, name);
    }
  } else if (office.territories.size() > below.size() && !holds(t.parent)) {
    fault("territory removed");
    for (const auto& name : below) std::erase(office.territories, name);
  } else {
    return;
  }
  apply({office.name});
}

// A new territory below another, anywhere in the file: a master that is set back to before it
// commits it anew, with others that came before it or behind.
void SnapshotNemesis::grow() {
  fault("territory new");
  auto& tree = topology_.territories;
  std::string parent = tree[world_.random.below(tree.size())].name;
  std::string name = "new-" + std::to_string(++grown_);
  tree.insert(tree.begin() + static_cast<ptrdiff_t>(world_.random.below(tree.size() + 1)),
              {name, parent});
  std::vector<std::string> concerned;
  for (auto& s : topology_.servers) {
    if (std::find(s.territories.begin(), s.territories.end(), parent) == s.territories.end())
      continue;
    s.territories.push_back(name);
    held_.emplace(s.name, name);
    concerned.push_back(s.name);
  }
  apply(concerned);
}

void SnapshotNemesis::apply(const std::vector<std::string>& concerned) {
  for (SimBranch* b : branches_) {
    bool hears = std::find(concerned.begin(), concerned.end(), b->name) == concerned.end();
    if (hears || !world_.chance(0.4)) continue;
    b->partitioned = true;
    if (b->session) b->disconnect();
    world_.after(world_.between(100'000, 3'000'000), [b] { b->partitioned = false; });
  }
  // A master that is down applies it when it starts.
  if (master_.up()) master_.apply_topology();
}

void SnapshotNemesis::break_join() {
  SimBranch* b = &any();
  if (!b->up()) return;
  fault("join broken");
  b->ask_reseed();
  if (b->session) b->disconnect();
  keep_breaking(b, int(world_.between(1, 4)));
}

// Whenever it is in the middle of a join, its line breaks, or it dies.
void SnapshotNemesis::keep_breaking(SimBranch* b, int times) {
  if (times == 0 || broken_()) return;
  bool now = b->joining();
  if (now) {
    ++world_.counts["seen: join cut off"];
    if (world_.chance(0.4)) {
      b->crash();
      world_.after(world_.between(10'000, 500'000), [this, b] {
        if (!b->up() && !broken_()) b->start();
      });
    } else {
      b->disconnect();
    }
  }
  world_.after(world_.between(5'000, 60'000),
               [this, b, left = times - (now ? 1 : 0)] { keep_breaking(b, left); });
}

// 31 days pass while its line is down. It works on, and so do the others.
void SnapshotNemesis::long_absence() {
  SimBranch* b = &any();
  fault("31 days without a link");
  b->partitioned = true;
  if (b->session) b->disconnect();
  world_.after(world_.between(200'000, 1'000'000), [this] {
    constexpr int64_t kAway = 31ll * 86'400'000;
    master_.clock.offset_ms += kAway;
    for (SimBranch* other : branches_) other->clock.offset_ms += kAway;
  });
  world_.after(world_.between(3'000'000, 6'000'000), [b] { b->partitioned = false; });
}

}  // namespace branchline::sim
