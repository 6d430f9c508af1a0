#include "branch/crm/virtual_sets.h"

#include <algorithm>

#include "replication/line/commit.h"

namespace branchline {
namespace {

void set_text(Record& record, const Entity& entity, const char* field, std::string_view text,
              const Version& v) {
  if (!text.empty()) record.set(entity.field(field)->id, v, {ValueType::text, text});
}

std::optional<Record> note_record(const Entity& entity, const Record& owner,
                                  const Element& element) {
  Version v = element.version;
  RecordKey key{entity.id, {}};
  std::string_view subject, text;
  for (const auto& f : decode_row(element.value().payload)) {
    if (f.field == annotation_field::kId) key.id = decode_lookup(f.value.payload).id;
    if (f.field == annotation_field::kSubject) subject = f.value.payload;
    if (f.field == annotation_field::kText) text = f.value.payload;
  }
  if (key.id.is_nil()) return std::nullopt;
  Record note(key, owner.territory(), owner.also_in(), v);
  set_text(note, entity, "subject", subject, v);
  set_text(note, entity, "notetext", text, v);
  std::string object = encode_lookup({owner.key().entity, owner.key().id});
  note.set(entity.field("objectid")->id, v, {ValueType::lookup, object});
  return note;
}

std::vector<RecordKey> objects_named(const Schema& schema, const Expression& filter,
                                     FieldId field) {
  std::vector<RecordKey> out;
  if (filter.kind == Expression::Kind::all_of) {
    for (const auto& o : filter.operands) {
      out = objects_named(schema, o, field);
      if (!out.empty()) return out;
    }
  }
  if (filter.kind != Expression::Kind::equal || filter.column.id != field ||
      filter.column.kind != Column::Kind::field) {
    return out;
  }
  for (const auto& v : filter.values) {
    if (v.type != ValueType::lookup) return {};
    Lookup l = decode_lookup(v.payload);
    if (l.entity.value != 0) {
      out.push_back({l.entity, l.id});
      continue;
    }
    // An id alone: it may be in any of the entities that have notes.
    for (EntityId target : schema.entity(entity_id::kAnnotation)->field(field)->targets)
      out.push_back({target, l.id});
  }
  return out;
}

// Visits the notes of records in key order; `only` empty means all.
Result<void> walk_notes(
    const ReadContext& c, const std::vector<RecordKey>& only,
    const std::function<Result<bool>(const Record& owner, const keys::ParsedElement&,
                                     const Element&)>& visit) {
  std::vector<std::string> prefixes;
  for (const auto& key : only) prefixes.push_back(keys::element_prefix(c.side, key));
  if (only.empty()) prefixes.push_back(std::string(1, static_cast<char>(c.side)));
  std::sort(prefixes.begin(), prefixes.end());
  std::optional<Record> owner;
  for (const auto& prefix : prefixes) {
    auto cursor = scan_prefix(*c.view, Table::elements, prefix);
    for (; cursor->valid(); cursor->next()) {
      auto parsed = keys::parse_element(cursor->key());
      if (!parsed) return fail(ErrorKind::corrupt, "element.key", "an element's key is damaged");
      const Entity* of = c.schema->entity(parsed->record.entity);
      const Field* field = of ? of->field(parsed->field) : nullptr;
      if (!field || field->type != ValueType::row) continue;
      if (!owner || owner->key() != parsed->record) {
        BL_ASSIGN(owner, read_record(c, parsed->record));
        if (!owner) continue;
      }
      BL_ASSIGN(auto element, decode_element(cursor->value()));
      BL_ASSIGN(bool more, visit(*owner, *parsed, element));
      if (!more) return {};
    }
    if (auto e = cursor->error()) return std::unexpected(*e);
  }
  return {};
}

std::string shown(const Value& v) {
  switch (v.type) {
    case ValueType::null:
      return "";
    case ValueType::integer:
    case ValueType::option:
    case ValueType::duration:
      return std::to_string(decode_integer(v.payload));
    case ValueType::decimal:
      return decode_decimal(v.payload).to_string();
    case ValueType::money:
      return decode_money(v.payload).amount.to_string();
    case ValueType::boolean:
      return decode_boolean(v.payload) ? "true" : "false";
    case ValueType::date:
      return format_date(decode_integer(v.payload));
    case ValueType::instant:
      return format_instant(decode_integer(v.payload));
    case ValueType::lookup:
      return to_string(decode_lookup(v.payload).id);
    default:
      return std::string(v.payload);
  }
}

Result<bool> visit_fate(const ReadContext& c, const Entity& entity, const FateRow& row,
                        const std::function<bool(Record&&)>& visit) {
  std::optional<Mutation> m;
  if (!row.content.empty()) {
    Reader r(row.content);
    BL_ASSIGN(m, get_mutation(r));
  }
  // What others wrote is none of this principal's business, and of what was merged only the outcome
  // is kept, not whose it was.
  bool own = m && m->author == c.principal.user;
  if (!own && !c.principal.admin) return true;
  uint32_t index = 0;
  for (const auto& o : row.entry.outcomes) {
    Version v;
    v.id = row.entry.id;
    v.csn = row.entry.csn;
    if (m) {
      v.hlc = m->hlc;
      v.author = m->author;
    }
    std::string name = mutation_text(row.entry.id, c.server);
    RecordKey key{entity.id, keyed_record_id({}, "fate:" + name, index++)};
    Record fate(key, kReferenceTerritory, {}, v);
    set_text(fate, entity, "mutation", name, v);
    set_text(fate, entity, "outcome", to_string(o.fate), v);
    set_text(fate, entity, "reason", to_string(o.reason), v);
    set_text(fate, entity, "explanation", explain(o.reason), v);
    std::string number = encode_integer(static_cast<int64_t>(row.entry.csn.value));
    fate.set(entity.field("csn")->id, v, {ValueType::integer, number});
    if (!o.other.is_none()) {
      set_text(fate, entity, "othermutation", mutation_text(o.other, c.server_name(o.other.origin)),
               v);
    }
    if (m) {
      std::string author = encode_lookup({entity_id::kUser, m->author});
      fate.set(entity.field("authorid")->id, v, {ValueType::lookup, author});
      std::string made = encode_integer(m->hlc.ms());
      fate.set(entity.field("madeon")->id, v, {ValueType::instant, made});
      if (o.op < m->ops.size()) {
        const RecordOp& op = m->ops[o.op];
        const Entity* target = c.schema->entity(op.record.entity);
        set_text(fate, entity, "entity", target ? target->name : "", v);
        set_text(fate, entity, "recordid", to_string(op.record.id), v);
        const Field* field = target ? target->field(o.field) : nullptr;
        if (field) set_text(fate, entity, "field", field->name, v);
        if (o.field == system_field::kTerritory) set_text(fate, entity, "field", "territoryid", v);
        for (const auto& cell : op.cells) {
          if (cell.field == o.field) set_text(fate, entity, "value", shown(cell.value), v);
        }
      }
    }
    if (!visit(std::move(fate))) return false;
  }
  return true;
}

}  // namespace

Result<void> for_each_virtual(const ReadContext& c, const Entity& entity, const Expression& filter,
                              const std::function<bool(Record&&)>& visit) {
  if (entity.id == entity_id::kAnnotation) {
    auto only = objects_named(*c.schema, filter, entity.field("objectid")->id);
    return walk_notes(
        c, only, [&](const Record& owner, const auto&, const Element& element) -> Result<bool> {
          auto note = note_record(entity, owner, element);
          return !note || visit(std::move(*note));
        });
  }
  auto rows = scan_prefix(*c.view, Table::fates, keys::fate_prefix(c.self));
  for (; rows->valid(); rows->next()) {
    auto id = keys::parse_fate(rows->key());
    if (!id) return fail(ErrorKind::corrupt, "fate.key", "a fate's key is damaged");
    BL_ASSIGN(auto row, decode_fate_row(*id, rows->value()));
    if (row.entry.outcomes.empty()) continue;
    BL_ASSIGN(bool more, visit_fate(c, entity, row, visit));
    if (!more) return {};
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  return {};
}

Result<std::optional<NotePlace>> find_note(const ReadContext& c, const RecordId& note) {
  std::optional<NotePlace> place;
  BL_TRY(walk_notes(c, {},
                    [&](const Record& owner, const keys::ParsedElement& key,
                        const Element& element) -> Result<bool> {
                      for (const auto& f : decode_row(element.value().payload)) {
                        if (f.field == annotation_field::kId &&
                            decode_lookup(f.value.payload).id == note) {
                          place = NotePlace{owner.key(), key.field, key.key};
                        }
                      }
                      return !place;
                    }));
  return place;
}

std::string mutation_text(const MutationId& id, const std::string& server) {
  return server + "." + to_hex(id.incarnation.value) + "." + std::string(to_string(id.lane)) + "." +
         std::to_string(id.seq.value);
}

std::optional<ParsedMutationText> parse_mutation_text(std::string_view text) {
  ParsedMutationText out;
  std::vector<std::string_view> parts;
  while (true) {
    size_t dot = text.find('.');
    parts.push_back(text.substr(0, dot));
    if (dot == std::string_view::npos) break;
    text.remove_prefix(dot + 1);
  }
  if (parts.size() != 4 || parts[0].empty()) return std::nullopt;
  auto incarnation = parse_hex64(parts[1]);
  if (!incarnation) return std::nullopt;
  if (parts[2] != "interactive" && parts[2] != "bulk") return std::nullopt;
  uint64_t seq = 0;
  if (parts[3].empty() || parts[3].size() > 18) return std::nullopt;
  for (char c : parts[3]) {
    if (c < '0' || c > '9') return std::nullopt;
    seq = seq * 10 + static_cast<uint64_t>(c - '0');
  }
  if (seq == 0) return std::nullopt;
  out.server = std::string(parts[0]);
  out.id.incarnation = Incarnation(*incarnation);
  out.id.lane = parts[2] == "bulk" ? Lane::bulk : Lane::interactive;
  out.id.seq = Seq(seq);
  return out;
}

}  // namespace branchline
