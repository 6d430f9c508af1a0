#include "tests/simulation/scenario.h"

#include <algorithm>

#include "branch/replica/audit.h"
#include "common/base/check.h"
#include "master/ingest/audit.h"
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
    if (world_.chance(options_.couriers)) schedule_courier();
    int64_t end = world_.now() + int64_t(options_.operations) * kMeanGap + 2'000'000;
    while (world_.now() < end && !broken()) world_.run_until(world_.now() + 100'000);
    if (!broken()) heal();
    if (!broken()) settle();
    if (!broken()) check();
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

  // Somebody carries files between the offices and the master, beside the links: late, twice, in
  // any order, from before a disk was rolled back or a replica fetched anew.
  void schedule_courier() {
    ++world_.counts["courier"];
    int64_t span = int64_t(options_.operations) * kMeanGap;
    for (int i = 0; i < 400; ++i) {
      world_.after(world_.between(0, span), [this] {
        if (!broken()) courier_step();
      });
    }
    // What he is for: lines that are dead for long.
    for (int i = 0; i < 6; ++i) {
      SimBranch* b = branches_[world_.random.below(branches_.size())].get();
      world_.after(world_.between(0, span), [this, b] {
        if (broken()) return;
        fault("partition");
        b->partitioned = true;
        if (b->session) b->disconnect();
        world_.after(world_.between(3'000'000, 9'000'000), [b] { b->partitioned = false; });
      });
    }
  }

  static bool waits_for_link(const Error& e) {
    for (const char* code :
         {"file.reconciling", "file.other_line", "file.copy", "file.ahead", "file.off_line",
          "file.subscription", "file.never_joined", "file.line_replaced", "session.removed"}) {
      if (e.code == code) return true;
    }
    return false;
  }

  void courier_step() {
    SimBranch* b = branches_[world_.random.below(branches_.size())].get();
    for (auto& other : branches_) {
      if (other->partitioned && world_.chance(0.6)) b = other.get();
    }
    auto& bag = bags_[b];
    auto pick = [&](std::vector<std::string>& files) {
      size_t at = world_.chance(0.5) ? files.size() - 1 : world_.random.below(files.size());
      std::string file = files[at];
      if (world_.chance(0.7)) files.erase(files.begin() + static_cast<ptrdiff_t>(at));
      return file;
    };
    switch (world_.random.below(4)) {
      case 0: {
        if (!b->ready()) return;
        bag.up.push_back(b->export_file());
        bag.cursors.push_back(b->replica->state().cursor);
        return;
      }
      case 1: {
        if (bag.up.empty() || !master_.up()) return;
        auto taken = master_.import_file(pick(bag.up));
        if (!taken && waits_for_link(taken.error())) {
          ++world_.counts["seen: file refused, " + taken.error().code];
        } else if (!taken) {
          wrong("a file of " + b->name + " was refused: " + taken.error().message);
        }
        return;
      }
      case 2: {
        if (bag.cursors.empty() || !master_.up()) return;
        size_t at =
            world_.chance(0.7) ? bag.cursors.size() - 1 : world_.random.below(bag.cursors.size());
        if (bag.cursors[at].line != master_.feed->head().line) return;
        auto made = master_.export_feed(b->name, bag.cursors[at].csn);
        if (!made && made.error().code == "line.trimmed") return;  // trimmed meanwhile
        if (!made) return wrong("no feed for " + b->name + ": " + made.error().message);
        bag.down.push_back(std::move(*made));
        return;
      }
      case 3: {
        if (bag.down.empty() || !b->ready()) return;
        auto taken = b->import_file(pick(bag.down));
        if (!taken && (taken.error().code == "file.gap" || waits_for_link(taken.error()))) {
          ++world_.counts["seen: feed refused, " + taken.error().code];
        } else if (!taken) {
          wrong("a feed for " + b->name + " was refused: " + taken.error().message);
        }
        return;
      }
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
    check_audits();
    check_equal();
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

  // --- What must hold ---

  void check() {
    check_audits();
    check_equal();
    check_acknowledged();
    check_order();
    check_notes();
    check_badges();
    check_counters();
    check_canaries();
    check_policies();
    std::string merges = check_merges(
        master_.disk, master_.schema, *workload_,
        [this](const MutationId& id) {
          auto fate = fate_of(id);
          return fate && *fate != Fate::rejected;
        },
        world_.counts);
    if (!merges.empty()) wrong(merges);
    if (auto problem = moves_->check(master_); !problem.empty()) wrong(problem);
  }

  void check_audits() {
    auto report = audit_line(master_.disk, *master_.schema);
    if (!report) return wrong("audit of the master: " + report.error().message);
    for (const auto& p : report->problems) wrong("audit of the master: " + p);
    for (auto& b : branches_) {
      auto r = audit_replica(b->disk, *b->schema);
      if (!r) return wrong("audit of " + b->name + ": " + r.error().message);
      for (const auto& p : r->problems) wrong("audit of " + b->name + ": " + p);
    }
    for (const auto& [origin, ledger] : report->counted) {
      world_.counts["fates: applied"] += ledger.applied;
      world_.counts["fates: merged"] += ledger.merged;
      world_.counts["fates: overridden"] += ledger.overridden;
      world_.counts["fates: rejected"] += ledger.rejected;
    }
  }

  // What a server says of its records, in a form that must be the same everywhere.
  std::map<std::string, std::string> contents(const MemStore& disk, keys::Side side,
                                              const std::set<TerritoryId>& held) {
    std::map<std::string, std::string> out;
    std::set<std::string> kept;
    std::string prefix(1, static_cast<char>(side));
    for (auto c = scan_prefix(disk, Table::records, prefix); c->valid(); c->next()) {
      auto key = keys::parse_record(c->key());
      auto record = Record::decode(*key, std::string(c->value()));
      BL_CHECK(record);
      bool mine = held.count(record->territory()) > 0;
      for (auto t : record->also_in()) mine = mine || held.count(t) > 0;
      if (!mine) continue;
      std::string text;
      Writer w(text);
      w.u8(static_cast<uint8_t>(record->state()));
      w.varint(record->territory().value);
      for (auto t : record->also_in()) w.varint(t.value);
      put_mutation_id(w, record->state_version().id);
      w.fixed64(record->state_version().hlc.value);
      put_mutation_id(w, record->created_version().id);
      for (const auto& cell : record->cells()) {
        w.varint(cell.field.value);
        put_mutation_id(w, record->version(cell).id);
        w.fixed64(record->version(cell).hlc.value);
        w.u8(static_cast<uint8_t>(cell.type));
        w.blob(record->value(cell).payload);
      }
      std::string k(c->key().substr(1));
      kept.insert(k);
      out["r" + k] = text;
    }
    for (auto c = scan_prefix(disk, Table::elements, prefix); c->valid(); c->next()) {
      std::string k(c->key().substr(1));
      if (!kept.count(k.substr(0, 18))) continue;
      auto e = decode_element(c->value());
      BL_CHECK(e);
      out["e" + k] = e->type_and_payload;
    }
    return out;
  }

  void check_equal() {
    for (auto& b : branches_) {
      const auto& state = b->replica->state();
      std::set<TerritoryId> held(state.territories.begin(), state.territories.end());
      held.insert(kReferenceTerritory);
      auto mine = contents(b->disk, state.side, held);
      auto truth = contents(master_.disk, 0, held);
      std::set<TerritoryId> everything = held;
      for (const auto& [name, t] : master_.ingest->directory().territories()) everything.insert(t);
      if (contents(b->disk, state.side, everything).size() != mine.size())
        wrong(b->name + " holds records of other territories");
      for (const auto& [key, text] : truth) {
        auto at = mine.find(key);
        if (at == mine.end()) return wrong(b->name + " lacks " + hex(key));
        // Checksums are over what lives (SEMANTICS 27): what is deleted is compared when it is
        // revived.
        bool deleted = text[0] == char(RecordState::tombstone) && at->second[0] == text[0];
        if (at->second != text && deleted && key[0] == 'r' && flipped_.count(key.substr(1)) > 0) {
          ++world_.counts["seen: damage in a deleted record"];
          continue;
        }
        if (at->second != text) {
          world_.say("here:   " + hex(at->second));
          world_.say("master: " + hex(text));
          return wrong(b->name + " differs from the master in " + hex(key));
        }
      }
      if (mine.size() != truth.size()) wrong(b->name + " holds more than the master");
    }
  }

  std::optional<FateEntry> entry_of(const MutationId& id) const {
    MutationId after = id;
    after.seq = id.seq.next();
    auto c =
        master_.disk.scan_back(Table::fates, keys::fate_prefix(stream_of(id)), keys::fate(after));
    if (!c->valid()) return std::nullopt;
    auto first = keys::parse_fate(c->key());
    auto row = decode_fate_row(*first, c->value());
    if (!row || id.seq.value >= first->seq.value + row->entry.count) return std::nullopt;
    return row->entry;
  }
  std::optional<Fate> fate_of(const MutationId& id) {
    auto entry = entry_of(id);
    return entry ? std::optional(entry->fate) : std::nullopt;
  }

  void check_policies() {
    auto decided = [this](const MutationId& id) -> std::optional<PolicyWorkload::Decided> {
      auto entry = entry_of(id);
      if (!entry) return std::nullopt;
      return PolicyWorkload::Decided{entry->fate, entry->outcomes};
    };
    auto set_back = [this](const std::string& branch) {
      return rolled_back_.count(branch) > 0 || identity_.copied(branch);
    };
    PolicyWorkload::Excused excused;
    // A restored master has forgotten what it had granted since: it takes that from what nobody
    // holds. The bound stands, for nothing is granted until all have come (SEMANTICS 31).
    bool restored = !master_.ingest->reconciling().past.empty();
    excused.from_reserve = [=](const std::string& branch) { return restored || set_back(branch); };
    // There is nothing to take it from where it has granted the same again, as a master does that
    // was not told that it was restored; or where another office spent its share twice.
    bool short_of =
        restored && (identity_.restored_untold() || !rolled_back_.empty() || identity_.copied());
    excused.refused = [=](const std::string& branch) { return short_of || set_back(branch); };
    std::string what = policies_->check(master_, decided, excused);
    if (!what.empty()) wrong(what);
  }

  // Accepted at a disk that was later set back to before, and never shipped: physics (SEMANTICS
  // 22).
  bool excused(const Intention::Attempt& a) const {
    auto at = rolled_back_.find(a.branch);
    if (at == rolled_back_.end()) return false;
    return std::any_of(at->second.begin(), at->second.end(),
                       [&](const auto& r) { return a.at >= r.first && a.at <= r.second; });
  }

  void check_acknowledged() {
    for (const auto& in : workload_->intentions()) {
      for (const auto& a : in.acknowledged) {
        if (fate_of(a.id)) continue;
        if (excused(a)) {
          ++world_.counts["lost with a rolled-back disk (excused)"];
          continue;
        }
        wrong("acknowledged at " + a.branch + " and lost: seq " + std::to_string(a.id.seq.value) +
              " of " + to_hex(a.id.incarnation.value));
      }
    }
  }

  // What offices created, as far as one of them knows it still: all that was decided is kept.
  std::map<RecordKey, MutationId> creations() const {
    std::map<RecordKey, MutationId> out;
    for (const auto& b : branches_) {
      std::string prefix(1, char(keys::kKept));
      for (auto c = scan_prefix(b->disk, Table::outbox, prefix); c->valid(); c->next()) {
        auto kept = decode_kept_block(keys::parse_outbox(c->key()).value(), c->value());
        BL_CHECK(kept);
        for (const auto& e : kept->block.entries) {
          for (const auto& op : e.mutation.ops) {
            if (op.kind == RecordOpKind::create) out.emplace(op.record, e.mutation.id);
          }
        }
      }
    }
    return out;
  }

  // The records that an operation names, and that were unknown when it was decided.
  std::vector<RecordKey> named_by(const SimBranch& office, const MutationId& id,
                                  const branchline::Outcome& o) const {
    MutationId after = id;
    after.seq = id.seq.next();
    auto c =
        office.disk.scan_back(Table::fates, keys::fate_prefix(stream_of(id)), keys::fate(after));
    if (!c->valid()) return {};
    auto row = decode_fate_row(*keys::parse_fate(c->key()), c->value());
    BL_CHECK(row);
    Reader r(row->content);
    auto m = get_mutation(r);
    if (!m || m->id != id) return {};
    const RecordOp& op = m->ops[o.op];
    if (o.reason == Reason::unknown_record && op.target.is_nil()) return {op.record};
    if (o.reason == Reason::unknown_record) return {op.record, {op.record.entity, op.target}};
    std::vector<RecordKey> out;
    const Entity* entity = master_.schema->entity(op.record.entity);
    if (!entity) return {};  // of a schema that the master has not come to
    const auto& parents = entity->parents;
    for (const auto& cell : op.cells) {
      bool parent = std::find(parents.begin(), parents.end(), cell.field) != parents.end();
      if (!parent || cell.value.is_null()) continue;
      Lookup l = decode_lookup(cell.value.payload);
      out.push_back({l.entity, l.id});
    }
    return out;
  }

  // Whether nobody could have shown that record: no office has its creation any more, or it was
  // refused itself, or comes from a disk that was set back, which may bring it at any time.
  bool is_gone(const RecordKey& key, const std::map<RecordKey, MutationId>& created) const {
    auto at = created.find(key);
    if (at == created.end()) return true;
    const ServerEntry* by = master_.ingest->directory().server(at->second.origin);
    if (!by || rolled_back_.count(by->name) || identity_.copied(by->name)) return true;
    auto fate = entry_of(at->second);
    return fate && fate->fate == Fate::rejected;
  }

  std::string tell(const std::vector<RecordKey>& named,
                   const std::map<RecordKey, MutationId>& created) const {
    std::string out = ", which names";
    for (const auto& key : named) {
      out += " entity " + std::to_string(key.entity.value);
      auto at = created.find(key);
      if (at == created.end()) continue;
      auto fate = entry_of(at->second);
      out +=
          " created by " + std::to_string(at->second.origin.value) + " as seq " +
          std::to_string(at->second.seq.value) + " of " + to_hex(at->second.incarnation.value) +
          " " + std::string(to_string(at->second.lane)) + ", " +
          (fate ? std::string(to_string(fate->fate)) + " at csn " + std::to_string(fate->csn.value)
                : "without a fate");
    }
    return out;
  }

  // What an office had when it wrote reaches the master before what it wrote, whichever lanes both
  // took: only a disk that forgot may name what the master does not know (SEMANTICS 32). Where the
  // master was restored and an office's disk was set back, the two together may have forgotten what
  // a third office had seen (SEMANTICS 22): then nobody can have it any more, and else none of it
  // is excused.
  void check_order() {
    bool forgotten = !master_.ingest->reconciling().past.empty() &&
                     (!rolled_back_.empty() || identity_.copied());
    std::map<RecordKey, MutationId> created;
    if (forgotten) created = creations();
    for (auto c = scan_prefix(master_.disk, Table::fates, {}); c->valid(); c->next()) {
      auto first = keys::parse_fate(c->key());
      auto row = decode_fate_row(*first, c->value());
      BL_CHECK(row);
      const ServerEntry* server = master_.ingest->directory().server(first->origin);
      if (!server || rolled_back_.count(server->name)) continue;
      auto branch = std::find_if(branches_.begin(), branches_.end(),
                                 [&](const auto& b) { return b->name == server->name; });
      for (const auto& o : row->entry.outcomes) {
        bool unknown = o.reason == Reason::unknown_record || o.reason == Reason::unknown_parent;
        if (!unknown) continue;
        auto named = named_by(**branch, *first, o);
        bool gone = std::any_of(named.begin(), named.end(),
                                [&](const RecordKey& key) { return is_gone(key, created); });
        if (forgotten && gone) ++world_.counts["seen: what two disks forgot"];
        // Where a copy of it wrote this, nothing here tells what it named.
        bool untold = named.empty() && identity_.copied(server->name);
        if (!forgotten || !(gone || untold)) {
          wrong("the " + std::string(to_string(first->lane)) + " lane of " + server->name +
                " overtook what it leans on: seq " + std::to_string(first->seq.value) + " of " +
                to_hex(first->incarnation.value) + ", decided at csn " +
                std::to_string(row->entry.csn.value) + (forgotten ? tell(named, created) : ""));
        }
      }
    }
  }

  void check_notes() {
    std::map<std::string, uint64_t> seen;
    for (auto c = scan_prefix(master_.disk, Table::elements, std::string(1, '\0')); c->valid();
         c->next()) {
      auto e = decode_element(c->value());
      if (e->value().type != ValueType::row) continue;
      for (const auto& f : decode_row(e->value().payload)) {
        if (f.field == annotation_field::kText) ++seen[std::string(f.value.payload)];
      }
    }
    for (const auto& in : workload_->intentions()) {
      if (in.kind != Intention::Kind::note) continue;
      uint64_t n = seen[in.note];
      bool told = !in.acknowledged.empty() && fate_of(in.acknowledged[0].id) &&
                  *fate_of(in.acknowledged[0].id) != Fate::rejected;
      if (n > 1) wrong("a note stands " + std::to_string(n) + " times");
      if (told && n != 1) wrong("an acknowledged note is missing");
    }
  }

  // Refused because of what master and another office forgot together, which came back too late or
  // never: a record, or its move to where this office works (SEMANTICS 22).
  bool leans_on_forgotten(const MutationId& id) const {
    bool forgotten = !master_.ingest->reconciling().past.empty() &&
                     (!rolled_back_.empty() || identity_.copied());
    auto entry = entry_of(id);
    return forgotten && entry &&
           std::any_of(entry->outcomes.begin(), entry->outcomes.end(), [](const auto& o) {
             return o.reason == Reason::unknown_record || o.reason == Reason::unknown_parent ||
                    o.reason == Reason::denied;
           });
  }

  void check_badges() {
    FieldId badges = next_schema()->entity(entity_id::kAccount)->field("badges")->id;
    std::set<std::string> there;
    for (auto c = scan_prefix(master_.disk, Table::elements, std::string(1, '\0')); c->valid();
         c->next()) {
      auto key = keys::parse_element(c->key());
      if (key->field == badges)
        there.insert(std::string(decode_element(c->value())->value().payload));
    }
    for (const auto& in : workload_->intentions()) {
      if (in.kind != Intention::Kind::badge || in.acknowledged.empty()) continue;
      auto fate = fate_of(in.acknowledged[0].id);
      if (!fate) continue;
      const auto& first = in.acknowledged[0];
      if (*fate == Fate::rejected && leans_on_forgotten(first.id)) {
        ++world_.counts["badges that lean on what two disks forgot (excused)"];
        continue;
      }
      if (*fate == Fate::rejected) {
        auto entry = entry_of(first.id);
        std::string why = entry->outcomes.empty()
                              ? "no reason"
                              : std::string(to_string(entry->outcomes.back().reason));
        return wrong("a badge of " + first.branch + " was rejected: " + why);
      }
      if (!there.count(in.note)) return wrong("an acknowledged badge is missing");
      ++world_.counts["checked: a badge"];
    }
  }

  void check_counters() {
    std::map<RecordKey, int64_t> expected;
    for (const auto& in : workload_->intentions()) {
      if (in.kind != Intention::Kind::add) continue;
      bool done =
          master_.disk.get(Table::keys, keys::operation_key(in.author, in.key))->has_value();
      if (done) expected[in.record] += in.amount;
      bool lost =
          !done && std::any_of(in.acknowledged.begin(), in.acknowledged.end(), [&](const auto& a) {
            return !excused(a) && fate_of(a.id) != Fate::rejected;
          });
      if (lost) wrong("an acknowledged addition was not done");
    }
    FieldId points = schema_->entity(entity_id::kAccount)->field("loyaltypoints")->id;
    for (const auto& key : workload_->counters()) {
      auto flat = master_.disk.get(Table::records, keys::record(0, key));
      if (!*flat) continue;  // its creation died with a rolled-back disk
      auto record = Record::decode(key, **flat);
      Value v = record->value(points);
      int64_t value = v.is_null() ? 0 : decode_integer(v.payload);
      if (value != expected[key]) {
        wrong("counter: " + std::to_string(value) + " where the operations sum up to " +
              std::to_string(expected[key]));
      }
    }
  }

  void check_canaries() {
    for (auto& b : branches_) {
      const auto& held = b->replica->state().territories;
      for (const auto& [name, t] : master_.ingest->directory().territories()) {
        if (std::find(held.begin(), held.end(), t) != held.end()) continue;
        std::string canary = "canary-" + std::to_string(t.value) + "-";
        for (size_t i = 0; i < kTableCount; ++i) {
          // What it did itself while it held the territory stays with its fate (SEMANTICS 24).
          if (i == size_t(Table::fates) && snapshots_->held_once(b->name, name)) continue;
          for (const auto& [key, value] : b->disk.tables()[i]) {
            bool kept = i == size_t(Table::outbox) && key[0] == char(keys::kKept) &&
                        snapshots_->held_once(b->name, name);
            if (kept && !MovesWorkload::has_effects(key, value)) continue;
            if (value.find(canary) != std::string::npos || key.find(canary) != std::string::npos) {
              return wrong(b->name + " holds a value of territory " + name);
            }
          }
        }
      }
    }
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
  struct Bag {
    std::vector<std::string> up, down;  // files under way
    std::vector<LineCursor> cursors;    // where the office stood when it wrote one
  };
  std::map<SimBranch*, Bag> bags_;
  std::map<SimBranch*, DiskCopy> copies_;
  std::set<std::string> flipped_;  // records with a byte that was changed, at some office
  std::map<SimBranch*, uint64_t> verified_before_;  // runs that were begun before the last fault
  std::map<std::string, std::vector<std::pair<int64_t, int64_t>>> rolled_back_;
  bool upgrades_ = false;
  std::string failure_;
  IdentityNemesis identity_{{world_, master_, branches_, schema_, topology_.digest(), options_.bug,
                             [this] { return broken(); },
                             [this](const char* name) { fault(name); }}};
};

}  // namespace

Outcome run_scenario(uint64_t seed, const ScenarioOptions& options) {
  Scenario scenario(seed, options);
  Outcome out = scenario.run();
  out.seed = seed;
  return out;
}

}  // namespace branchline::sim
