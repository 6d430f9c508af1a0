// DESIGN 3, "Merging duplicates converges": any order of merge, edit, delete and child moves from
// any offices ends in one survivor with all children. Offices and master as they are; beside them a
// model of a few lines that knows nothing of redirects: which ids were made one, what was written,
// what was deleted in knowledge of what.
#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <set>

#include "common/base/probe.h"
#include "tests/support/small_world.h"

namespace branchline {
namespace {

constexpr int kAccounts = 5;
constexpr int kContacts = 4;

struct Written {
  enum class Kind { merge, note, points, remove, child, edit } kind = Kind::edit;
  MutationId id;
  Csn base;
  std::string record, other;  // merge: into other; child: to other
  std::string note;
  int64_t points = 0;
  Csn csn;
  Fate fate = Fate::applied;
};

// Who is one with whom.
class Classes {
 public:
  std::string of(const std::string& name) {
    std::string& up = up_.try_emplace(name, name).first->second;
    return up == name ? name : up = of(std::string(up));
  }
  void join(const std::string& a, const std::string& b) { up_[of(a)] = of(b); }

 private:
  std::map<std::string, std::string> up_;
};

struct Company : SmallWorld {
  std::vector<Written> log;
  std::vector<std::string> accounts, contacts;
  SeededRandom dice;
  int next_note = 0;

  explicit Company(uint64_t seed) : dice(seed) {
    SmallOffice& hq = (*this)["hq"];
    for (int i = 0; i < kAccounts; ++i) {
      accounts.push_back("a" + std::to_string(i));
      must_write(hq, "create account " + accounts.back() + " @common name=" + accounts.back());
    }
    for (int i = 0; i < kContacts; ++i) {
      contacts.push_back("c" + std::to_string(i));
      must_write(hq, "create contact " + contacts.back() +
                         " lastname=L parentcustomerid=" + accounts[size_t(i) % accounts.size()]);
      note(Written::Kind::child, hq, contacts.back(), accounts[size_t(i) % accounts.size()]);
    }
    settle();
  }
  void must_write(SmallOffice& o, const std::string& ops) {
    std::string answer = o.write(ops);
    if (answer != "ok") throw std::runtime_error(ops + ": " + answer);
  }
  SmallOffice& any_office() {
    static const char* const kNames[] = {"hq", "east", "west"};
    return (*this)[kNames[dice.below(3)]];
  }
  Written& note(Written::Kind kind, SmallOffice& o, const std::string& record,
                const std::string& other = {}) {
    Written& w = log.emplace_back();
    w.kind = kind;
    w.id = o.last.id;
    w.base = o.replica->state().cursor.csn;
    w.record = record;
    w.other = other;
    return w;
  }
  static bool live(SmallOffice& o, const std::string& name) {
    return o.show(name).starts_with("live:");
  }
  const std::string& any(const std::vector<std::string>& list) {
    return list[dice.below(list.size())];
  }

  void step() {
    SmallOffice& o = any_office();
    o.clock.ms += int64_t(dice.below(50));
    uint64_t what = dice.below(100);
    std::string a = any(accounts), b = any(accounts), c = any(contacts), d = any(contacts);
    bool has_a = live(o, a), has_b = live(o, b), has_c = live(o, c), has_d = live(o, d);
    auto wrote = [&](const std::string& ops) {
      return o.write(ops) == "ok" && !o.last.id.is_none();
    };
    if (what < 20) {
      if (a == b || !has_a || !has_b) return;
      if (wrote("merge " + a + " " + b)) note(Written::Kind::merge, o, a, b);
    } else if (what < 28) {
      if (c == d || !has_c || !has_d) return;
      if (wrote("merge " + c + " " + d)) note(Written::Kind::merge, o, c, d);
    } else if (what < 38) {
      const std::string& at = what % 2 ? a : c;
      if (!(what % 2 ? has_a : has_c)) return;
      std::string text = "n" + std::to_string(next_note++);
      if (wrote("update " + at + " annotations+=" + text))
        note(Written::Kind::note, o, at).note = text;
    } else if (what < 48) {
      int64_t n = int64_t(dice.below(9)) + 1;
      if (has_a && wrote("update " + a + " loyaltypoints+=" + std::to_string(n)))
        note(Written::Kind::points, o, a).points = n;
    } else if (what < 56) {
      const std::string& at = what % 2 ? a : c;
      if (!(what % 2 ? has_a : has_c)) return;
      if (wrote("delete " + at)) note(Written::Kind::remove, o, at);
    } else if (what < 64) {
      if (contacts.size() > 12 || !has_a) return;
      std::string name = "c" + std::to_string(contacts.size());
      if (wrote("create contact " + name + " lastname=N parentcustomerid=" + a)) {
        contacts.push_back(name);
        note(Written::Kind::child, o, name, a);
      }
    } else if (what < 72) {
      if (has_c && has_a && wrote("update " + c + " parentcustomerid=" + a))
        note(Written::Kind::child, o, c, a);
    } else if (what < 78) {
      if (has_a && has_b && wrote("update " + a + " parentaccountid=" + b))
        note(Written::Kind::edit, o, a);
    } else if (what < 84) {
      std::string text = std::to_string(next_note++);
      if (has_a && wrote("update " + a + " name=N" + text + " telephone1=" + text))
        note(Written::Kind::edit, o, a);
    } else if (what < 92) {
      o.ship(1 + dice.below(3));
    } else {
      o.fetch(1 + dice.below(2) * 300'000);
    }
  }

  void decide() {
    for (int i = 0; i < 3; ++i) any_office().ship(2);
    settle();
    settle();
    for (Written& w : log) {
      auto rows = scan_prefix(master.store, Table::fates, keys::fate_prefix(stream_of(w.id)));
      for (; rows->valid(); rows->next()) {
        auto first = keys::parse_fate(rows->key());
        auto row = decode_fate_row(*first, rows->value());
        uint64_t behind = w.id.seq.value - first->seq.value;
        if (w.id.seq < first->seq || behind >= row->entry.count) continue;
        w.csn = Csn(row->entry.csn.value + behind);
        w.fate = row->entry.fate;
      }
    }
    std::sort(log.begin(), log.end(), [](const auto& x, const auto& y) { return x.csn < y.csn; });
  }

  static bool seen(const Written& what, const Written& by) {
    bool same = stream_of(what.id) == stream_of(by.id) && what.id.seq < by.id.seq;
    return same || what.csn <= by.base;
  }
  const Record* row(const std::string& name) {
    auto found = master.ingest ? master_ws().find(names.key(name)) : Result<Workspace::Found>{};
    return found->record;
  }
  Workspace& master_ws() {
    if (!ws_) {
      Workspace::Config config;
      config.scope = IndexScope::authority;
      ws_ = std::make_unique<Workspace>(master.store, schema, config);
    }
    return *ws_;
  }
  std::string survivor(const std::string& name) {
    auto found = master_ws().resolve(names.key(name));
    return names.name_of(found->record->key());
  }

  void check() {
    CHECK(audit() == std::vector<std::string>{});
    Classes classes;
    for (const Written& w : log) {
      if (w.kind == Written::Kind::merge) {
        INFO("merge " << w.record << " " << w.other);
        CHECK(w.fate != Fate::rejected);
        classes.join(w.record, w.other);
      }
    }
    std::vector<std::string> all = accounts;
    all.insert(all.end(), contacts.begin(), contacts.end());
    // One record per class, and every id of it leads there.
    std::map<std::string, std::set<std::string>> stands;
    for (const auto& name : all) {
      REQUIRE(row(name));
      if (row(name)->state() != RecordState::redirect) stands[classes.of(name)].insert(name);
    }
    for (const auto& name : all) {
      INFO(name << ": " << master.show(name));
      REQUIRE(stands[classes.of(name)].size() == 1);
      CHECK(survivor(name) == *stands[classes.of(name)].begin());
    }
    check_contents(classes);
    check_deletes(classes, all);
    check_children(classes);
    check_hierarchy();
  }

  void check_contents(Classes& classes) {
    std::map<std::string, int64_t> points;
    std::map<std::string, std::set<std::string>> notes;
    for (const Written& w : log) {
      if (w.fate >= Fate::overridden) continue;
      if (w.kind == Written::Kind::points) points[classes.of(w.record)] += w.points;
      if (w.kind == Written::Kind::note) notes[classes.of(w.record)].insert(w.note);
    }
    FieldId field = schema->entity("account")->field("loyaltypoints")->id;
    for (const auto& name : accounts) {
      INFO(name << ": " << master.show(name));
      const Record* record = row(survivor(name));
      Value v = record->value(field);
      CHECK((v.is_null() ? 0 : decode_integer(v.payload)) == points[classes.of(name)]);
    }
    for (const auto& [of, texts] : notes) {
      std::string at = survivor(of);
      auto elements = master_ws().elements(
          names.key(at), schema->entity(names.key(at).entity)->field("annotations")->id);
      CHECK(elements->size() == texts.size());
      std::string shown = master_ws_show(at);
      for (const auto& t : texts) {
        INFO("note " << t << " of " << of << " in " << shown);
        bool found =
            shown.find("{" + t) != std::string::npos || shown.find("," + t) != std::string::npos;
        CHECK(found);
      }
    }
  }
  std::string master_ws_show(const std::string& name) { return names.show(master_ws(), name); }

  // Who is deleted was deleted in knowledge of every merge into it that was decided before, and
  // none was decided after.
  void check_deletes(Classes& classes, const std::vector<std::string>& all) {
    for (const auto& name : all) {
      if (row(name)->state() != RecordState::tombstone) continue;
      INFO(name << ": " << master.show(name));
      const Written* deletion = nullptr;
      for (const Written& w : log) {
        if (w.id == row(name)->state_version().id) deletion = &w;
      }
      REQUIRE(deletion);
      CHECK(deletion->kind == Written::Kind::remove);
      for (const Written& w : log) {
        if (w.kind != Written::Kind::merge || w.fate == Fate::rejected) continue;
        if (classes.of(w.record) != classes.of(name)) continue;
        CHECK(w.csn < deletion->csn);
        bool known = seen(w, *deletion) || did_nothing(w);
        CHECK(known);
      }
    }
  }
  // A merge of what was one already is nothing that a delete could overlook.
  bool did_nothing(const Written& merge) {
    Classes before;
    for (const Written& w : log) {
      if (w.csn >= merge.csn) break;
      if (w.kind == Written::Kind::merge) before.join(w.record, w.other);
    }
    return before.of(merge.record) == before.of(merge.other);
  }

  // A live contact is under a record that lives, in the class where a decided move put it.
  void check_children(Classes& classes) {
    FieldId parent = schema->entity("contact")->field("parentcustomerid")->id;
    for (const auto& name : contacts) {
      if (!row(name)->live()) continue;
      INFO(name << ": " << master.show(name));
      Lookup l = decode_lookup(row(name)->value(parent).payload);
      std::string under = names.name_of({l.entity, l.id});
      REQUIRE(row(under));
      CHECK(row(under)->live());
      std::set<std::string> possible;
      for (const Written& w : log) {
        bool mine = w.kind == Written::Kind::child && classes.of(w.record) == classes.of(name);
        if (mine && w.fate != Fate::rejected) possible.insert(classes.of(w.other));
      }
      CHECK(possible.count(classes.of(under)) == 1);
    }
  }

  void check_hierarchy() {
    FieldId parent = schema->entity("account")->field("parentaccountid")->id;
    for (const auto& name : accounts) {
      std::string at = survivor(name);
      std::set<std::string> known;
      while (row(at) && !row(at)->value(parent).is_null()) {
        INFO(name << " by way of " << at);
        REQUIRE(known.insert(at).second);
        Lookup l = decode_lookup(row(at)->value(parent).payload);
        at = survivor(names.name_of({l.entity, l.id}));
      }
    }
  }

 private:
  std::unique_ptr<Workspace> ws_;
};

}  // namespace

TEST_CASE("Random merges, edits, deletes and child moves from three offices end in one survivor",
          "[merge][office]") {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    Company w(seed);
    for (int i = 0; i < 60; ++i) w.step();
    w.decide();
    w.check();
  }
  for (const char* rare : {"apply.later_undone", "merge.ends_are_one", "merge.survivor_stays",
                           "merge.delete_unseen_merge", "merge.revived_by_merge"}) {
    INFO(rare);
    CHECK(Probe::counts()[rare] > 0);
  }
}

TEST_CASE("Three offices' concurrent changes, in every order at the master, leave one survivor",
          "[merge][office]") {
  const std::vector<std::vector<std::string>> stories = {
      {"merge a1 a0", "merge a0 a1", "update a1 annotations+=n"},
      {"merge a1 a0", "merge a0 a1", "delete a1"},
      {"merge a1 a0", "merge a0 a1", "delete a0"},
      {"merge a1 a0", "merge a2 a1", "merge a0 a2"},
      {"merge a1 a0", "merge a1 a2", "delete a1"},
      {"merge a1 a0", "delete a0", "create contact x parentcustomerid=a1 lastname=X"},
      {"merge a1 a0", "delete a1", "update c1 parentcustomerid=a2"},
      {"merge a1 a0", "update c0 parentcustomerid=a1", "update a0 parentaccountid=a1"},
      {"merge c1 c0", "merge a1 a0", "delete a1"},
      {"merge c1 c0", "delete a0", "update c1 annotations+=n"},
  };
  const char* offices[] = {"hq", "east", "west"};
  for (const auto& story : stories) {
    std::vector<int> order{0, 1, 2};
    do {
      Company w(1);
      std::string told;
      for (size_t i = 0; i < 3; ++i) {
        SmallOffice& o = w[offices[i]];
        w.must_write(o, story[i]);
        auto words = story::words(story[i]);
        if (words[0] == "merge") w.note(Written::Kind::merge, o, words[1], words[2]);
        if (words[0] == "delete") w.note(Written::Kind::remove, o, words[1]);
        if (words[0] == "create") {
          w.contacts.push_back(words[2]);
          w.note(Written::Kind::child, o, words[2], "a1");
        }
        size_t note = story[i].find("annotations+=");
        if (note != std::string::npos)
          w.note(Written::Kind::note, o, words[1]).note = story[i].substr(note + 13);
        size_t parent = story[i].find("parentcustomerid=");
        if (words[0] == "update" && parent != std::string::npos)
          w.note(Written::Kind::child, o, words[1], story[i].substr(parent + 17));
      }
      for (int i : order) {
        told += (told.empty() ? "" : " | ") + story[size_t(i)];
        w[offices[size_t(i)]].ship();
        for (const char* o : offices) w[o].fetch();
      }
      INFO(told);
      w.decide();
      w.check();
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

TEST_CASE("A merge that was forecast and is decided otherwise is undone, with all it had led away",
          "[merge][office]") {
  Company w(1);
  SmallOffice &east = w["east"], &west = w["west"];
  REQUIRE(west.write("update a0 loyaltypoints+=9223372036854775807") == "ok");
  REQUIRE(east.write("merge a1 a0 name=Both") == "ok");
  CHECK(east.show("a1") == "redirect: a0");
  REQUIRE(east.write("update c1 parentcustomerid=a0 lastname=Led") == "ok");
  SECTION("the same merge the other way round comes first") {
    REQUIRE(west.write("merge a0 a1") == "ok");
    west.ship();
    east.fetch();
    CHECK(east.show("a0") == "redirect: a1");
    CHECK(east.show("a1").starts_with("live:"));
    CHECK(east.show("c1").find("parentcustomerid=a1") != std::string::npos);
    w.settle();
    CHECK(east.show("a0") == "redirect: a1");
  }
  SECTION("a note and a child of the merged record come first") {
    REQUIRE(west.write("update a1 annotations+=late") == "ok");
    REQUIRE(west.write("create contact x parentcustomerid=a1 lastname=X") == "ok");
    west.ship();
    east.fetch();
    CHECK(east.show("a0").find("annotations={late}") != std::string::npos);
    CHECK(east.show("x").find("parentcustomerid=a0") != std::string::npos);
    w.settle();
    CHECK(east.show("x").find("parentcustomerid=a0") != std::string::npos);
  }
  SECTION("pending work below what was merged elsewhere follows at once") {
    REQUIRE(east.write("create contact y parentcustomerid=a2 lastname=Y") == "ok");
    REQUIRE(west.write("merge a2 a3") == "ok");
    west.ship();
    east.fetch();
    CHECK(east.show("y").find("parentcustomerid=a3") != std::string::npos);
    w.settle();
  }
  w.settle();
  CHECK(w.audit() == std::vector<std::string>{});
}

TEST_CASE("SEMANTICS 17, 25: redirects travel with a snapshot, and pending work finds the survivor",
          "[merge][office]") {
  Company w(1);
  SmallOffice &east = w["east"], &west = w["west"];
  REQUIRE(east.write("update a1 annotations+=one telephone2=7") == "ok");
  REQUIRE(east.write("create contact x parentcustomerid=a1 lastname=X") == "ok");
  REQUIRE(west.write("merge a1 a0") == "ok");
  west.ship();
  east.take_snapshot();
  CHECK(east.show("a1") == "redirect: a0");
  CHECK(east.show("a0").find("annotations={one}") != std::string::npos);
  CHECK(east.show("x").find("parentcustomerid=a0") != std::string::npos);
  w.settle();
  CHECK(west.show("a0").find("telephone2=7") != std::string::npos);
  CHECK(w.audit() == std::vector<std::string>{});
}

}  // namespace branchline
