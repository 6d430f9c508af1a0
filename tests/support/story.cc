#include "tests/support/story.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "replication/merge/companions.h"

namespace branchline::story {
namespace {

[[noreturn]] void wrong(const std::string& what) { throw std::runtime_error("story: " + what); }

std::string field_name(const Entity& entity, FieldId id) {
  if (const Field* f = entity.field(id)) return f->name;
  if (id == system_field::kRevivedOn) return "revivedon";
  if (id == system_field::kTerritory) return "territory";
  if (id == system_field::kDuplicateOf) return "duplicateof";
  if (id == system_field::kMergedFrom) return "mergedfrom";
  return std::to_string(id.value);
}

}  // namespace

std::vector<std::string> words(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> out;
  for (std::string w; in >> w;) out.push_back(w);
  return out;
}

RecordKey Names::key(const std::string& name, const std::string& entity) {
  auto at = records_.find(name);
  if (at != records_.end()) return at->second;
  const Entity* e = schema_->entity(entity);
  if (!e) wrong("no record named `" + name + "` and no entity `" + entity + "`");
  RecordKey key{e->id, {}};
  key.id.bytes[0] = 1;
  size_t number = records_.size() + 1;
  for (size_t i = 15; i > 11; --i, number >>= 8) key.id.bytes[i] = static_cast<uint8_t>(number);
  return records_[name] = key;
}

std::string Names::name_of(const RecordKey& key) const {
  for (const auto& [name, k] : records_) {
    if (k == key) return name;
  }
  return to_string(key.id);
}

Value Names::value(const Field& field, const std::string& text, Arena& arena) {
  if (text.empty()) return {};
  auto keep = [&](const std::string& payload) { return Value{field.type, arena.copy(payload)}; };
  switch (field.type) {
    case ValueType::integer:
    case ValueType::option:
      return keep(encode_integer(std::stoll(text)));
    case ValueType::decimal:
      return keep(encode_decimal(*Decimal::parse(text)));
    case ValueType::money:
      return keep(encode_money({*Decimal::parse(text), {'U', 'S', 'D'}, 0}));
    case ValueType::boolean:
      return keep(encode_boolean(text == "true"));
    case ValueType::date:
      return keep(encode_integer(*parse_date(text)));
    case ValueType::instant:
      return keep(encode_integer(*parse_instant(text)));
    case ValueType::row:
      return keep(encode_row({{annotation_field::kText, {ValueType::text, text}}}));
    case ValueType::lookup: {
      RecordKey k = key(text);
      return keep(encode_lookup({k.entity, k.id}));
    }
    default:
      return keep(text);
  }
}

std::string Names::text(const Value& v) const {
  switch (v.type) {
    case ValueType::null:
      return "";
    case ValueType::integer:
    case ValueType::option:
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
    case ValueType::row: {
      auto fields = decode_row(v.payload);
      return fields.empty() ? "" : text(fields.back().value);
    }
    case ValueType::lookup: {
      Lookup l = decode_lookup(v.payload);
      return name_of({l.entity, l.id});
    }
    default:
      return std::string(v.payload);
  }
}

void Names::cell(RecordOp& op, const std::string& word, Workspace& view, Arena& arena,
                 uint32_t& element_index) {
  size_t equals = word.find('=');
  if (equals == std::string::npos) wrong("`" + word + "` is no field");
  char sign = equals > 0 ? word[equals - 1] : ' ';
  bool plain = sign != '+' && sign != '-' && sign != '!' && sign != '<';
  const Entity& entity = *schema_->entity(op.record.entity);
  std::string name = word.substr(0, plain ? equals : equals - 1);
  std::string holder;
  if (size_t to = name.find('>'); to != std::string::npos) {
    holder = name.substr(to + 1);
    name = name.substr(0, to);
  }
  const Field* field = entity.field(name);
  if (!field) wrong("no field `" + name + "`");
  std::string given = word.substr(equals + 1);
  CellOp c{field->id, CellOpKind::set, {}, {}};
  if (sign == '-' && field->is_collection()) {
    auto all = view.elements(op.record, field->id);
    for (const auto& [key, element] : *all) {
      if (text(element.value()) == given)
        op.cells.push_back({field->id, CellOpKind::remove, {}, key.key});
    }
    return;
  }
  bool escrow = field->policy == Policy::escrow;
  if (sign == '-' && !escrow) given = "-" + given;
  c.value = value(*field, given, arena);
  if (sign == '!') c.kind = CellOpKind::correct;
  if (sign == '-' || (sign == '+' && !field->is_collection())) c.kind = CellOpKind::add;
  if (escrow && sign == '-') c.kind = CellOpKind::spend;
  if (sign == '<') c.kind = CellOpKind::give_back;
  if (!holder.empty()) {
    if (sign != '<') c.kind = CellOpKind::grant;
    c.key.mutation.origin = OriginId(static_cast<uint16_t>(std::stoul(holder)));
    c.key.mutation.incarnation = Incarnation(std::stoul(holder) * 100);
  }
  if (sign == '+' && field->is_collection()) {
    c.kind = field->policy == Policy::set ? CellOpKind::insert : CellOpKind::append;
    c.key.index = element_index++;
  }
  op.cells.push_back(c);
}

RecordOp Names::parse(const std::string& line, Workspace& view, Arena& arena,
                      uint32_t& element_index) {
  auto w = words(line);
  if (w.size() < 2) wrong("`" + line + "` is no operation");
  RecordOp op;
  size_t next = 2;
  if (w[0] == "create") {
    op.kind = RecordOpKind::create;
    op.record = key(w.at(2), w[1]);
    for (next = 3; next < w.size() && w[next][0] == '@'; ++next) {
      auto t = territories_.find(w[next].substr(1));
      if (t == territories_.end()) wrong("no territory `" + w[next] + "`");
      if (op.territory == kNoTerritory) {
        op.territory = t->second;
      } else {
        op.also_in.push_back(t->second);
      }
    }
  } else if (w[0] == "move") {
    op.kind = RecordOpKind::move;
    op.record = key(w[1]);
    for (; next < w.size() && w[next][0] == '@'; ++next) {
      TerritoryId t = territories_.at(w[next].substr(1));
      if (op.territory == kNoTerritory) {
        op.territory = t;
      } else {
        op.also_in.push_back(t);
      }
    }
  } else if (w[0] == "update") {
    op.kind = RecordOpKind::update;
    op.record = key(w[1]);
  } else if (w[0] == "delete") {
    op.kind = RecordOpKind::remove;
    op.record = key(w[1]);
  } else if (w[0] == "merge") {
    op.kind = RecordOpKind::merge;
    op.record = key(w[1]);
    op.target = key(w.at(2)).id;
    next = 3;
  } else {
    wrong("`" + w[0] + "` is no operation");
  }
  for (; next < w.size(); ++next) cell(op, w[next], view, arena, element_index);
  return op;
}

Guard Names::guard(const std::string& given, Arena& arena) {
  size_t dot = given.find('.'), equals = given.find('=');
  if (dot == std::string::npos || equals == std::string::npos || equals < dot)
    wrong("`" + given + "` is no guard");
  Guard g;
  g.record = key(given.substr(0, dot));
  const Field* field =
      schema_->entity(g.record.entity)->field(given.substr(dot + 1, equals - dot - 1));
  if (!field) wrong("no field in guard `" + given + "`");
  g.field = field->id;
  g.expected = value(*field, given.substr(equals + 1), arena);
  return g;
}

std::vector<RecordOp> Names::parse_all(const std::string& lines, Workspace& view, Arena& arena) {
  std::vector<RecordOp> ops;
  uint32_t element_index = 0;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line, ';');)
    ops.push_back(parse(line, view, arena, element_index));
  return ops;
}

std::string Names::contenders(Workspace& view, const RecordKey& record, const Field& field) {
  const Entity& conflict = *schema_->entity(entity_id::kConflict);
  auto all = view.elements(conflict_key(record, field.id), conflict.field("contenders")->id);
  std::vector<std::string> shown;
  for (const auto& [key, element] : *all) shown.push_back(text(element.value()));
  std::sort(shown.begin(), shown.end());
  std::string out;
  for (const auto& s : shown) out += (out.empty() ? "?{" : ",") + s;
  return out.empty() ? out : out + "}";
}

std::string Names::show(Workspace& view, const std::string& name) {
  RecordKey k = key(name);
  auto found = view.find(k);
  if (!found) return found.error().message;
  if (found->held == Held::not_held) return "not held";
  if (!found->record) return "absent";
  const Record& record = *found->record;
  const Entity& entity = *schema_->entity(k.entity);
  std::string out = record.live()                              ? "live:"
                    : record.state() == RecordState::tombstone ? "deleted:"
                                                               : "redirect:";
  if (record.state() == RecordState::redirect)
    return out + " " + name_of({k.entity, record.target()});
  for (const Cell& c : record.cells()) {
    const Field* field = entity.field(c.field);
    if (c.field == system_field::kMergedFrom || c.field == system_field::kMovedFrom) continue;
    if (field && field->is_collection()) continue;
    out += " " + field_name(entity, c.field) + "=" + text(record.value(c));
    if (field && field->policy == Policy::ask) out += contenders(view, k, *field);
    if (field && field->policy == Policy::escrow) {
      auto shares = shares_of(view, k, *field);
      for (size_t i = 0; i < shares->size(); ++i) {
        const Share& s = (*shares)[i];
        out += (i == 0 ? "{" : ",") + std::to_string(s.origin.value) + ":" + s.amount.to_string();
      }
      if (!shares->empty()) out += "}";
    }
  }
  for (const Field& field : entity.fields) {
    if (!field.is_collection()) continue;
    auto all = view.elements(k, field.id);
    if (all->empty()) continue;
    // A timeline is ordered by csn, what is pending last; a set by value.
    std::vector<std::pair<uint64_t, std::string>> shown;
    for (const auto& [key_of, element] : *all) {
      uint64_t csn = element.version.csn.value == 0 ? ~0ull : element.version.csn.value;
      shown.emplace_back(field.policy == Policy::append ? csn : 0, text(element.value()));
    }
    std::sort(shown.begin(), shown.end());
    out += " " + field.name + "={";
    for (const auto& [order, t] : shown) out += (out.back() == '{' ? "" : ",") + t;
    out += "}";
  }
  return out;
}

std::string Names::where(Workspace& view, const std::string& name) {
  auto found = view.find(key(name));
  if (!found || !found->record) return "";
  std::vector<TerritoryId> all{found->record->territory()};
  all.insert(all.end(), found->record->also_in().begin(), found->record->also_in().end());
  std::string out;
  for (TerritoryId t : all) {
    for (const auto& [n, id] : territories_) {
      if (id == t) out += (out.empty() ? "" : " ") + n;
    }
  }
  return out;
}

std::string Names::verdict(Fate fate, const std::vector<Outcome>& outcomes,
                           const std::vector<RecordOp>& ops) const {
  std::string out(to_string(fate));
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& o = outcomes[i];
    out += i == 0 ? ": " : ", ";
    if (o.op > 0) out += "#" + std::to_string(o.op) + " ";
    if (o.field.value != 0) {
      const Entity* entity = o.op < ops.size() ? schema_->entity(ops[o.op].record.entity) : nullptr;
      out += (entity ? field_name(*entity, o.field) : std::to_string(o.field.value)) + " ";
    }
    out += to_string(o.reason);
  }
  return out;
}

}  // namespace branchline::story
