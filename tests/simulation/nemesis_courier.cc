#include "tests/simulation/nemesis_courier.h"

namespace branchline::sim {
namespace {

// Refusals that a person with files has to live with until there is a link.
bool waits_for_link(const Error& e) {
  for (const char* code :
       {"file.reconciling", "file.other_line", "file.copy", "file.ahead", "file.off_line",
        "file.subscription", "file.never_joined", "file.line_replaced", "session.removed"}) {
    if (e.code == code) return true;
  }
  return false;
}

}  // namespace

void CourierNemesis::schedule(int64_t span) {
  World& world = host_.world;
  ++world.counts["courier"];
  for (int i = 0; i < 400; ++i) {
    world.after(world.between(0, span), [this] {
      if (!host_.broken()) step();
    });
  }
  // What he is for: lines that are dead for long.
  for (int i = 0; i < 6; ++i) {
    SimBranch* b = host_.branches[world.random.below(host_.branches.size())].get();
    world.after(world.between(0, span), [this, b] {
      if (host_.broken()) return;
      host_.fault("partition");
      b->partitioned = true;
      if (b->session) b->disconnect();
      host_.world.after(host_.world.between(3'000'000, 9'000'000), [b] { b->partitioned = false; });
    });
  }
}

void CourierNemesis::step() {
  World& world = host_.world;
  SimBranch* b = host_.branches[world.random.below(host_.branches.size())].get();
  for (auto& other : host_.branches) {
    if (other->partitioned && world.chance(0.6)) b = other.get();
  }
  Bag& bag = bags_[b];
  switch (world.random.below(4)) {
    case 0:
      if (!b->ready()) return;
      bag.up.push_back(b->export_file());
      bag.cursors.push_back(b->replica->state().cursor);
      return;
    case 1:
      if (!bag.up.empty() && host_.master.up()) carry_up(*b, bag);
      return;
    case 2:
      if (!bag.cursors.empty() && host_.master.up()) ask_feed(*b, bag);
      return;
    case 3:
      if (!bag.down.empty() && b->ready()) carry_down(*b, bag);
      return;
  }
}

std::string CourierNemesis::pick(std::vector<std::string>& files) {
  World& world = host_.world;
  size_t at = world.chance(0.5) ? files.size() - 1 : world.random.below(files.size());
  std::string file = files[at];
  if (world.chance(0.7)) files.erase(files.begin() + static_cast<ptrdiff_t>(at));
  return file;
}

void CourierNemesis::carry_up(const SimBranch& b, Bag& bag) {
  auto taken = host_.master.import_file(pick(bag.up));
  if (!taken && waits_for_link(taken.error())) {
    ++host_.world.counts["seen: file refused, " + taken.error().code];
  } else if (!taken) {
    host_.wrong("a file of " + b.name + " was refused: " + taken.error().message);
  }
}

void CourierNemesis::ask_feed(const SimBranch& b, Bag& bag) {
  World& world = host_.world;
  size_t at = world.chance(0.7) ? bag.cursors.size() - 1 : world.random.below(bag.cursors.size());
  if (bag.cursors[at].line != host_.master.feed->head().line) return;
  auto made = host_.master.export_feed(b.name, bag.cursors[at].csn);
  if (!made && made.error().code == "line.trimmed") return;  // trimmed meanwhile
  if (!made) return host_.wrong("no feed for " + b.name + ": " + made.error().message);
  bag.down.push_back(std::move(*made));
}

void CourierNemesis::carry_down(SimBranch& b, Bag& bag) {
  auto taken = b.import_file(pick(bag.down));
  if (!taken && (taken.error().code == "file.gap" || waits_for_link(taken.error()))) {
    ++host_.world.counts["seen: feed refused, " + taken.error().code];
  } else if (!taken) {
    host_.wrong("a feed for " + b.name + " was refused: " + taken.error().message);
  }
}

}  // namespace branchline::sim
