#include "tests/simulation/workload_policies.h"

#include <algorithm>

#include "common/base/check.h"
#include "replication/merge/companions.h"

namespace branchline::sim {
namespace {

constexpr EntityId kProduct{3};

class Drafted : public Command {
 public:
  explicit Drafted(std::function<Result<Draft>(Workspace&)> what) : what_(std::move(what)) {}
  Result<Draft> prepare(Workspace& view, RecordIdMaker&, int64_t) override { return what_(view); }

 private:
  std::function<Result<Draft>(Workspace&)> what_;
};

Decimal number(const Value& v) {
  return v.type == ValueType::decimal ? decode_decimal(v.payload) : Decimal();
}

}  // namespace

PolicyWorkload::PolicyWorkload(World& world, std::shared_ptr<const Schema> schema)
    : world_(world), schema_(std::move(schema)) {}

void PolicyWorkload::set_up(SimMaster& master, const std::vector<SimBranch*>& branches) {
  RecordIdMaker ids(world_.random);
  std::vector<std::unique_ptr<std::string>> payloads;
  auto cell = [&](RecordOp& op, const char* name, CellOpKind kind, std::string payload) {
    const Field& f = field(op.record.entity, name);
    payloads.push_back(std::make_unique<std::string>(std::move(payload)));
    op.cells.push_back({f.id, kind, {f.type, *payloads.back()}, {}});
  };
  auto create = [&](EntityId entity) {
    RecordOp op;
    op.kind = RecordOpKind::create;
    op.record = {entity, ids.make(master.clock.wall_ms())};
    return op;
  };
  for (RecordId* user : {&user_, &other_user_}) {
    RecordOp op = create(entity_id::kUser);
    *user = op.record.id;
    cell(op, "fullname", CellOpKind::set, "Simulated Seller");
    cell(op, "isadministrator", CellOpKind::set, encode_boolean(true));
    master.commit({op}, "");
  }
  for (SimBranch* b : branches) {
    RecordOp token = create(entity_id::kApiToken);
    tokens_[b->name] = token.record.id;
    // Of all territories: what an office may write changes with its subscription.
    std::tie(token.territory, token.also_in) = master.all_territories();
    cell(token, "tokenhash", CellOpKind::set, token_hash("seller " + b->name));
    cell(token, "systemuserid", CellOpKind::set, encode_lookup({entity_id::kUser, user_}));
    cell(token, "access", CellOpKind::set, encode_integer(2));
    master.commit({token}, "");
  }
  for (int i = 0; i < 4; ++i) {
    RecordOp op = create(kProduct);
    products_.push_back(op.record);
    initial_[op.record] = world_.between(3, 400);
    cell(op, "name", CellOpKind::set, "Product");
    cell(op, "quantityonhand", CellOpKind::add, encode_decimal(Decimal(initial_[op.record], 0)));
    master.commit({op}, "");
  }
  for (const auto& [name, territory] : master.ingest->directory().territories()) {
    for (int i = 0; i < 2; ++i) {
      RecordOp op = create(entity_id::kAccount);
      op.territory = territory;
      accounts_.emplace_back(op.record, territory);
      cell(op, "name", CellOpKind::set, "canary-" + std::to_string(territory.value) + "-policies");
      master.commit({op}, "");
    }
  }
}

void PolicyWorkload::step(SimBranch& b) {
  if (!b.ready()) return;
  uint64_t dice = world_.random.below(10);
  if (dice < 6) return spend(b);
  if (dice < 9) return set_limit(b);
  set_owner(b);
}

void PolicyWorkload::write(SimBranch& b, Written w, CellOp op, std::string payload, bool atomic) {
  w.branch = b.name;
  w.key = "policies-" + std::to_string(next_key_++);
  Drafted command([&](Workspace& view) -> Result<Draft> {
    auto found = view.find(w.record);
    if (!found || !found->record || !found->record->live())
      return fail(ErrorKind::not_found, "sim.gone", "not here");
    Draft d;
    d.atomic = atomic;
    RecordOp& update = d.ops.emplace_back();
    update.record = w.record;
    op.value.payload = d.arena.copy(payload);
    update.cells.push_back(op);
    return d;
  });
  command.author = user_;
  command.credential = tokens_[b.name];
  command.operation_key = w.key;
  command.request = std::string(sha256(w.key).view().substr(0, 16));
  auto answer = b.write(command);
  if (answer && !*answer) {
    ++world_.counts["policies: refused locally: " + answer->error().code];
    return;
  }
  w.answered = answer.has_value();
  if (answer) w.id = (*answer)->id;
  ++world_.counts["policies: accepted"];
  written_.push_back(std::move(w));
}

void PolicyWorkload::spend(SimBranch& b) {
  Written w{Written::What::stock, {}, "", "", products_[world_.random.below(products_.size())]};
  auto amount = static_cast<int64_t>(1 + world_.random.below(12));
  CellOp op{field(kProduct, "quantityonhand").id, CellOpKind::spend, {ValueType::decimal, {}}, {}};
  uint64_t dice = world_.random.below(20);
  if (dice == 0) {
    op.kind = CellOpKind::give_back;
    w.change = 0;
  } else if (dice < 3) {
    op.kind = CellOpKind::add;
    w.change = amount;
  } else {
    w.change = -amount;
  }
  write(b, std::move(w), op, encode_decimal(Decimal(amount, 0)), false);
}

void PolicyWorkload::set_limit(SimBranch& b) {
  auto held = b.replica->state().territories;
  const auto& [key, territory] = accounts_[world_.random.below(accounts_.size())];
  if (std::find(held.begin(), held.end(), territory) == held.end()) return;
  Written w{Written::What::limit, {}, "", "", key};
  CellOp op{field(key.entity, "creditlimit").id, CellOpKind::set, {ValueType::money, {}}, {}};
  std::string money = encode_money({Decimal(world_.between(1, 6) * 100, 0), {'U', 'S', 'D'}, 0});
  write(b, std::move(w), op, std::move(money), world_.chance(0.1));
}

void PolicyWorkload::set_owner(SimBranch& b) {
  auto held = b.replica->state().territories;
  const auto& [key, territory] = accounts_[world_.random.below(accounts_.size())];
  if (std::find(held.begin(), held.end(), territory) == held.end()) return;
  Written w{Written::What::owner, {}, "", "", key};
  CellOp op{field(key.entity, "ownerid").id, CellOpKind::set, {ValueType::lookup, {}}, {}};
  write(b, std::move(w), op,
        encode_lookup({entity_id::kUser, world_.chance(0.5) ? user_ : other_user_}), false);
}

std::string PolicyWorkload::check_bound(SimMaster& master) {
  Workspace& ws = master.ingest->workspace();
  const Field& stock_field = field(kProduct, "quantityonhand");
  for (const auto& key : products_) {
    auto found = ws.find(key);
    if (!found || !found->record) continue;  // not yet created
    Decimal stock = number(found->record->value(stock_field.id));
    auto shares = shares_of(ws, key, stock_field);
    BL_CHECK(shares);
    Decimal held;
    for (const auto& s : *shares) {
      if (s.amount.mantissa() < 0) return "escrow: a share is below zero";
      held = *Decimal::add(held, s.amount);
    }
    if (Decimal::compare(held, stock) > 0) {
      return "escrow: shares of " + held.to_string() + " where there are " + stock.to_string();
    }
  }
  return "";
}

std::string PolicyWorkload::check(
    SimMaster& master, const std::function<std::optional<Decided>(const MutationId&)>& fate_of,
    const Excused& excused) {
  Workspace& ws = master.ingest->workspace();
  std::map<RecordKey, int64_t> stock = initial_;
  std::map<MutationId, Fate> fates;
  for (const auto& w : written_) {
    auto row = master.disk.get(Table::keys, keys::operation_key(user_, w.key));
    bool done = row && row->has_value();
    if (w.what == Written::What::stock && done) stock[w.record] += w.change;
    if (!w.answered) continue;
    auto decided = fate_of(w.id);
    if (!decided) continue;  // whether it may be missing is the scenario's to judge
    fates[w.id] = decided->fate;
    for (const auto& o : decided->outcomes) {
      ++world_.counts["policies: " + std::string(to_string(o.reason))];
      bool wrong = (o.reason == Reason::share_exceeded && !excused.refused(w.branch)) ||
                   (o.reason == Reason::from_reserve && !excused.from_reserve(w.branch));
      if (wrong) {
        return "escrow: " + w.branch + " spent within its share, and the master says " +
               std::string(to_string(o.reason));
      }
    }
    bool by_share = w.what == Written::What::stock && decided->fate == Fate::rejected;
    if (by_share && !excused.refused(w.branch)) return "escrow: an accepted change was rejected";
    if (w.what != Written::What::stock) {
      Reason lost = w.what == Written::What::limit ? Reason::asked : Reason::first_stands;
      bool named = std::any_of(decided->outcomes.begin(), decided->outcomes.end(),
                               [&](const branchline::Outcome& o) { return o.reason == lost; });
      if (decided->fate == Fate::overridden && !named)
        return "an overridden change does not say why";
    }
  }
  const Field& stock_field = field(kProduct, "quantityonhand");
  for (const auto& [key, expected] : stock) {
    auto found = ws.find(key);
    if (!found || !found->record) return "escrow: a product is missing";
    Decimal now = number(found->record->value(stock_field.id));
    if (now != Decimal(expected, 0)) {
      return "escrow: a stock of " + now.to_string() + " where the changes sum up to " +
             std::to_string(expected);
    }
  }
  const Entity& conflict = *schema_->entity(entity_id::kConflict);
  for (const auto& [key, territory] : accounts_) {
    auto found = ws.find(key);
    if (!found || !found->record) return "an account is missing";
    for (const char* name : {"creditlimit", "ownerid"}) {
      const Cell* cell = found->record->find(field(key.entity, name).id);
      if (!cell) continue;
      auto fate = fates.find(found->record->version(*cell).id);
      if (fate != fates.end() && fate->second >= Fate::overridden)
        return std::string(name) + " holds what was overridden";
    }
    RecordKey at = conflict_key(key, field(key.entity, "creditlimit").id);
    auto record = ws.find(at);
    if (!record || !record->record) continue;
    ++world_.counts["policies: conflicts"];
    auto all = ws.elements(at, conflict.field("contenders")->id);
    BL_CHECK(all);
    bool open = decode_integer(record->record->value(conflict.field("statecode")->id).payload) == 0;
    if (open) ++world_.counts["policies: open conflicts"];
    if (open == all->empty()) return "a conflict is open without contenders, or closed with some";
    for (const auto& [element_key, element] : *all) {
      auto fate = fates.find(element.version.id);
      if (fate != fates.end() && fate->second != Fate::overridden)
        return "a contender waits that was not overridden";
    }
  }
  return check_bound(master);
}

}  // namespace branchline::sim
