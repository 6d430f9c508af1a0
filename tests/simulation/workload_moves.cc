#include "tests/simulation/workload_moves.h"

#include <algorithm>

#include "common/base/check.h"

namespace branchline::sim {
namespace {

constexpr EntityId kOrder{4}, kOrderLine{5};

std::unexpected<Error> gone() { return fail(ErrorKind::not_found, "sim.gone", "not here"); }

bool live(Workspace& view, const RecordKey& key) {
  auto found = view.find(key);
  return found && found->record && found->record->live();
}

void put(Draft& d, RecordOp& op, FieldId field, CellOpKind kind, ValueType type,
         std::string_view payload) {
  op.cells.push_back({field, kind, {type, d.arena.copy(payload)}, {}});
}

std::string canary(uint64_t number) { return "mover<" + std::to_string(number) + ">"; }

}  // namespace

std::string MovesWorkload::text(uint64_t number) {
  return canary(number) + std::to_string(next_++);
}

const MovesWorkload::Known* MovesWorkload::one_of(const std::vector<Known>& list) {
  if (list.empty()) return nullptr;
  // Mostly recent ones, so that offices meet on the same records.
  size_t n = list.size(), recent = std::min<size_t>(n, 4);
  return &list[world_.chance(0.7) ? n - 1 - world_.random.below(recent) : world_.random.below(n)];
}

void MovesWorkload::step(const Directory& directory) {
  SimBranch& b = *branches_[world_.random.below(branches_.size())];
  if (!b.ready()) return;
  std::vector<TerritoryId> all;
  for (const auto& [name, t] : directory.territories()) all.push_back(t);
  uint64_t dice = world_.random.below(100);
  if (accounts_.size() < 3 || dice < 6) return create_account(b, all);
  if (dice < 24) return create_child(b);
  if (dice < 52) return edit(b);
  if (dice < 77) return move(b, all);
  if (dice < 83) return merge(b);
  if (dice < 93) return give_away(b);
  remove(b);
}

void MovesWorkload::create_account(SimBranch& b, const std::vector<TerritoryId>&) {
  auto held = b.replica->state().territories;
  RecordKey key{entity_id::kAccount, {}};
  uint64_t number = next_++;
  bool done = clients_.attempt_as(
      b, clients_.mover(), [&](Workspace&, RecordIdMaker& ids, int64_t now) -> Result<Draft> {
        Draft d;
        key.id = ids.make(now);
        RecordOp& op = d.ops.emplace_back();
        op.kind = RecordOpKind::create;
        op.record = key;
        op.territory = held[world_.random.below(held.size())];
        put(d, op, field(key.entity, "name"), CellOpKind::set, ValueType::text, text(number));
        return d;
      });
  if (done) accounts_.push_back({key, number});
}

void MovesWorkload::create_child(SimBranch& b) {
  const Known* a = one_of(accounts_);
  RecordKey parent = a->key;
  bool order = world_.chance(0.4);
  RecordKey key{order ? kOrder : entity_id::kContact, {}}, line{kOrderLine, {}};
  uint64_t number = next_++, line_number = next_++;
  bool done = clients_.attempt_as(
      b, clients_.mover(), [&](Workspace& view, RecordIdMaker& ids, int64_t now) -> Result<Draft> {
        if (!live(view, parent)) return gone();
        Draft d;
        key.id = ids.make(now);
        RecordOp op;
        op.kind = RecordOpKind::create;
        op.record = key;
        put(d, op, field(key.entity, order ? "name" : "lastname"), CellOpKind::set, ValueType::text,
            text(number));
        put(d, op, field(key.entity, order ? "customerid" : "parentcustomerid"), CellOpKind::set,
            ValueType::lookup, encode_lookup({parent.entity, parent.id}));
        d.ops.push_back(op);
        if (!order) return d;
        RecordOp below;
        below.kind = RecordOpKind::create;
        below.record = line = {kOrderLine, ids.make(now)};
        put(d, below, field(kOrderLine, "salesorderid"), CellOpKind::set, ValueType::lookup,
            encode_lookup({kOrder, key.id}));
        put(d, below, field(kOrderLine, "productdescription"), CellOpKind::set, ValueType::text,
            text(line_number));
        put(d, below, field(kOrderLine, "quantity"), CellOpKind::set, ValueType::decimal,
            encode_decimal(Decimal(2, 0)));
        put(d, below, field(kOrderLine, "priceperunit"), CellOpKind::set, ValueType::money,
            encode_money({Decimal(int64_t(world_.random.below(10000)), 2), {'U', 'S', 'D'}, 0}));
        d.ops.push_back(below);
        return d;
      });
  if (!done) return;
  children_.push_back({key, number});
  if (order) lines_.push_back({line, line_number});
}

void MovesWorkload::edit(SimBranch& b) {
  uint64_t dice = world_.random.below(10);
  const Known* k = one_of(dice < 5 ? accounts_ : dice < 8 ? children_ : lines_);
  if (!k) return;
  clients_.attempt_as(
      b, clients_.mover(), [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
        if (!live(view, k->key)) return gone();
        Draft d;
        RecordOp& op = d.ops.emplace_back();
        op.record = k->key;
        EntityId e = k->key.entity;
        if (e == entity_id::kAccount && world_.chance(0.5)) {
          std::string note = text(k->number);
          put(d, op, field(e, "annotations"), CellOpKind::append, ValueType::row,
              encode_row({{annotation_field::kText, {ValueType::text, note}}}));
        } else if (e == entity_id::kAccount && world_.chance(0.3)) {
          put(d, op, field(e, "tags"), CellOpKind::insert, ValueType::text, text(k->number));
        } else if (e == kOrderLine && world_.chance(0.5)) {
          put(d, op, field(e, "quantity"), CellOpKind::set, ValueType::decimal,
              encode_decimal(Decimal(int64_t(world_.random.below(9)), 0)));
        } else {
          const char* name = e == kOrderLine            ? "productdescription"
                             : e == entity_id::kContact ? "lastname"
                                                        : "name";
          put(d, op, field(e, name), CellOpKind::set, ValueType::text, text(k->number));
        }
        return d;
      });
}

void MovesWorkload::move(SimBranch& b, const std::vector<TerritoryId>& all) {
  const Known* a = one_of(accounts_);
  bool done = clients_.attempt_as(b, clients_.mover(),
                                  [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
                                    if (!live(view, a->key)) return gone();
                                    Draft d;
                                    RecordOp& op = d.ops.emplace_back();
                                    op.kind = RecordOpKind::move;
                                    op.record = a->key;
                                    op.territory = all[world_.random.below(all.size())];
                                    if (world_.chance(0.3))
                                      op.also_in.push_back(all[world_.random.below(all.size())]);
                                    if (world_.chance(0.3)) {
                                      put(d, op, field(a->key.entity, "name"), CellOpKind::set,
                                          ValueType::text, text(a->number));
                                    }
                                    return d;
                                  });
  if (done) ++world_.counts["moves"];
}

void MovesWorkload::give_away(SimBranch& b) {
  const Known* child = one_of(children_);
  const Known* to = one_of(accounts_);
  if (!child) return;
  bool done = clients_.attempt_as(
      b, clients_.mover(), [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
        if (!live(view, child->key) || !live(view, to->key)) return gone();
        Draft d;
        RecordOp& op = d.ops.emplace_back();
        op.record = child->key;
        bool order = child->key.entity == kOrder;
        put(d, op, field(child->key.entity, order ? "customerid" : "parentcustomerid"),
            CellOpKind::set, ValueType::lookup, encode_lookup({to->key.entity, to->key.id}));
        return d;
      });
  if (done) ++world_.counts["children given away"];
}

// Of whatever territories both are.
void MovesWorkload::merge(SimBranch& b) {
  const auto& list = world_.chance(0.7) ? accounts_ : children_;
  const Known *from = one_of(list), *into = one_of(list);
  if (!from || from == into || from->key.entity != into->key.entity) return;
  bool apart = false;
  bool done = clients_.attempt_as(
      b, clients_.mover(), [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
        if (!live(view, from->key) || !live(view, into->key)) return gone();
        const Record &one = *view.find(from->key)->record, &other = *view.find(into->key)->record;
        apart = one.territory() != other.territory() || one.also_in() != other.also_in();
        Draft d;
        RecordOp& op = d.ops.emplace_back();
        op.kind = RecordOpKind::merge;
        op.record = from->key;
        op.target = into->key.id;
        return d;
      });
  if (done && apart) ++world_.counts["merges across territories"];
}

// People tidy up from below: what belongs to a record goes first, by a change of its own.
void MovesWorkload::remove(SimBranch& b) {
  const auto& list = world_.chance(0.3) ? accounts_ : world_.chance(0.5) ? children_ : lines_;
  const Known* k = one_of(list);
  if (!k) return;
  std::optional<RecordKey> above;
  remove(b, k->key, &above);
  if (above && world_.chance(0.7)) remove(b, *above, nullptr);
}

void MovesWorkload::remove(SimBranch& b, const RecordKey& key, std::optional<RecordKey>* above) {
  clients_.attempt_as(b, clients_.mover(),
                      [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
                        if (!live(view, key)) return gone();
                        Record* record = view.find(key)->record;
                        for (FieldId parent : schema_->entity(key.entity)->parents) {
                          Value lookup = record->value(parent);
                          if (lookup.is_null() || !above) continue;
                          Lookup l = decode_lookup(lookup.payload);
                          *above = RecordKey{l.entity, l.id};
                        }
                        Draft d;
                        RecordOp& op = d.ops.emplace_back();
                        op.kind = RecordOpKind::remove;
                        op.record = key;
                        return d;
                      });
}

bool MovesWorkload::has_effects(std::string_view key, std::string_view value) {
  auto kept = decode_kept_block(keys::parse_outbox(key).value(), value);
  BL_CHECK(kept);
  return std::any_of(kept->block.entries.begin(), kept->block.entries.end(), [](const auto& e) {
    return e.undo.size() > 1 || !e.original.empty() || !e.sums.sums.empty() ||
           !e.sums.counts.empty();
  });
}

std::string MovesWorkload::check(SimMaster& master) const {
  for (const auto* list : {&accounts_, &children_, &lines_}) {
    for (const auto& k : *list) {
      auto flat = master.disk.get(Table::records, keys::record(0, k.key));
      if (!flat || !*flat) continue;  // it was never committed
      auto record = Record::decode(k.key, **flat);
      if (!record) return record.error().message;
      // A child, deleted or not, is where its parent is; an id that leads to a survivor where that
      // is.
      bool redirect = record->state() == RecordState::redirect;
      RecordKey survivor{k.key.entity, record->target()};
      std::optional<RecordKey> parent =
          redirect ? survivor : parent_of(*record, *schema_->entity(k.key.entity));
      if (parent) {
        auto above = master.disk.get(Table::records, keys::record(0, *parent));
        if (above && *above) {
          auto p = Record::decode(*parent, **above);
          if (p->territory() != record->territory() || p->also_in() != record->also_in())
            return "a child is in other territories than its parent";
        }
      }
      for (SimBranch* b : branches_) {
        const auto& held = b->replica->state().territories;
        bool here = std::any_of(held.begin(), held.end(),
                                [&](TerritoryId t) { return record->in_territory(t); });
        if (here) continue;
        const auto& tables = b->disk.tables();
        for (size_t t = 0; t < tables.size(); ++t) {
          if (static_cast<Table>(t) == Table::fates) continue;  // its own work, with its fate
          for (const auto& [key, value] : tables[t]) {
            // Its own mutations stay until the restore window ends, without what they met here.
            bool kept = static_cast<Table>(t) == Table::outbox && key[0] == char(keys::kKept);
            if (kept && !has_effects(key, value)) continue;
            if (value.find(canary(k.number)) != std::string::npos)
              return b->name + " holds a value of a record that moved away";
          }
        }
        ++world_.counts["checked: a record that is elsewhere"];
      }
    }
  }
  return {};
}

}  // namespace branchline::sim
