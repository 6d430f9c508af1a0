#include "master/ingest/grants.h"

#include <algorithm>

#include "master/ingest/ingest_impl.h"

namespace branchline {
namespace {

// Records looked at in one step, so that blocks which wait meanwhile do not wait long.
constexpr size_t kStepRecords = 64;

Decimal number(const Value& v) {
  return v.type == ValueType::decimal ? decode_decimal(v.payload) : Decimal();
}

// Whole units, downwards; `v` is not below zero.
Decimal units(const Decimal& v) {
  int64_t whole = v.mantissa();
  for (int i = 0; i < v.scale(); ++i) whole /= 10;
  return Decimal(whole, 0);
}

Decimal less(const Decimal& a, const Decimal& b) {
  return Decimal::subtract(a, b).value_or(Decimal());
}

}  // namespace

Result<std::vector<CellOp>> plan_grants(Workspace& ws, const Record& record, const Field& field,
                                        const std::vector<Holder>& holders, Arena& arena) {
  std::vector<CellOp> out;
  if (holders.empty()) return out;
  BL_ASSIGN(auto shares, shares_of(ws, record.key(), field));
  Decimal stock = number(record.value(field.id));
  Decimal free = unallotted(stock, shares);
  Decimal live = stock;
  auto share_of = [&](const Holder& h) {
    auto at = std::find_if(shares.begin(), shares.end(), [&](const Share& s) {
      return s.origin == h.origin && s.chain == h.chain;
    });
    return at == shares.end() ? Decimal() : at->amount;
  };
  for (const auto& s : shares) {
    bool current = std::any_of(holders.begin(), holders.end(), [&](const Holder& h) {
      return s.origin == h.origin && s.chain == h.chain;
    });
    if (!current) live = less(live, s.amount);
  }
  Decimal part = units(Decimal(units(live).mantissa() / (2 * int64_t(holders.size())), 0));
  if (part.is_zero()) part = Decimal(1, 0);
  for (const auto& h : holders) {
    Decimal has = share_of(h);
    auto twice = Decimal::add(has, has);
    if (!twice || Decimal::compare(*twice, part) >= 0) continue;
    Decimal wanted = less(part, has);
    Decimal amount = Decimal::compare(wanted, free) <= 0 ? wanted : units(free);
    if (amount.mantissa() <= 0) continue;
    free = less(free, amount);
    CellOp& op = out.emplace_back();
    op.field = field.id;
    op.kind = CellOpKind::grant;
    op.key.mutation.origin = h.origin;
    op.key.mutation.incarnation = h.chain;
    op.value = {ValueType::decimal, arena.copy(encode_decimal(amount))};
  }
  return out;
}

// --- When grants are due ---

void Ingest::Impl::note_escrow(const std::vector<RecordOp>& effects) {
  for (const auto& op : effects) {
    auto fields = escrow_fields.find(op.record.entity);
    if (fields == escrow_fields.end()) continue;
    for (const auto& cell : op.cells) {
      if (cell.kind != CellOpKind::put) continue;
      if (std::find(fields->second.begin(), fields->second.end(), cell.field) !=
          fields->second.end()) {
        grants_due.insert(op.record);
      }
    }
  }
}

void Ingest::Impl::grants_due_everywhere() {
  if (!escrow_fields.empty()) grant_scan = RecordKey{escrow_fields.begin()->first, {}};
}

Result<void> Ingest::Impl::scan_for_grants() {
  EntityId entity = grant_scan->entity;
  auto rows = store.scan(Table::records, keys::record(0, *grant_scan),
                         keys::record_prefix(0, EntityId(uint16_t(entity.value + 1))));
  size_t seen = 0;
  for (; rows->valid() && seen < kStepRecords; rows->next(), ++seen) {
    auto key = keys::parse_record(rows->key());
    if (!key) return fail(ErrorKind::corrupt, "record.key", "a record's key is damaged");
    if (*key == *grant_scan) continue;  // looked at in the step before
    grants_due.insert(*key);
    grant_scan = *key;
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  if (rows->valid()) return {};
  auto next = escrow_fields.upper_bound(entity);
  grant_scan.reset();
  if (next != escrow_fields.end()) grant_scan = RecordKey{next->first, {}};
  return {};
}

std::vector<Holder> Ingest::Impl::holders_of(const Record& record) const {
  std::vector<Holder> out;
  for (const auto& [origin, server] : directory.servers()) {
    auto known = origins.find(origin);
    if (server.master || known == origins.end() || known->second.latest.value == 0) continue;
    bool holds = server.holds(record.territory()) ||
                 std::any_of(record.also_in().begin(), record.also_in().end(),
                             [&](TerritoryId t) { return server.holds(t); });
    // Whose history is in doubt gets nothing.
    if (!holds || known->second.quarantined) continue;
    out.push_back({origin, lineage.chain_of(origin, known->second.latest)});
  }
  return out;
}

bool Ingest::grants_due() const {
  const Impl& s = *impl_;
  bool active = s.merger->level() >= level_of(CellOpKind::grant);
  if (s.reconciling.open()) return false;  // SEMANTICS 31
  return s.granting && active && (s.grant_scan || !s.grants_due.empty());
}

void Ingest::allow_grants(bool allowed) { impl_->granting = allowed; }

Result<std::optional<Ingest::Local>> Ingest::grant_step() {
  Impl& s = *impl_;
  std::optional<Local> none;
  if (!grants_due()) return none;
  if (s.grants_due.empty()) BL_TRY(s.scan_for_grants());
  std::vector<RecordOp> ops;
  Arena arena;
  for (size_t looked = 0; looked < kStepRecords && !s.grants_due.empty(); ++looked) {
    RecordKey key = *s.grants_due.begin();
    s.grants_due.erase(s.grants_due.begin());
    BL_ASSIGN(auto found, s.workspace->find(key));
    if (!found.record || !found.record->live()) continue;
    RecordOp op;
    op.record = key;
    auto holders = s.holders_of(*found.record);
    for (FieldId id : s.escrow_fields.at(key.entity)) {
      const Field& field = *s.schema->entity(key.entity)->field(id);
      BL_ASSIGN(auto cells, plan_grants(*s.workspace, *found.record, field, holders, arena));
      op.cells.insert(op.cells.end(), cells.begin(), cells.end());
    }
    if (!op.cells.empty()) ops.push_back(std::move(op));
  }
  s.workspace->evict();
  if (ops.empty()) return none;
  BL_ASSIGN(Local local, commit_local(std::move(ops), {}, {}));
  return std::optional<Local>(std::move(local));
}

// --- Writing off ---

// One operation per record, so that a field of it is named once per holder.
Result<std::vector<RecordOp>> Ingest::Impl::plan_write_off(OriginId origin, bool everything,
                                                           Arena& arena, bool& more) const {
  const Entity& entity = *schema->entity(entity_id::kEscrowShare);
  FieldId server = entity.field("servernumber")->id, amount = entity.field("share")->id;
  Incarnation current;
  if (auto at = origins.find(origin); at != origins.end() && !everything)
    current = lineage.chain_of(origin, at->second.latest);
  std::vector<RecordOp> ops;
  std::set<RecordKey> taken;
  auto rows = scan_prefix(store, Table::records, keys::record_prefix(0, entity.id));
  for (; rows->valid(); rows->next()) {
    auto key = keys::parse_record(rows->key());
    if (!key) return fail(ErrorKind::corrupt, "record.key", "a record's key is damaged");
    BL_ASSIGN(auto share, Record::decode(*key, std::string(rows->value())));
    Value holder = share.value(server);
    if (!share.live() || holder.is_null() || decode_integer(holder.payload) != origin.value)
      continue;
    Incarnation chain(parse_hex64(share.value(entity.field("chain")->id).payload).value_or(0));
    if (number(share.value(amount)).mantissa() <= 0 || (chain == current && !everything)) continue;
    Lookup object = decode_lookup(share.value(entity.field("objectid")->id).payload);
    const Entity* about = schema->entity(object.entity);
    const Field* field =
        about ? about->field(share.value(entity.field("fieldname")->id).payload) : nullptr;
    if (!field) continue;
    // Of a record with several such shares the others follow in the next piece.
    if (ops.size() >= kStepRecords || !taken.insert({object.entity, object.id}).second) {
      more = true;
      continue;
    }
    RecordOp& op = ops.emplace_back();
    op.record = {object.entity, object.id};
    CellOp& cell = op.cells.emplace_back();
    cell.field = field->id;
    cell.kind = CellOpKind::give_back;
    cell.key.mutation.origin = origin;
    cell.key.mutation.incarnation = chain;
    cell.value = {ValueType::decimal, arena.copy(share.value(amount).payload)};
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  return ops;
}

Result<Ingest::WriteOff> Ingest::write_off(OriginId origin, bool everything, bool sold,
                                           const std::function<void(IngestResult&&)>& written) {
  Impl& s = *impl_;
  WriteOff out;
  Arena arena;
  BL_ASSIGN(auto ops, s.plan_write_off(origin, everything, arena, out.more));
  if (ops.empty()) return out;
  out.shares = ops.size();
  // What leaves the stock is spent by the master right behind: nobody is granted it in between.
  std::vector<RecordOp> spends = ops;
  for (auto& op : spends) {
    op.cells[0].kind = CellOpKind::spend;
    op.cells[0].key = {};
  }
  for (auto* part : {&ops, &spends}) {
    if (part == &spends && !sold) break;
    BL_ASSIGN(Local local, commit_local(*part, {}, {}));
    if (local.fate >= Fate::overridden) {
      return fail(ErrorKind::conflict, "escrow.refused",
                  "writing off: " + std::string(explain(local.outcomes.back().reason)));
    }
    written(std::move(local.result));
  }
  return out;
}

}  // namespace branchline
