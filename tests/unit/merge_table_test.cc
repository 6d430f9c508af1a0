// SEMANTICS 13: the table of operation kind x policy is total, and is the one that docs/merging.md
// shows.
#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "replication/merge/policy.h"
#include "tests/support/merge_bench.h"

namespace branchline {
namespace {

// Switches without default: a new enumerator does not compile until it is named here, and then
// fails the tests until it has its row or column.
const char* name(CellOpKind kind) {
  switch (kind) {
    case CellOpKind::set:
      return "set";
    case CellOpKind::add:
      return "add";
    case CellOpKind::insert:
      return "insert";
    case CellOpKind::remove:
      return "remove";
    case CellOpKind::append:
      return "append";
    case CellOpKind::correct:
      return "correct";
    case CellOpKind::spend:
      return "spend";
    case CellOpKind::grant:
      return "grant";
    case CellOpKind::give_back:
      return "give_back";
    case CellOpKind::put:
      return "put";
    case CellOpKind::put_element:
      return "put_element";
    case CellOpKind::remove_element:
      return "remove_element";
  }
  return nullptr;
}
const char* name(RecordOpKind kind) {
  switch (kind) {
    case RecordOpKind::create:
      return "create";
    case RecordOpKind::update:
      return "update";
    case RecordOpKind::remove:
      return "remove";
    case RecordOpKind::merge:
      return "merge";
    case RecordOpKind::put_new:
      return "put_new";
    case RecordOpKind::put_cells:
      return "put_cells";
    case RecordOpKind::tombstone:
      return "tombstone";
    case RecordOpKind::revive:
      return "revive";
    case RecordOpKind::redirect:
      return "redirect";
    case RecordOpKind::move:
      return "move";
    case RecordOpKind::relocate:
      return "relocate";
    case RecordOpKind::arrive:
      return "arrive";
  }
  return nullptr;
}
const char* name(Policy policy) {
  switch (policy) {
    case Policy::latest:
      return "latest";
    case Policy::sum:
      return "sum";
    case Policy::set:
      return "set";
    case Policy::append:
      return "append";
    case Policy::max:
      return "max";
    case Policy::min:
      return "min";
    case Policy::first:
      return "first";
    case Policy::ask:
      return "ask";
    case Policy::escrow:
      return "escrow";
  }
  return nullptr;
}
const char* name(Rule rule) {
  switch (rule) {
    case Rule::latest_wins:
      return "latest_wins";
    case Rule::add:
      return "add";
    case Rule::raise:
      return "raise";
    case Rule::lower:
      return "lower";
    case Rule::insert_element:
      return "insert_element";
    case Rule::remove_element:
      return "remove_element";
    case Rule::first_stands:
      return "first_stands";
    case Rule::ask_people:
      return "ask_people";
    case Rule::spend:
      return "spend";
    case Rule::grant:
      return "grant";
    case Rule::give_back:
      return "give_back";
    case Rule::set_stock:
      return "set_stock";
    case Rule::refuse:
      return "refuse";
  }
  return nullptr;
}

template <typename Enum>
std::vector<Enum> all_of() {
  std::vector<Enum> out;
  for (int v = 0; v < 256; ++v) {
    if (name(static_cast<Enum>(v))) out.push_back(static_cast<Enum>(v));
  }
  return out;
}

using Rows = std::map<std::pair<std::string, std::string>, std::string>;

// The tables of operations in the document, by (row, column).
Rows read_document() {
  std::ifstream in(std::string(BRANCHLINE_SOURCE_DIR) + "/docs/merging.md");
  REQUIRE(in);
  Rows table;
  std::vector<std::string> header;
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("|")) {
      header.clear();
      continue;
    }
    std::istringstream cells(line.substr(1));
    std::vector<std::string> row;
    for (std::string c; std::getline(cells, c, '|');) {
      auto w = story::words(c);
      row.push_back(w.empty() ? "" : w.back());
    }
    if (header.empty()) {
      header = row;
    } else if (header[0] == "operation" && !row[0].starts_with("---")) {
      for (size_t i = 1; i < row.size(); ++i) table[{row[0], header[i]}] = row[i];
    }
  }
  return table;
}

struct Subject {
  std::string record;
  FieldId field;
};

// A field of each policy, on a record that lives.
std::map<Policy, Subject> subjects(MergeBench& bench) {
  std::map<Policy, Subject> out;
  for (const char* entity : {"account", "incident", "product"}) {
    for (const auto& f : bench.schema->entity(entity)->fields) {
      bool plain = f.group == 0 && f.derived.kind == Derived::Kind::none &&
                   (f.type != ValueType::lookup || f.policy == Policy::first);
      if (plain) out.try_emplace(f.policy, Subject{entity, f.id});
    }
  }
  return out;
}

// A value that fits the field, as an element or as itself.
Value fitting(const Field& field, Arena& arena) {
  switch (field.type) {
    case ValueType::integer:
    case ValueType::option:
    case ValueType::instant:
      return {field.type, arena.copy(encode_integer(7))};
    case ValueType::decimal:
      return {field.type, arena.copy(encode_decimal(Decimal(7, 0)))};
    case ValueType::money:
      return {field.type, arena.copy(encode_money({Decimal(7, 0), {'U', 'S', 'D'}, 0}))};
    case ValueType::lookup:
      return {
          field.type,
          arena.copy(encode_lookup({field.targets[0], RecordId::from_bytes("0123456789abcdef")}))};
    case ValueType::row:
      return {field.type,
              arena.copy(encode_row({{annotation_field::kText, {ValueType::text, "x"}}}))};
    default:
      return {field.type, "seven"};
  }
}

Mutation mutation_by(MergeBench::Author& by) {
  Mutation m;
  m.order = Order(++by.order);
  m.id = {by.origin, by.incarnation, Lane::interactive, Seq(by.order)};
  m.hlc = Hlc::at_ms(by.clock_ms++);
  return m;
}

}  // namespace

TEST_CASE(
    "SEMANTICS 13: every operation kind x policy has its cell in docs/merging.md, and the code "
    "says the same",
    "[merge]") {
  Rows table = read_document();
  auto kinds = all_of<CellOpKind>();
  auto policies = all_of<Policy>();
  REQUIRE(kinds.size() == 12);
  REQUIRE(policies.size() == 9);
  for (CellOpKind kind : kinds) {
    for (Policy policy : policies) {
      INFO(name(kind) << " x " << name(policy));
      auto cell = table.find({name(kind), name(policy)});
      REQUIRE(cell != table.end());
      CHECK(cell->second == name(rule_of(kind, policy)));
    }
  }
  // The document says nothing of what does not exist.
  std::set<std::string> known{"a", "record"};
  for (auto k : kinds) known.insert(name(k));
  for (auto k : all_of<RecordOpKind>()) known.insert(name(k));
  for (const auto& [where, rule] : table) {
    INFO(where.first << " x " << where.second << ": " << rule);
    CHECK(known.count(where.first) == 1);
  }
}

TEST_CASE("SEMANTICS 13: each pair is decided, or refused by name, by the merge itself",
          "[merge]") {
  MergeBench bench;
  auto a = bench.author(5);
  REQUIRE(bench.run(a, "create account account @common name=A") == "applied");
  REQUIRE(bench.run(a, "create incident incident customerid=account title=T") == "applied");
  // As the master, who alone may grant; each kind of holder finds enough.
  auto master = bench.author(kMasterOrigin.value);
  REQUIRE(bench.run(master, "create product product name=P quantityonhand+=90") == "applied");
  REQUIRE(bench.run(master, "update product quantityonhand>5=20") == "applied");
  auto fields = subjects(bench);
  for (Policy policy : all_of<Policy>()) {
    REQUIRE(fields.count(policy) == 1);
    const Subject& subject = fields[policy];
    RecordKey key = bench.names.key(subject.record);
    const Field& field = *bench.schema->entity(key.entity)->field(subject.field);
    for (CellOpKind kind : all_of<CellOpKind>()) {
      INFO(name(kind) << " x " << name(policy));
      Mutation m = mutation_by(policy == Policy::escrow ? master : a);
      RecordOp& op = m.ops.emplace_back();
      op.record = key;
      bool removes = kind == CellOpKind::remove || kind == CellOpKind::remove_element;
      op.cells.push_back({field.id, kind, removes ? Value{} : fitting(field, bench.arena), {}});
      if (kind == CellOpKind::grant || kind == CellOpKind::give_back)
        op.cells[0].key.mutation = {a.origin, a.incarnation, Lane::interactive, Seq(0)};
      auto decided = bench.merger.run(m, bench.head.next());
      REQUIRE(decided);
      bool refused = rule_of(kind, policy) == Rule::refuse;
      CHECK((decided->fate == Fate::rejected) == refused);
      if (refused) {
        REQUIRE(decided->outcomes.size() == 1);
        CHECK(decided->outcomes[0].reason == Reason::malformed);
      }
    }
  }
}

TEST_CASE("SEMANTICS 13: each kind of record operation is decided, or refused by name", "[merge]") {
  Rows table = read_document();
  for (RecordOpKind kind : all_of<RecordOpKind>()) {
    INFO(name(kind));
    MergeBench bench;
    auto a = bench.author(5);
    REQUIRE(bench.run(a, "create account a @common name=A") == "applied");
    REQUIRE(bench.run(a, "create account b @common name=B") == "applied");
    auto cell = table.find({name(kind), "record"});
    REQUIRE(cell != table.end());
    Mutation m = mutation_by(a);
    RecordOp& op = m.ops.emplace_back();
    op.kind = kind;
    op.record = bench.names.key("a");
    op.territory = TerritoryId(2);
    if (kind == RecordOpKind::merge) op.target = bench.names.key("b").id;
    auto decided = bench.merger.run(m, bench.head.next());
    REQUIRE(decided);
    if (cell->second == "decided") {
      CHECK(decided->fate != Fate::rejected);
    } else {
      CHECK(decided->fate == Fate::rejected);
      CHECK(to_string(decided->outcomes.at(0).reason) == cell->second);
    }
    CHECK(is_operation(kind) == (static_cast<int>(kind) < 16));
    CHECK(is_effect(kind) == (static_cast<int>(kind) >= 16));
  }
}

TEST_CASE("Every reason has a name and a sentence of its own, and an unknown one says nothing",
          "[merge]") {
  std::set<std::string_view> names;
  for (int r = 0; r <= static_cast<int>(Reason::from_reserve); ++r) {
    CHECK(names.insert(to_string(static_cast<Reason>(r))).second);
    if (r > 0) CHECK_FALSE(explain(static_cast<Reason>(r)).empty());
  }
  for (int r = static_cast<int>(Reason::redirected); r <= static_cast<int>(Reason::open_conflict);
       ++r) {
    CHECK(names.insert(to_string(static_cast<Reason>(r))).second);
    CHECK_FALSE(explain(static_cast<Reason>(r)).empty());
  }
  for (Reason r : {Reason::move_too_large, Reason::has_parent}) {
    CHECK(names.insert(to_string(r)).second);
    CHECK_FALSE(explain(r).empty());
  }
  CHECK(explain(static_cast<Reason>(200)).empty());
  for (int f = 1; f <= 4; ++f) CHECK(to_string(static_cast<Fate>(f)) != "unknown");
  CHECK(to_string(static_cast<Fate>(9)) == "unknown");
}

}  // namespace branchline
