#include "tests/simulation/scenario.h"

#include <algorithm>

#include "common/base/check.h"
#include "tests/simulation/checks.h"
#include "tests/simulation/nemesis_courier.h"
#include "tests/simulation/nemesis_identity.h"
#include "tests/simulation/nemesis_snapshots.h"
#include "tests/simulation/workload.h"
#include "tests/simulation/workload_moves.h"
#include "tests/simulation/workload_policies.h"
#include "tests/support/next_schema.h"

namespace branchline::sim {
namespace {

Topology make_topology() {
  Topology t;
  t.name = "simulation";
  ServerSpec master;
  master.name = "master";
  master.kind = ServerKind::master;
  t.servers.push_back(master);
  for (const char* name : {"north", "east", "west"}) t.territories.push_back({name, ""});
  auto branch = [&](const char* name, std::vector<std::string> held) {
    ServerSpec s;
    s.name = name;
    s.upstream = "master";
    s.territories = std::move(held);
    t.servers.push_back(s);
  };
  branch("hq", {"north", "east", "west"});
  branch("north", {"north"});
  branch("east", {"east", "north"});
  branch("west", {"west"});
  return t;
}

std::shared_ptr<const Schema> next_schema() {
  static const std::shared_ptr<const Schema> schema = [] {
    auto parsed = Schema::parse(next_schema_text(), "next.yaml");
    BL_CHECK(parsed);
    return *parsed;
  }();
  return schema;
}

class Scenario {
 public:
  Scenario(uint64_t seed, const ScenarioOptions& options)
      : options_(options),
        world_(seed),
        schema_(Schema::built_in()),
        topology_(make_topology()),
        master_(world_, schema_, topology_, options.bug),
        hubs_(seed % 3 == 0) {
    world_.verbose = options.verbose;
    for (const auto& s : topology_.servers) {
      if (s.kind == ServerKind::master) continue;
      branches_.push_back(std::make_unique<SimBranch>(world_, s.name, schema_, topology_.digest(),
                                                      master_, options.bug));
    }
    // Beneath the head office, and beneath an office that is beneath it.
    if (!hubs_) return;
    for (const char* name : {"hq", "east"}) branch(name)->be_hub();
    set_upstream("east", "hq");
    set_upstream("north", "east");
  }

  Outcome run() {
    master_.start();
    std::vector<SimBranch*> all;
    for (auto& b : branches_) all.push_back(b.get());
    workload_ = std::make_unique<Workload>(world_, schema_, all);
    workload_->set_up(master_);
    policies_ = std::make_unique<PolicyWorkload>(world_, schema_);
    policies_->set_up(master_, all);
    master_.check_batch = [this] { return policies_->check_bound(master_); };
    moves_ = std::make_unique<MovesWorkload>(world_, schema_, *workload_, all);
    snapshots_ = std::make_unique<SnapshotNemesis>(world_, topology_, master_, all,
                                                   [this] { return broken(); });
    for (auto& b : branches_) b->clock.offset_ms = world_.between(-2000, 2000);
    // One office joins late, when there is something to get.
    for (size_t i = 0; i + 1 < branches_.size(); ++i) branches_[i]->start();
    world_.after(int64_t(options_.operations) * kMeanGap / 4,
                 [b = branches_.back().get()] { b->start(); });
    world_.run_until(300'000);

    schedule_operations();
    schedule_faults();
    identity_.schedule(int64_t(options_.operations) * kMeanGap);
    if (hubs_) schedule_new_upstreams();
    if (world_.chance(options_.upgrades)) schedule_upgrades();
    snapshots_->schedule(int64_t(options_.operations) * kMeanGap);
    if (world_.chance(options_.couriers))
      courier_.schedule(int64_t(options_.operations) * kMeanGap);
    int64_t end = world_.now() + int64_t(options_.operations) * kMeanGap + 2'000'000;
    while (world_.now() < end && !broken()) world_.run_until(world_.now() + 100'000);
    if (!broken()) heal();
    if (!broken()) settle();
    if (!broken()) failure_ = checks().all();
    if (!broken() && upgrades_) finish_upgrades();
    Outcome out;
    out.failure = failure_;
    out.counts = world_.counts;
    return out;
  }

 private:
  static constexpr int64_t kMeanGap = 15'000;

  SimBranch* branch(const std::string& name) {
    for (auto& b : branches_) {
      if (b->name == name) return b.get();
    }
    return nullptr;
  }

  void set_upstream(const std::string& name, const std::string& upstream) {
    for (auto& s : topology_.servers) {
      if (s.name == name) s.upstream = upstream;
    }
    branch(name)->set_upstream(branch(upstream));
  }

  // Offices change over to another upstream, each now and then.
  void schedule_new_upstreams() {
    int64_t span = int64_t(options_.operations) * kMeanGap;
    for (int i = 0; i < 4; ++i) {
      world_.after(world_.between(0, span), [this] {
        if (broken()) return;
        // Any order of these gives no circle.
        static const std::pair<const char*, const char*> moves[] = {
            {"north", "hq"}, {"north", "east"},  {"north", "master"}, {"east", "master"},
            {"east", "hq"},  {"west", "master"}, {"west", "hq"},      {"west", "east"}};
        auto [name, upstream] = moves[world_.random.below(8)];
        fault("another upstream");
        set_upstream(name, upstream);
        if (master_.up()) master_.apply_topology();
        branch(name)->move();
      });
    }
  }

  bool broken() {
    if (!failure_.empty()) return true;
    failure_ = master_.failure;
    for (auto& b : branches_) {
      if (failure_.empty()) failure_ = b->failure;
    }
    if (failure_.empty()) failure_ = identity_.failure();
    return !failure_.empty();
  }
  void wrong(const std::string& what) {
    if (failure_.empty()) failure_ = what;
  }

  void schedule_operations() {
    int64_t at = 0;
    for (uint64_t i = 0; i < options_.operations; ++i) {
      at += world_.between(0, 2 * kMeanGap);
      world_.after(at, [this] {
        if (broken()) return;
        if (world_.chance(options_.moves) && master_.up())
          moves_->step(master_.ingest->directory());
        else
          workload_->step();
        if (world_.chance(0.25)) policies_->step(*branches_[world_.random.below(branches_.size())]);
        if (upgrades_ && world_.chance(0.3))
          workload_->version_step(*next_schema(), master_.schema == next_schema());
      });
    }
  }

  void fault(const char* name) {
    ++world_.counts[std::string("fault: ") + name];
    ++world_.counts["faults"];
    world_.say(name);
  }

  void schedule_faults() {
    int64_t span = int64_t(options_.operations) * kMeanGap;
    for (uint64_t i = 0; i < options_.faults; ++i) {
      world_.after(world_.between(0, span), [this] {
        if (!broken()) one_fault();
      });
    }
    for (int i = 0; i < 3; ++i) {
      world_.after(world_.between(0, span),
                   [this] { flip_byte(branches_[world_.random.below(branches_.size())].get()); });
    }
    // Two disks are copied on the way, to be rolled back to later.
    for (int i = 0; i < 2; ++i) {
      SimBranch* b = branches_[world_.random.below(branches_.size())].get();
      int64_t copied = world_.between(0, span * 2 / 3);
      world_.after(copied, [this, b] {
        if (!b->ready()) return;
        copies_[b] = {b->disk.durable(), world_.now()};
      });
      world_.after(copied + world_.between(200'000, span / 3), [this, b] { roll_back(b); });
    }
  }

  // Each server at its own time, with work pending and whatever else befalls it; some offices not
  // at all while there is work.
  void schedule_upgrades() {
    upgrades_ = true;
    int64_t span = int64_t(options_.operations) * kMeanGap;
    world_.after(world_.between(span / 10, span * 6 / 10), [this] {
      if (broken()) return;
      fault("master upgraded");
      master_.schema = next_schema();
      if (!master_.up()) return;  // whoever starts it again
      master_.crash();
      master_.start();
    });
    for (auto& each : branches_) {
      if (world_.chance(0.3)) continue;
      world_.after(world_.between(0, span * 9 / 10), [this, b = each.get()] {
        if (broken()) return;
        bool early = master_.schema != next_schema();
        bool pending = b->ready() && b->replica->state().ledger.pending > 0;
        fault(early ? "office upgraded before its master" : "office upgraded");
        if (pending) ++world_.counts["upgraded with work pending"];
        b->schema = next_schema();
        if (!b->up()) return;
        b->crash();
        b->start();
      });
    }
  }

  // What an office of the version before held for others is its own once it is upgraded too.
  void finish_upgrades() {
    for (auto& b : branches_) {
      if (b->schema == next_schema()) continue;
      ++world_.counts["seen: office of the version before at the end"];
      b->crash();
      b->schema = next_schema();
      b->start();
    }
    if (!broken()) settle();
    if (broken()) return;
    failure_ = checks().copies();
  }

  void restart_later(SimBranch* b) {
    world_.after(world_.between(10'000, 1'500'000), [this, b] {
      if (!b->up() && !broken()) b->start();
    });
  }

  void one_fault() {
    SimBranch* b = branches_[world_.random.below(branches_.size())].get();
    switch (world_.random.below(9)) {
      case 0:
      case 1:
        if (!b->up()) return;
        fault("branch crash");
        b->crash();
        return restart_later(b);
      case 2:
        if (!master_.up()) return;
        fault("master crash");
        master_.crash();
        return world_.after(world_.between(10'000, 800'000), [this] {
          if (!master_.up() && !broken()) master_.start();
        });
      case 3:
        fault("partition");
        b->partitioned = true;
        if (b->session) b->disconnect();
        return world_.after(world_.between(100'000, 4'000'000), [b] { b->partitioned = false; });
      case 4:
        fault("connection reset");
        if (b->session) b->disconnect();
        return;
      case 5:
        fault("slow line");
        b->latency_us = world_.between(50'000, 700'000);
        return world_.after(world_.between(500'000, 4'000'000), [b] { b->latency_us = 5'000; });
      case 6:
        fault("stalled line");
        b->stalled = true;
        return world_.after(world_.between(200'000, 9'000'000), [b] { b->stalled = false; });
      case 7:
        fault("clock jump");
        b->clock.offset_ms += world_.chance(0.4) ? world_.between(300'000, 3'000'000)
                                                 : world_.between(-200'000, 200'000);
        return;
      case 8:
        fault("bulk held back");
        b->set_line(true, world_.chance(0.5) ? uint64_t(world_.between(5'000, 50'000)) : 0);
        return world_.after(world_.between(500'000, 9'000'000), [b] { b->set_line(false, 0); });
    }
  }

  // A byte of a value in a replica's row is another: the disk, or memory on the way to it. The
  // servers are told nothing.
  void flip_byte(SimBranch* b) {
    if (!b->ready() || broken()) return;
    FieldId name = schema_->entity(entity_id::kAccount)->field("name")->id;
    keys::Side side = b->replica->state().side;
    std::vector<std::pair<std::string, std::string>> rows;
    for (auto c =
             scan_prefix(b->disk, Table::records, keys::record_prefix(side, entity_id::kAccount));
         c->valid(); c->next()) {
      auto key = keys::parse_record(c->key());
      auto record = Record::decode(*key, std::string(c->value()));
      if (!record || !record->live()) continue;
      std::string text(record->value(name).payload);
      std::string row(c->value());
      size_t at = text.empty() ? std::string::npos : row.find(text);
      if (at == std::string::npos || text.starts_with("canary")) continue;
      row[at] = row[at] == 'x' ? 'y' : 'x';
      rows.emplace_back(c->key(), std::move(row));
    }
    if (rows.empty()) return;
    fault("byte flipped in a replica");
    const auto& [key, row] = rows[world_.random.below(rows.size())];
    Batch batch;
    batch.put(Table::records, key, row);
    if (world_.chance(0.3)) {
      auto index = scan_prefix(b->disk, Table::index, std::string(1, static_cast<char>(side)));
      if (index->valid()) batch.erase(Table::index, index->key());
    }
    BL_CHECK(b->disk.write(batch, Sync::yes));
    b->damaged = true;
    flipped_.insert(key.substr(1));
    // What it has in memory would be written over it: without that, it reads what is on the disk.
    if (!world_.chance(0.7)) return;
    b->crash();
    restart_later(b);
  }

  void roll_back(SimBranch* b) {
    auto copy = copies_.find(b);
    if (copy == copies_.end() || broken()) return;
    fault("disk rolled back");
    if (b->up()) b->crash();
    b->disk.restore(copy->second.tables);
    rolled_back_[b->name].push_back({copy->second.at, world_.now()});
    copies_.erase(copy);
    restart_later(b);
  }

  void heal() {
    world_.say("healing");
    identity_.heal();
    if (!master_.up()) master_.start();
    for (auto& b : branches_) {
      b->partitioned = b->stalled = false;
      b->set_line(false, 0);
      b->latency_us = 5'000;
      if (!b->up()) b->start();
      verified_before_[b.get()] = b->verifier->status().run;
    }
  }

  // Everything counted and compared since the last fault.
  bool verified(SimBranch& b) {
    const VerifyStatus& s = b.verifier->status();
    // A run that was under way at the last fault may have counted before it.
    return s.done > verified_before_[&b];
  }
  void count_mended() {
    for (auto& b : branches_) {
      const VerifyStatus& s = b->verifier->status();
      world_.counts["seen: verified"] += s.done;
      world_.counts["mended: records"] += s.records_mended;
      world_.counts["mended: index rows"] += s.index_rows_mended;
      world_.counts["mended: sums"] += s.totals_mended;
    }
  }

  void settle() {
    int64_t deadline = world_.now() + 120'000'000;
    while (world_.now() < deadline && !broken()) {
      world_.run_until(world_.now() + 200'000);
      if (!master_.up()) continue;
      bool quiet = true;
      for (auto& b : branches_) {
        quiet = quiet && b->ready() && b->replica->state().ledger.pending == 0 &&
                b->replica->state().cursor.csn == master_.ingest->state().head &&
                b->replica->state().cursor.line == master_.ingest->state().line &&
                holds_what_it_should(*b) && verified(*b);
      }
      if (quiet) return count_mended();
    }
    if (broken()) return;
    std::string who;
    for (auto& b : branches_) {
      if (!b->ready()) {
        who += " " + b->name + " is not up;";
        continue;
      }
      who += " " + b->name + " at csn " + std::to_string(b->replica->state().cursor.csn.value) +
             " with " + std::to_string(b->replica->state().ledger.pending) + " pending, " +
             std::string(b->session ? to_string(b->session->state()) : "no session") + ";";
    }
    wrong("no rest after two minutes: head " + std::to_string(master_.ingest->state().head.value) +
          who);
  }

  bool holds_what_it_should(const SimBranch& b) {
    const auto& held = b.replica->state().territories;
    return std::set<TerritoryId>(held.begin(), held.end()) ==
           master_.ingest->directory().server(b.name)->territories;
  }

  Checks checks() {
    return Checks({world_, master_, branches_, schema_, next_schema(), *workload_, *policies_,
                   *moves_, *snapshots_, identity_, rolled_back_, flipped_});
  }

  struct DiskCopy {
    MemStore::Tables tables;
    int64_t at;
  };
  ScenarioOptions options_;
  World world_;
  std::shared_ptr<const Schema> schema_;
  Topology topology_;
  SimMaster master_;
  const bool hubs_;  // offices beneath offices
  std::vector<std::unique_ptr<SimBranch>> branches_;
  std::unique_ptr<Workload> workload_;
  std::unique_ptr<PolicyWorkload> policies_;
  std::unique_ptr<MovesWorkload> moves_;
  std::unique_ptr<SnapshotNemesis> snapshots_;
  std::map<SimBranch*, DiskCopy> copies_;
  std::set<std::string> flipped_;  // records with a byte that was changed, at some office
  std::map<SimBranch*, uint64_t> verified_before_;  // runs that were begun before the last fault
  RolledBack rolled_back_;
  bool upgrades_ = false;
  std::string failure_;
  IdentityNemesis identity_{{world_, master_, branches_, schema_, topology_.digest(), options_.bug,
                             [this] { return broken(); },
                             [this](const char* name) { fault(name); }}};
  CourierNemesis courier_{{world_, master_, branches_, [this] { return broken(); },
                           [this](const char* name) { fault(name); },
                           [this](const std::string& what) { wrong(what); }}};
};

}  // namespace

Outcome run_scenario(uint64_t seed, const ScenarioOptions& options) {
  Scenario scenario(seed, options);
  Outcome out = scenario.run();
  out.seed = seed;
  return out;
}

}  // namespace branchline::sim
