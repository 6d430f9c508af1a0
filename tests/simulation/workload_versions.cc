// Fields and records that only the next schema has, written by the offices that have it already, to
// the accounts that offices of the version before edit, merge and delete at the same time.
#include "tests/simulation/workload.h"

namespace branchline::sim {
namespace {

std::unexpected<Error> gone() { return fail(ErrorKind::not_found, "sim.gone", "not here"); }

bool live(Workspace& view, const RecordKey& key) {
  auto found = view.find(key);
  return found && found->record && found->record->live();
}

void put(Draft& d, RecordOp& op, const Field& field, CellOpKind kind, std::string_view payload) {
  op.cells.push_back({field.id, kind, {field.type, d.arena.copy(payload)}, {}});
}

}  // namespace

void Workload::version_step(const Schema& next, bool active) {
  SimBranch& b = *branches_[world_.random.below(branches_.size())];
  if (!b.ready()) return;
  const Account* a = account_at(b, world_.chance(0.5));
  if (!a) return;
  Account account = *a;
  const Entity& accounts = *next.entity(entity_id::kAccount);
  const Entity& gadgets = *next.entity("gadget");
  Intention& in = intentions_.emplace_back();
  in.record = account.key;
  // By `latest` before the upgrade, by `first` after it: every office knows the field.
  if (world_.chance(0.3)) {
    attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
      if (!live(view, account.key)) return gone();
      Draft d;
      RecordOp& op = d.ops.emplace_back();
      op.record = account.key;
      put(d, op, *accounts.field("websiteurl"), CellOpKind::set, text(account.territory));
      return d;
    });
    ++world_.counts["versions: a field whose policy changes"];
    return;
  }
  // As the feature level has it: nobody writes what the master does not know yet.
  if (!active || b.schema->version() != next.version()) return;
  if (world_.chance(0.6)) {
    in.kind = account.counter ? Intention::Kind::badge : Intention::Kind::other;
    in.note = text(account.territory) + "-badge";
    attempt(b, in, [&](Workspace& view, RecordIdMaker&, int64_t) -> Result<Draft> {
      if (!live(view, account.key)) return gone();
      Draft d;
      RecordOp& op = d.ops.emplace_back();
      op.record = account.key;
      put(d, op, *accounts.field("badges"), CellOpKind::insert, in.note);
      put(d, op, *accounts.field("nickname"), CellOpKind::set, text(account.territory));
      return d;
    });
    if (!in.acknowledged.empty()) ++world_.counts["versions: new fields"];
    return;
  }
  auto known_gadget = world_.chance(0.5) ? known(gadgets_, b) : std::nullopt;
  RecordKey key = known_gadget.value_or(RecordKey{gadgets.id, {}});
  attempt(b, in, [&](Workspace& view, RecordIdMaker& ids, int64_t now) -> Result<Draft> {
    if (!live(view, known_gadget ? key : account.key)) return gone();
    Draft d;
    RecordOp& op = d.ops.emplace_back();
    if (known_gadget && world_.chance(0.2)) {
      op.kind = RecordOpKind::remove;
      op.record = key;
      return d;
    }
    TerritoryId t = view.find(known_gadget ? key : account.key)->record->territory();
    if (!known_gadget) {
      op.kind = RecordOpKind::create;
      key.id = ids.make(now);
      put(d, op, *gadgets.field("accountid"), CellOpKind::set,
          encode_lookup({account.key.entity, account.key.id}));
    }
    op.record = key;
    put(d, op, *gadgets.field("name"), CellOpKind::set, text(t));
    return d;
  });
  if (in.acknowledged.empty()) return;
  if (!known_gadget) gadgets_.emplace_back(key, account.territory);
  ++world_.counts["versions: new records"];
}

}  // namespace branchline::sim
