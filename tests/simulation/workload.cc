#include "tests/simulation/workload.h"

#include "common/base/check.h"

namespace branchline::sim {
namespace {

constexpr EntityId kOrder{4}, kOrderLine{5};

class Lambda : public Command {
 public:
  explicit Lambda(std::function<Result<Draft>(Workspace&, RecordIdMaker&, int64_t)> what)
      : what_(std::move(what)) {}
  Result<Draft> prepare(Workspace& view, RecordIdMaker& ids, int64_t now) override {
    return what_(view, ids, now);
  }

 private:
  std::function<Result<Draft>(Workspace&, RecordIdMaker&, int64_t)> what_;
};

std::unexpected<Error> gone() { return fail(ErrorKind::not_found, "sim.gone", "not here"); }

bool live(Workspace& view, const RecordKey& key) {
  auto found = view.find(key);
  return found && found->record && found->record->live();
}

void put(Draft& d, RecordOp& op, FieldId field, CellOpKind kind, ValueType type,
         std::string_view payload) {
  op.cells.push_back({field, kind, {type, d.arena.copy(payload)}, {}});
}

}  // namespace

Workload::Workload(World& world, std::shared_ptr<const Schema> schema,
                   std::vector<SimBranch*> branches)
    : world_(world), schema_(std::move(schema)), branches_(std::move(branches)) {}

void Workload::set_up(SimMaster& master) {
  RecordIdMaker ids(world_.random);
  user_ = ids.make(master.clock.wall_ms());
  Draft d;
  RecordOp op;
  op.kind = RecordOpKind::create;
  op.record = {entity_id::kUser, user_};
  put(d, op, field(entity_id::kUser, "fullname"), CellOpKind::set, ValueType::text,
      "Simulated User");
  put(d, op, field(entity_id::kUser, "isadministrator"), CellOpKind::set, ValueType::boolean,
      encode_boolean(true));
  master.commit({op}, "user");
  // Of all territories: what an office may write changes with its subscription.
  auto make_token = [&](const std::string& name) {
    RecordOp token;
    token.kind = RecordOpKind::create;
    token.record = {entity_id::kApiToken, ids.make(master.clock.wall_ms())};
    std::tie(token.territory, token.also_in) = master.all_territories();
    put(d, token, field(entity_id::kApiToken, "tokenhash"), CellOpKind::set, ValueType::text,
        token_hash(name));
    put(d, token, field(entity_id::kApiToken, "systemuserid"), CellOpKind::set, ValueType::lookup,
        encode_lookup({entity_id::kUser, user_}));
    put(d, token, field(entity_id::kApiToken, "access"), CellOpKind::set, ValueType::option,
        encode_integer(2));
    master.commit({token}, "token " + name);
    return token.record.id;
  };
  mover_ = make_token("mover");
  for (SimBranch* b : branches_) tokens_[b->name] = make_token(b->name);
}

bool Workload::attempt_as(SimBranch& branch, const RecordId& credential, const What& what) {
  Intention& in = intentions_.emplace_back();
  attempt(branch, in, what, credential);
  return !in.acknowledged.empty();
}

std::vector<TerritoryId> Workload::territories_of(SimBranch& b) {
  return b.replica->state().territories;
}

std::string Workload::text(TerritoryId t) {
  // A canary: must be found in no store of an office that does not hold this territory.
  return "canary-" + std::to_string(t.value) + "-" + std::to_string(next_++);
}

void Workload::attempt(
    SimBranch& branch, Intention& intention,
    const std::function<Result<Draft>(Workspace&, RecordIdMaker&, int64_t)>& what,
    const RecordId& credential) {
  Lambda command(what);
  command.author = user_;
  command.credential = credential.is_nil() ? tokens_[branch.name] : credential;
  command.operation_key = intention.key;
  if (world_.chance(0.15)) command.lane = Lane::bulk;
  if (!intention.key.empty())
    command.request = std::string(sha256(intention.key).view().substr(0, 16));
  intention.author = user_;
  auto answer = branch.write(command);
  if (!answer) {
    intention.unanswered = true;
    return;
  }
  if (!*answer) {
    ++world_.counts["refused locally: " + answer->error().code];
    return;
  }
  if ((*answer)->id.is_none()) return;
  ++world_.counts["acknowledged"];
  if ((*answer)->replayed) ++world_.counts["replayed at the same office"];
  // Between the synced batch and the answer a server may die: then nobody was told.
  if (world_.chance(0.002)) {
    intention.unanswered = true;
    branch.crash();
    ++world_.counts["fault: crash before the answer"];
    world_.after(world_.between(10'000, 600'000), [b = &branch] {
      if (!b->up()) b->start();
    });
    return;
  }
  intention.acknowledged.push_back({(*answer)->id, branch.name, world_.now()});
}

const Workload::Account* Workload::account_at(SimBranch& b, bool counter) {
  auto held = territories_of(b);
  for (int tries = 0; tries < 20 && !accounts_.empty(); ++tries) {
    // Mostly recent ones, so that offices meet on the same records.
    size_t n = accounts_.size();
    size_t i = world_.chance(0.5) ? n - 1 - world_.random.below(std::min<size_t>(n, 12))
                                  : world_.random.below(n);
    const Account& a = accounts_[i];
    if (a.counter != counter) continue;
    if (std::find(held.begin(), held.end(), a.territory) != held.end()) return &a;
  }
  return nullptr;
}

std::optional<RecordKey> Workload::known(std::vector<std::pair<RecordKey, TerritoryId>>& list,
                                         SimBranch& b) {
  auto held = territories_of(b);
  for (int tries = 0; tries < 10 && !list.empty(); ++tries) {
    size_t n = list.size();
    size_t i = world_.chance(0.6) ? n - 1 - world_.random.below(std::min<size_t>(n, 10))
                                  : world_.random.below(n);
    if (std::find(held.begin(), held.end(), list[i].second) != held.end()) return list[i].first;
  }
  return std::nullopt;
}

void Workload::step() {
  SimBranch& b = *branches_[world_.random.below(branches_.size())];
  if (!b.ready()) {
    ++world_.counts["operation at a server that was down"];
    return;
  }
  ++world_.counts["operations"];
  uint64_t dice = world_.random.below(100);
  if (accounts_.size() < 6 || dice < 8) return create_account(b);
  if (world_.chance(0.12)) return merge_step(b);
  if (dice < 16) return create_contact(b);
  if (dice < 22) return create_order(b);
  if (dice < 30) return change_line(b);
  if (dice < 48) return edit_account(b);
  if (dice < 58) return edit_contact(b);
  if (dice < 70) return add_points(b);
  if (dice < 80) return add_note(b);
  if (dice < 86) return change_tags(b);
  if (dice < 90) return touch_extremes(b);
  if (dice < 94) return set_parent(b);
  remove_record(b);
}

void Workload::create_account(SimBranch& b) {
  auto held = territories_of(b);
  TerritoryId t = held[world_.random.below(held.size())];
  Intention& in = intentions_.emplace_back();
  bool counter = counters_.size() < 8 && world_.chance(0.5);
  // Numbers repeat now and then: two offices claim the same unique key.
  std::string number = "N" + std::to_string(world_.random.below(400));
  RecordKey key{entity_id::kAccount, {}};
  attempt(b, in, [&](Workspace& view, RecordIdMaker& ids, int64_t now) -> Result<Draft> {
    Draft d;
    key.id = ids.make(now);
    std::string unique = view.config().holds_everything ? number : "";
    RecordOp& op = d.ops.emplace_back();
    op.kind = RecordOpKind::create;
    op.record = key;
    op.territory = t;
    put(d, op, field(key.entity, "name"), CellOpKind::set, ValueType::text, text(t));
    put(d, op, field(key.entity, "accountnumber"), CellOpKind::set, ValueType::text, number);
    return d;
  });
  if (in.acknowledged.empty()) return;
  accounts_.push_back({key, t, counter});
  if (counter) counters_.push_back(key);
}

void Workload::create_contact(SimBranch& b) {
  const Account* a = account_at(b, world_.chance(0.3));
  if (!a) return;
  Intention& in = intentions_.emplace_back();
  RecordKey key{entity_id::kContact, {}};
  RecordKey parent = a->key;
  TerritoryId t = a->territory;
  attempt(b, in, [&](Workspace& view, RecordIdMaker& ids, int64_t now) -> Result<Draft> {
    if (!live(view, parent)) return gone();
    Draft d;
    key.id = ids.make(now);
    RecordOp& op = d.ops.emplace_back();
    op.kind = RecordOpKind::create;
    op.record = key;
    put(d, op, field(key.entity, "firstname"), CellOpKind::set, ValueType::text, text(t));
    put(d, op, field(key.entity, "lastname"), CellOpKind::set, ValueType::text, text(t));
    put(d, op, field(key.entity, "parentcustomerid"), CellOpKind::set, ValueType::lookup,
        encode_lookup({parent.entity, parent.id}));
    return d;
  });
  if (!in.acknowledged.empty()) contacts_.emplace_back(key, t);
}

void Workload::create_order(SimBranch& b) {
  const Account* a = account_at(b, world_.chance(0.3));
  if (!a) return;
  Intention& in = intentions_.emplace_back();
  RecordKey parent = a->key;
  TerritoryId t = a->territory;
  RecordKey order{kOrder, {}};
  std::vector<RecordKey> made;
  attempt(b, in, [&](Workspace& view, RecordIdMaker& ids, int64_t now) -> Result<Draft> {
    if (!live(view, parent)) return gone();
    Draft d;
    order.id = ids.make(now);
    RecordOp head;
    head.kind = RecordOpKind::create;
    head.record = order;
    put(d, head, field(kOrder, "name"), CellOpKind::set, ValueType::text, text(t));
    put(d, head, field(kOrder, "customerid"), CellOpKind::set, ValueType::lookup,
        encode_lookup({parent.entity, parent.id}));
    d.ops.push_back(head);
    for (int i = 0; i < 3; ++i) {
      RecordOp line;
      line.kind = RecordOpKind::create;
      line.record = {kOrderLine, ids.make(now)};
      made.push_back(line.record);
      put(d, line, field(kOrderLine, "salesorderid"), CellOpKind::set, ValueType::lookup,
          encode_lookup({kOrder, order.id}));
      put(d, line, field(kOrderLine, "productdescription"), CellOpKind::set, ValueType::text,
          text(t));
      put(d, line, field(kOrderLine, "quantity"), CellOpKind::set, ValueType::decimal,
          encode_decimal(Decimal(1 + i, 0)));
      put(d, line, field(kOrderLine, "priceperunit"), CellOpKind::set, ValueType::money,
          encode_money({Decimal(int64_t(world_.random.below(10000)), 2), {'U', 'S', 'D'}, 0}));
      d.ops.push_back(line);
    }
    return d;
  });
  if (in.acknowledged.empty()) return;
  orders_.emplace_back(order, t);
  for (auto& k : made) lines_.emplace_back(k, t);
}

void Workload::change_line(SimBranch& b) {
  auto line = known(lines_, b);
  if (!line) return;
  Intention& in = intentions_.emplace_back();
  attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
    if (!live(view, *line)) return gone();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    op.record = *line;
    if (world_.chance(0.2)) {
      op.kind = RecordOpKind::remove;
    } else {
      put(d, op, field(kOrderLine, "quantity"), CellOpKind::set, ValueType::decimal,
          encode_decimal(Decimal(int64_t(world_.random.below(9)), 0)));
    }
    return d;
  });
}

void Workload::edit_account(SimBranch& b) {
  const Account* a = account_at(b, world_.chance(0.4));
  if (!a) return;
  Account account = *a;
  Intention& in = intentions_.emplace_back();
  attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
    if (!live(view, account.key)) return gone();
    Draft d;
    d.atomic = world_.chance(0.05);
    RecordOp& op = d.ops.emplace_back();
    op.record = account.key;
    if (world_.chance(0.5)) {
      put(d, op, field(account.key.entity, "name"), CellOpKind::set, ValueType::text,
          text(account.territory));
    }
    if (world_.chance(0.4)) {  // a group is written whole
      for (const char* f :
           {"address1_line1", "address1_line2", "address1_city", "address1_stateorprovince",
            "address1_postalcode", "address1_country"}) {
        put(d, op, field(account.key.entity, f), CellOpKind::set, ValueType::text,
            text(account.territory));
      }
    }
    if (op.cells.empty() || world_.chance(0.3)) {
      put(d, op, field(account.key.entity, "description"), CellOpKind::set, ValueType::text,
          text(account.territory));
    }
    if (world_.chance(0.05)) {
      std::string name(
          view.find(account.key)->record->value(field(account.key.entity, "name")).payload);
      d.guards.push_back(
          {account.key, field(account.key.entity, "name"), {ValueType::text, d.arena.copy(name)}});
    }
    return d;
  });
}

void Workload::edit_contact(SimBranch& b) {
  auto contact = known(contacts_, b);
  if (!contact) return;
  Intention& in = intentions_.emplace_back();
  attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
    if (!live(view, *contact)) return gone();
    TerritoryId t = view.find(*contact)->record->territory();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    op.record = *contact;
    put(d, op, field(contact->entity, world_.chance(0.5) ? "firstname" : "lastname"),
        CellOpKind::set, ValueType::text, text(t));
    return d;
  });
}

void Workload::add_points(SimBranch& b) {
  const Account* a = account_at(b, true);
  if (!a) return;
  Intention& in = intentions_.emplace_back();
  in.kind = Intention::Kind::add;
  in.record = a->key;
  in.amount = world_.between(1, 1'000'000);
  in.key = "add-" + std::to_string(next_++);
  auto what = [this, key = a->key, amount = in.amount](Workspace& view, RecordIdMaker&,
                                                       int64_t) -> Result<Draft> {
    if (!live(view, key)) return gone();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    op.record = key;
    put(d, op, field(key.entity, "loyaltypoints"), CellOpKind::add, ValueType::integer,
        encode_integer(amount));
    return d;
  };
  attempt(b, in, what);
  // An impatient client: again here, or at another office.
  if (world_.chance(0.15)) {
    SimBranch& other = *branches_[world_.random.below(branches_.size())];
    if (other.ready()) {
      ++world_.counts["retried under the same key"];
      attempt(other, in, what);
    }
  }
}

void Workload::add_note(SimBranch& b) {
  const Account* a = account_at(b, world_.chance(0.7));
  if (!a) return;
  Intention& in = intentions_.emplace_back();
  in.kind = a->counter ? Intention::Kind::note : Intention::Kind::other;
  in.record = a->key;
  in.note = text(a->territory) + "-note";
  attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
    if (!live(view, in.record)) return gone();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    op.record = in.record;
    put(d, op, field(in.record.entity, "annotations"), CellOpKind::append, ValueType::row,
        encode_row({{annotation_field::kText, {ValueType::text, in.note}}}));
    return d;
  });
}

void Workload::change_tags(SimBranch& b) {
  const Account* a = account_at(b, world_.chance(0.4));
  if (!a) return;
  Account account = *a;
  Intention& in = intentions_.emplace_back();
  attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
    if (!live(view, account.key)) return gone();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    op.record = account.key;
    FieldId tags = field(account.key.entity, "tags");
    auto there = view.elements(account.key, tags);
    if (!there->empty() && world_.chance(0.4)) {
      CellOp remove{
          tags, CellOpKind::remove, {}, (*there)[world_.random.below(there->size())].first.key};
      op.cells.push_back(remove);
    } else {
      put(d, op, tags, CellOpKind::insert, ValueType::text, text(account.territory));
    }
    return d;
  });
}

void Workload::touch_extremes(SimBranch& b) {
  const Account* a = account_at(b, world_.chance(0.4));
  if (!a) return;
  RecordKey key = a->key;
  Intention& in = intentions_.emplace_back();
  attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
    if (!live(view, key)) return gone();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    op.record = key;
    put(d, op, field(key.entity, "lastcontacted"),
        world_.chance(0.2) ? CellOpKind::correct : CellOpKind::set, ValueType::instant,
        encode_integer(world_.between(1, 1'000'000'000)));
    return d;
  });
}

void Workload::set_parent(SimBranch& b) {
  const Account* a = account_at(b, false);
  if (!a) return;
  Account child = *a;
  const Account* p = account_at(b, false);
  if (!p || p->key == child.key || p->territory != child.territory) return;
  RecordKey parent = p->key;
  Intention& in = intentions_.emplace_back();
  attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
    if (!live(view, child.key) || !live(view, parent)) return gone();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    op.record = child.key;
    put(d, op, field(child.key.entity, "parentaccountid"), CellOpKind::set, ValueType::lookup,
        encode_lookup({parent.entity, parent.id}));
    return d;
  });
}

void Workload::remove_record(SimBranch& b) {
  std::optional<RecordKey> key;
  if (world_.chance(0.6)) {
    if (const Account* a = account_at(b, false)) key = a->key;
  } else {
    key = known(world_.chance(0.5) ? contacts_ : orders_, b);
  }
  if (!key) return;
  Intention& in = intentions_.emplace_back();
  attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
    if (!live(view, *key)) return gone();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    op.kind = RecordOpKind::remove;
    op.record = *key;
    return d;
  });
}

}  // namespace branchline::sim
