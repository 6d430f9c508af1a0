#include "master/lookup/lookup.h"

#include <set>

#include "common/access/token_auth.h"
#include "common/base/limits.h"
#include "common/schema/index_key.h"
#include "common/store/keyspace.h"
#include "master/ingest/ingest.h"
#include "replication/line/compress.h"

namespace branchline {
namespace {

constexpr keys::Side kSide = 0;  // the master's only one

std::unexpected<Error> malformed(const char* what) {
  return fail(ErrorKind::invalid, "lookup.malformed",
              std::string("a look-up that this master does not understand: ") + what);
}

class Reading {
 public:
  Reading(const StoreView& view, const Schema& schema, const LookupRequest& question,
          const Principal& principal)
      : view_(view), schema_(schema), question_(question), principal_(principal) {}

  Result<void> read(LookupAnswer& answer) {
    const Entity* entity = schema_.entity(question_.entity);
    if (!entity || entity->virtual_set || entity->credential) return malformed("its entity");
    std::optional<Record> record;
    if (!question_.id.is_nil()) {
      BL_ASSIGN(record, visible({entity->id, question_.id}));
    } else {
      BL_ASSIGN(record, by_key(*entity));
    }
    if (!record) return {};
    answer.id = record->key().id;
    BL_TRY(put(*record, true));
    for (FieldId f : question_.lookups) {
      const Field* field = entity->field(f);
      if (!field || field->type != ValueType::lookup) return malformed("a lookup of the record");
      Value v = record->value(f);
      if (v.is_null()) continue;
      Lookup l = decode_lookup(v.payload);
      BL_ASSIGN(auto other, visible({l.entity, l.id}));
      if (other) BL_TRY(put(*other, false));
    }
    for (const auto& c : question_.children) BL_TRY(children(*record, c));
    answer.rows = compress(rows_);
    if (answer.rows.size() > limits::kMaxLookupAnswerBytes) return too_large();
    return {};
  }

 private:
  static std::unexpected<Error> too_large() {
    return fail(ErrorKind::invalid, "lookup.too_large",
                "this record with what was asked of it is too much to be fetched over the WAN (" +
                    std::to_string(limits::kMaxLookupRecords) + " records, " +
                    std::to_string(limits::kMaxLookupAnswerBytes / 1024) +
                    " KiB compressed): leave $expand or the collection out, or ask at an office "
                    "that holds it");
  }

  // What its holder may not see does not exist for him.
  Result<std::optional<Record>> visible(const RecordKey& key) {
    const Entity* entity = schema_.entity(key.entity);
    BL_ASSIGN(auto flat, view_.get(Table::records, keys::record(kSide, key)));
    if (!entity || !flat) return std::optional<Record>();
    BL_ASSIGN(auto record, Record::decode(key, std::move(*flat)));
    if (!record.live() || !may_read(principal_, *entity, record)) return std::optional<Record>();
    return std::optional<Record>(std::move(record));
  }

  Result<std::optional<Record>> by_key(const Entity& entity) {
    for (const auto& index : entity.indexes) {
      if (index.id != question_.index || !index.unique) continue;
      Value value{question_.key_type, question_.key};
      const Field* field = entity.field(index.fields[0]);
      if (!field || field->type != value.type || !valid(value)) break;
      std::string prefix = keys::index_prefix(kSide, entity.id, index.id);
      put_index_value(prefix, value);
      std::string wanted = comparison_key(value);
      auto cursor = scan_prefix(view_, Table::index, prefix);
      for (; cursor->valid(); cursor->next()) {
        BL_ASSIGN(auto record, visible({entity.id, keys::index_record(cursor->key())}));
        if (record && comparison_key(record->value(index.fields[0])) == wanted) return record;
      }
      if (auto e = cursor->error()) return std::unexpected(*e);
      return std::optional<Record>();
    }
    return malformed("its key");
  }

  Result<void> children(const Record& parent, const LookupRequest::Children& c) {
    const Entity* child = schema_.entity(c.entity);
    if (!child || child->virtual_set || child->credential) return malformed("a collection");
    const Index* index = nullptr;
    for (const auto& i : child->indexes) {
      if (i.parent && i.fields[0] == c.field) index = &i;
    }
    if (!index) return malformed("a collection of the record");
    std::string prefix = keys::index_prefix(kSide, child->id, index->id);
    std::string value = encode_lookup({parent.key().entity, parent.key().id});
    put_index_value(prefix, {ValueType::lookup, value});
    auto cursor = scan_prefix(view_, Table::index, prefix);
    for (; cursor->valid(); cursor->next()) {
      BL_ASSIGN(auto record, visible({child->id, keys::index_record(cursor->key())}));
      if (record) BL_TRY(put(*record, false));
    }
    if (auto e = cursor->error()) return std::unexpected(*e);
    return {};
  }

  Result<void> row(Table table, std::string_view key_with_side, std::string_view value) {
    Writer w(rows_);
    w.u8(static_cast<uint8_t>(table));
    w.blob(key_with_side.substr(1));
    w.blob(value);
    if (rows_.size() > limits::kMaxLookupRowBytes) return too_large();
    return {};
  }

  Result<void> put(const Record& record, bool timeline) {
    if (!put_.insert(record.key()).second) return {};
    if (put_.size() > limits::kMaxLookupRecords) return too_large();
    BL_TRY(row(Table::records, keys::record(kSide, record.key()), record.encode()));
    const Entity& entity = *schema_.entity(record.key().entity);
    for (const auto& field : entity.fields) {
      bool wanted = field.policy == Policy::set
                        ? record.find(field.id) != nullptr
                        : field.policy == Policy::append && timeline && question_.timeline;
      if (!wanted) continue;
      auto cursor =
          scan_prefix(view_, Table::elements, keys::element_prefix(kSide, record.key(), field.id));
      for (; cursor->valid(); cursor->next())
        BL_TRY(row(Table::elements, cursor->key(), cursor->value()));
      if (auto e = cursor->error()) return std::unexpected(*e);
    }
    return {};
  }

  const StoreView& view_;
  const Schema& schema_;
  const LookupRequest& question_;
  const Principal& principal_;
  std::string rows_;
  std::set<RecordKey> put_;
};

// Whether a later start of its server says that this mutation had not reached the disk that went
// on.
Result<bool> left_behind(const StoreView& view, const MutationId& id) {
  std::string prefix = keys::meta_known_incarnation_prefix();
  Writer(prefix).fixed16(id.origin.value);
  auto rows = scan_prefix(view, Table::meta, prefix);
  bool known = false, succeeded = false;
  Seq end;
  for (; rows->valid(); rows->next()) {
    BL_ASSIGN(auto info, decode_incarnation(rows->value()));
    known = known || info.incarnation == id.incarnation;
    if (info.predecessor != id.incarnation) continue;
    succeeded = true;
    end = std::max(end, info.predecessor_ends[static_cast<size_t>(id.lane)].seq);
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  // A start that never reached this master may still come with its work.
  return known && succeeded && end < id.seq;
}

Result<LookupAnswer::Decision> decision_on(const StoreView& view, const MutationId& id) {
  MutationId behind = id;
  behind.seq = id.seq.next();
  auto cursor = view.scan_back(Table::fates, keys::fate_prefix(stream_of(id)), keys::fate(behind));
  if (auto e = cursor->error()) return std::unexpected(*e);
  if (cursor->valid()) {
    auto first = keys::parse_fate(cursor->key());
    if (!first) return fail(ErrorKind::corrupt, "fate.key", "a fate's key is damaged");
    BL_ASSIGN(auto row, decode_fate_row(*first, cursor->value()));
    uint64_t behind_first = id.seq.value - first->seq.value;
    if (behind_first < row.entry.count)
      return LookupAnswer::Decision{Csn(row.entry.csn.value + behind_first), false};
  }
  BL_ASSIGN(auto high, view.get(Table::meta, keys::meta_stream(stream_of(id))));
  if (high) {
    BL_ASSIGN(auto stream, decode_stream_state(*high));
    // An operator closed a gap that nothing can fill.
    if (id.seq <= stream.seq) return LookupAnswer::Decision{Csn(0), true};
  }
  BL_ASSIGN(bool lost, left_behind(view, id));
  return LookupAnswer::Decision{Csn(0), lost};
}

Result<void> answer(const StoreView& view, const Schema& schema, const LookupRequest& question,
                    int64_t now_ms, LookedUp& out) {
  BL_ASSIGN(TokenAnswer who, authenticate_token(view, kSide, schema, question.token, now_ms));
  out.credential = who.principal.credential;
  out.may_write = who.principal.may_write;
  BL_ASSIGN(auto row, view.get(Table::meta, keys::meta_state()));
  if (!row) return fail(ErrorKind::unavailable, "lookup.empty", "the master has no state yet");
  BL_ASSIGN(auto state, decode_master_state(*row));
  out.answer.line = state.line;
  out.answer.csn = state.head;
  for (const auto& id : question.mutations) {
    BL_ASSIGN(auto decision, decision_on(view, id));
    out.answer.decisions.push_back(decision);
  }
  if (question.entity.value == 0) return {};
  return Reading(view, schema, question, who.principal).read(out.answer);
}

}  // namespace

LookedUp answer_lookup(const StoreView& view, const Schema& schema, const LookupRequest& question,
                       int64_t now_ms) {
  LookedUp out;
  auto ok = answer(view, schema, question, now_ms, out);
  if (!ok) {
    out.answer = {};
    // What is wrong with the master's disk is its operators' business, not the office's.
    bool fault = is_store_fault(ok.error());
    out.answer.error = fault ? Error{ErrorKind::unavailable, "lookup.failed",
                                     "the master could not read its store; its log says why"}
                             : ok.error();
  }
  out.answer.number = question.number;
  return out;
}

}  // namespace branchline
