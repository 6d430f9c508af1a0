#include "branch/api/odata_json.h"

#include <algorithm>

#include "branch/api/odata_names.h"
#include "branch/crm/etag.h"
#include "branch/crm/virtual_sets.h"
#include "common/base/limits.h"
#include "replication/merge/workspace.h"

namespace branchline {
namespace {

void append_key(std::string& out, std::string_view name) {
  out.push_back('"');
  out.append(name);
  out += "\":";
}

class RecordWriter {
 public:
  RecordWriter(std::string& out, const ReadContext& read, const Entity& entity,
               const Record& record, const JsonOptions& options)
      : out_(out), read_(read), entity_(entity), record_(record), options_(options) {}

  Result<void> all() {
    comma();
    append_key(out_, entity_.primary_key);
    out_.push_back('"');
    append_uuid(record_.key().id, out_);
    out_.push_back('"');
    for (const auto& f : entity_.fields) BL_TRY(field(f));
    for (const char* name : {"createdon", "_createdby_value", "modifiedon", "_modifiedby_value",
                             "_territoryid_value"}) {
      auto c = column_named(entity_, name);
      BL_TRY(column(*c));
    }
    if (!record_.also_in().empty()) {
      comma();
      append_key(out_, "_alsointerritories_value");
      out_.push_back('[');
      for (size_t i = 0; i < record_.also_in().size(); ++i) {
        out_ += i == 0 ? "\"" : ",\"";
        append_uuid(options_.territory_id(record_.also_in()[i]), out_);
        out_.push_back('"');
      }
      out_.push_back(']');
    }
    for (const char* name : {"branchline_revivedon", "_branchline_duplicateof_value"}) {
      auto c = column_named(entity_, name);
      if (record_.find(c->id)) BL_TRY(column(*c));
    }
    return {};
  }

  Result<void> column(const Column& c) {
    if (c.field) return field(*c.field);
    comma();
    append_key(out_, c.name);
    if (c.kind == Column::Kind::system && c.id == system_field::kTerritory) {
      out_.push_back('"');
      append_uuid(options_.territory_id(record_.territory()), out_);
      out_.push_back('"');
      return {};
    }
    append_json_value(out_, column_value(record_, c, scratch_));
    return {};
  }

  Result<void> field(const Field& f) {
    if (f.policy == Policy::append) {
      // A timeline is read by its own set; a conflict is nothing without its contenders.
      return entity_.id == entity_id::kConflict ? contenders(f) : Result<void>{};
    }
    if (f.policy == Policy::set) {
      comma();
      append_key(out_, f.name);
      BL_ASSIGN(auto values, read_set(read_, record_, f.id));
      out_.push_back('[');
      for (size_t i = 0; i < values.size(); ++i) {
        if (i) out_.push_back(',');
        append_json_string(out_, values[i]);
      }
      out_.push_back(']');
      return {};
    }
    Value v = effective_value(record_, &f, f.id, scratch_);
    comma();
    if (f.type == ValueType::lookup) {
      out_ += "\"_";
      out_ += f.name;
      out_ += "_value\":";
    } else {
      append_key(out_, f.name);
    }
    append_json_value(out_, v);
    if (options_.annotations && !v.is_null()) return annotate(f, v);
    return {};
  }

 private:
  void comma() { out_.push_back(','); }

  // What was asked for, by whom, when and where; the values under the names of their fields.
  Result<void> contenders(const Field& f) {
    comma();
    append_key(out_, f.name);
    out_.push_back('[');
    Value object = record_.value(entity_.field("objectid")->id);
    const Entity* about =
        object.is_null() ? nullptr : read_.schema->entity(decode_lookup(object.payload).entity);
    const Field* field =
        about ? about->field(record_.value(entity_.field("fieldname")->id).payload) : nullptr;
    std::vector<const Field*> fields;
    if (field && field->group != 0) {
      fields = about->group_fields(field->group);
    } else if (field) {
      fields.push_back(field);
    }
    auto cursor = scan_prefix(*read_.view, Table::elements,
                              keys::element_prefix(read_.side, record_.key(), f.id));
    for (bool first = true; cursor->valid(); cursor->next(), first = false) {
      BL_ASSIGN(auto element, decode_element(cursor->value()));
      if (!first) comma();
      contender(element, fields);
    }
    if (auto e = cursor->error()) return std::unexpected(*e);
    out_.push_back(']');
    return {};
  }

  void contender(const Element& element, const std::vector<const Field*>& fields) {
    const Version& v = element.version;
    auto row = decode_row(element.value().payload);
    out_.push_back('{');
    for (const Field* f : fields) {
      auto at =
          std::find_if(row.begin(), row.end(), [&](const RowField& r) { return r.field == f->id; });
      append_key(out_, property_of(*f));
      append_json_value(out_, at == row.end() ? Value{} : at->value);
      comma();
    }
    append_key(out_, "_authorid_value");
    if (v.author.is_nil()) {
      out_ += "null";
    } else {
      append_json_string(out_, to_string(v.author));
    }
    comma();
    append_key(out_, "madeon");
    append_json_string(out_, format_instant(v.hlc.ms()));
    std::string office = v.id.origin == read_.self ? read_.server : read_.server_name(v.id.origin);
    comma();
    append_key(out_, "office");
    append_json_string(out_, office);
    comma();
    append_key(out_, "mutation");
    append_json_string(out_, mutation_text(v.id, office));
    out_.push_back('}');
  }

  Result<void> annotate(const Field& f, const Value& v) {
    auto annotation = [&](const char* name, std::string_view text) {
      comma();
      append_key(out_, property_of(f) + "@" + name);
      append_json_string(out_, text);
    };
    constexpr const char* kFormatted = "OData.Community.Display.V1.FormattedValue";
    if (f.type == ValueType::option) {
      int64_t number = decode_integer(v.payload);
      for (const auto& o : f.options) {
        if (o.value == number) annotation(kFormatted, o.label);
      }
    } else if (f.type == ValueType::boolean) {
      annotation(kFormatted, decode_boolean(v.payload) ? "Yes" : "No");
    } else if (f.type == ValueType::lookup) {
      Lookup l = decode_lookup(v.payload);
      const Entity* target = read_.schema->entity(l.entity);
      if (!target) return {};
      annotation("Microsoft.Dynamics.CRM.lookuplogicalname", target->name);
      BL_ASSIGN(auto other, read_record(read_, {l.entity, l.id}));
      if (other) annotation(kFormatted, other->value(target->primary_name).payload);
    }
    return {};
  }

  std::string& out_;
  const ReadContext& read_;
  const Entity& entity_;
  const Record& record_;
  const JsonOptions& options_;
  std::string scratch_;
};

Result<void> append_expansion(std::string& out, const ReadContext& read, const Record& record,
                              const ExpandOption& e, const JsonOptions& options) {
  out.push_back(',');
  append_key(out, e.name);
  if (e.lookup) {
    Value v = record.value(e.lookup->id);
    std::optional<Record> other;
    if (!v.is_null()) {
      Lookup l = decode_lookup(v.payload);
      if (e.target.value == 0 || e.target == l.entity) {
        BL_ASSIGN(other, read_record(read, {l.entity, l.id}));
      }
    }
    if (!other) {
      out += "null";
      return {};
    }
    return append_record(out, read, *read.schema->entity(other->key().entity), *other, e.select, {},
                         options, {});
  }
  const Entity& child = *read.schema->entity(e.collection->entity);
  Query q;
  q.entity = &child;
  Expression of_parent;
  of_parent.kind = Expression::Kind::equal;
  of_parent.column.field = child.field(e.collection->field);
  of_parent.column.id = e.collection->field;
  of_parent.column.type = ValueType::lookup;
  of_parent.values.push_back(
      {ValueType::lookup, encode_lookup({record.key().entity, record.key().id})});
  if (e.filter) {
    q.filter.kind = Expression::Kind::all_of;
    q.filter.operands = {of_parent, *e.filter};
  } else {
    q.filter = of_parent;
  }
  q.filter.finish();
  q.order = e.order;
  q.top = e.top;
  q.page_size = limits::kMaxExpandedRows;
  BL_ASSIGN(QueryResult rows, run_query(read, q));
  out.push_back('[');
  for (size_t i = 0; i < rows.records.size(); ++i) {
    if (i) out.push_back(',');
    BL_TRY(append_record(out, read, child, rows.records[i], e.select, {}, options, {}));
    if (out.size() > limits::kMaxAnswerBytes) return {};  // the caller refuses it
  }
  out.push_back(']');
  if (!rows.continue_at.empty() && !e.top) {
    out.push_back(',');
    append_key(out, e.name + "@odata.nextLink");
    const Entity& parent = *read.schema->entity(record.key().entity);
    std::string link =
        options.root + parent.set_name + "(" + to_string(record.key().id) + ")/" + e.name + "?";
    for (const auto& [name, value] : e.parameters)
      link += percent_encode(name) + "=" + percent_encode(value) + "&";
    append_json_string(out, link + "$skiptoken=" + hex(rows.continue_at));
  }
  return {};
}

}  // namespace

Result<void> append_record(std::string& out, const ReadContext& read, const Entity& entity,
                           const Record& record, const std::vector<Column>& select,
                           const std::vector<ExpandOption>& expand, const JsonOptions& options,
                           std::string_view context) {
  out.push_back('{');
  if (!context.empty()) {
    out += "\"@odata.context\":";
    append_json_string(out, context);
    out.push_back(',');
  }
  out += "\"@odata.etag\":\"W/\\\"";
  out += to_hex(etag_of(record, entity));
  out += "\\\"\"";
  RecordWriter writer(out, read, entity, record, options);
  if (select.empty()) {
    BL_TRY(writer.all());
  } else {
    bool key = std::any_of(select.begin(), select.end(),
                           [](const Column& c) { return c.kind == Column::Kind::id; });
    for (const auto& c : select) BL_TRY(writer.column(c));
    if (!key) {  // clients need it to address what they got
      out += ",\"" + entity.primary_key + "\":\"";
      append_uuid(record.key().id, out);
      out.push_back('"');
    }
  }
  for (const auto& e : expand) BL_TRY(append_expansion(out, read, record, e, options));
  out.push_back('}');
  return {};
}

}  // namespace branchline
