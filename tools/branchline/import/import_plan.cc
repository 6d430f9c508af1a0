#include "tools/branchline/import/import_plan.h"

#include <algorithm>

#include "branch/api/odata_names.h"
#include "common/config/mistakes.h"
#include "common/json/json.h"
#include "common/schema/index_key.h"
#include "tools/branchline/import/text_encoding.h"

namespace branchline::import {
namespace {

std::string json_text(const OwnedValue& value) {
  std::string out;
  append_json_value(out, value.view());
  return out;
}

// As JSON.
std::string said(const PlannedCell& cell) {
  if (!cell.map->target) return json_text(cell.value);
  std::string out;
  append_json_string(out, cell.lookup_key);
  return out;
}

// Unique fields are compared as the servers compare them: case does not count.
std::string identity(const PlannedRecord& record) {
  return record.map->key.field ? fold_case(record.key) : record.key;
}

std::string child_identity(const PlannedChild& child) {
  return child.map->collection + "\n" + identity(child.record);
}

std::string names(const std::vector<std::string>& list) {
  std::string out;
  for (const auto& n : list) out += (out.empty() ? "" : ", ") + n;
  return out;
}

}  // namespace

Result<Planner> Planner::create(const Mapping& mapping, const CsvRow& header, const Where& where) {
  auto invalid = [](std::string message) {
    return fail(ErrorKind::invalid, "csv.columns", std::move(message));
  };
  if (!header.problem.empty())
    return invalid("the first line, which names the columns, is damaged: " + header.problem);
  Planner out(mapping, header.fields.size());
  for (const auto& f : header.fields) {
    if (!is_utf8(f))
      return invalid("the column name " + visible(f) + " is not UTF-8; try --encoding auto");
    out.header_.emplace_back(trimmed(f));
  }
  std::vector<std::string> missing;
  for (const auto& column : mapping.columns) {
    auto at = std::find(out.header_.begin(), out.header_.end(), column);
    if (at == out.header_.end()) {
      missing.push_back(column);
      continue;
    }
    if (std::find(at + 1, out.header_.end(), column) != out.header_.end()) {
      return invalid("the file has two columns named " + quoted(column) + "; rename one");
    }
    out.binding_.push_back(static_cast<size_t>(at - out.header_.begin()));
  }
  if (!missing.empty()) {
    return invalid("the file lacks columns that the mapping uses: " + names(missing) +
                   "\nit has: " + names(out.header_) +
                   (out.header_.size() == 1 ? "\nIs --delimiter right?" : ""));
  }
  for (const auto& [name, value] : where) {
    auto same = [&](const std::string& h) { return fold_case(h) == fold_case(name); };
    auto at = std::find_if(out.header_.begin(), out.header_.end(), same);
    if (at == out.header_.end())
      return invalid("--where: the file has no column " + quoted(name) +
                     "\nit has: " + names(out.header_));
    out.where_.emplace_back(static_cast<size_t>(at - out.header_.begin()), value);
  }
  out.plan_.steps.resize(mapping.records.size());
  out.by_key_.resize(mapping.records.size());
  out.child_by_key_.resize(mapping.records.size());
  return out;
}

bool Planner::wanted(const CsvRow& row) const {
  return std::all_of(where_.begin(), where_.end(), [&](const auto& w) {
    // A row that is too short to tell is kept, so that it is reported.
    return w.first >= row.fields.size() || trimmed(row.fields[w.first]) == w.second;
  });
}

std::string_view Planner::cell(size_t mapping_column) const {
  return trimmed(row_->fields[binding_[mapping_column]]);
}

void Planner::add(CsvRow row) {
  ++plan_.rows_read;
  if (!wanted(row)) return;
  auto index = static_cast<uint32_t>(plan_.rows.size());
  Problems problems;
  if (!row.problem.empty()) {
    size_t at = row.problem_field;
    std::string column = at > 0 && at <= header_.size() ? header_[at - 1] : "";
    std::string value = at > 0 && at <= row.fields.size() ? row.fields[at - 1] : "";
    problems.push_back({column, value, row.problem});
  } else if (row.fields.size() != columns_) {
    problems.push_back({"", "",
                        "the row has " + std::to_string(row.fields.size()) +
                            " fields, the header " + std::to_string(columns_)});
  }
  for (size_t i = 0; problems.empty() && i < row.fields.size(); ++i) {
    if (!is_utf8(row.fields[i])) {
      problems.push_back(
          {header_[i], row.fields[i], "not UTF-8; if the file is Latin-1, say --encoding latin-1"});
    }
  }
  std::vector<PlannedMutation> made;
  std::vector<Repeat> repeats;
  if (problems.empty()) {
    row_ = &row;
    for (const auto& map : mapping_.records) {
      PlannedMutation& m = made.emplace_back();
      m.rows.push_back(index);
      m.record.row = index;
      if (!record_of(map, m.record, problems)) {
        problems.push_back({mapping_.columns[map.key.text.columns()[0]], "",
                            "the key of " + map.set + " is empty here"});
      }
      for (const auto& child : map.children) {
        PlannedChild c;
        c.map = &child;
        c.record.row = index;
        if (record_of(child.record, c.record, problems)) m.children.push_back(std::move(c));
      }
    }
    row_ = nullptr;
    if (problems.empty()) check_repeats(made, repeats, problems);
  }
  plan_.rows.push_back({row.number, row.line, std::move(row.fields)});
  if (!problems.empty()) {
    reject(index, std::move(problems));
    return;
  }
  plan_.repeat_count += repeats.size();
  for (auto& r : repeats) {
    r.other_row = plan_.rows[index].number;
    if (plan_.repeats.size() < Plan::kMaxRepeats) plan_.repeats.push_back(std::move(r));
  }
  for (size_t step = 0; step < made.size(); ++step) merge(step, std::move(made[step]));
}

Planner::Problem Planner::problem_of(const FieldMap& map, std::string value, std::string reason) {
  return {map.column, std::move(value), std::move(reason)};
}

// False where the key is empty: the row says nothing of this record.
bool Planner::record_of(const RecordMap& map, PlannedRecord& out, Problems& problems) const {
  auto text = [this](size_t column) { return cell(column); };
  if (map.key.text.empty(text)) return false;
  out.map = &map;
  out.key = map.key.text.fill(text);
  if (map.key.field) {
    auto value = convert(*map.key.field, {}, out.key);
    if (!value) {
      problems.push_back(
          {mapping_.columns[map.key.text.columns()[0]], out.key, value.error().message});
    } else {
      out.key_value = std::move(*value);
    }
  }
  if (map.territory) out.territory = fold_case(map.territory->fill(text));
  for (const auto& f : map.fields) cell_of(f, out, problems);
  return true;
}

void Planner::cell_of(const FieldMap& map, PlannedRecord& out, Problems& problems) const {
  auto text = [this](size_t column) { return cell(column); };
  PlannedCell made;
  made.map = &map;
  if (map.formula) {
    std::string first = map.formula->columns().empty()
                            ? std::string()
                            : std::string(cell(map.formula->columns()[0]));
    if (!has_inputs(*map.formula, out)) {
      if (map.conversion.required || map.field->required) {
        problems.push_back(problem_of(
            map, first, map.field->name + " is required, and its formula lacks a value here"));
      }
      return;
    }
    auto value = calculate(map, out);
    if (!value) {
      problems.push_back(problem_of(map, first, value.error().message));
      return;
    }
    made.value = std::move(*value);
  } else {
    std::string written = map.text.empty(text) ? "" : map.text.fill(text);
    if (map.target) {
      if (written.empty() && (map.conversion.required || map.field->required)) {
        problems.push_back(
            problem_of(map, "", map.field->name + " is required, and there is nothing here"));
      }
      if (written.empty()) return;
      made.lookup_key = std::move(written);
      out.cells.push_back(std::move(made));
      return;
    }
    auto value = convert(*map.field, map.conversion, written);
    if (!value) {
      problems.push_back(problem_of(map, written, value.error().message));
      return;
    }
    made.value = std::move(*value);
  }
  if (made.value.type != ValueType::null) out.cells.push_back(std::move(made));
}

// An empty cell says nothing; then neither does a formula that needs it.
bool Planner::has_inputs(const Formula& formula, const PlannedRecord& record) const {
  auto filled = [this](size_t column) { return !cell(column).empty(); };
  auto known = [&](const std::string& name) {
    return std::any_of(record.cells.begin(), record.cells.end(),
                       [&](const PlannedCell& c) { return c.map->field->name == name; });
  };
  return std::all_of(formula.columns().begin(), formula.columns().end(), filled) &&
         std::all_of(formula.fields().begin(), formula.fields().end(), known);
}

Result<OwnedValue> Planner::calculate(const FieldMap& map, const PlannedRecord& record) const {
  Formula::Inputs inputs;
  inputs.column = [&](size_t column) -> Result<Decimal> {
    std::string written(cell(column));
    std::replace(written.begin(), written.end(), map.conversion.decimal_mark, '.');
    if (auto value = Decimal::parse(written)) return *value;
    return fail(ErrorKind::invalid, "value.type",
                mapping_.columns[column] + ": " + quoted(written) + " is no number");
  };
  inputs.field = [&](const std::string& name) -> Result<Decimal> {
    for (const auto& c : record.cells) {
      if (c.map->field->name != name) continue;
      if (c.value.type == ValueType::money) return decode_money(c.value.payload).amount;
      if (c.value.type == ValueType::decimal) return decode_decimal(c.value.payload);
      return Decimal(decode_integer(c.value.payload), 0);
    }
    return fail(ErrorKind::invalid, "value.type", name + " has no value here");
  };
  BL_ASSIGN(Decimal number, map.formula->evaluate(inputs));
  if (map.scale >= 0) {
    auto rounded = number.rounded(map.scale);
    if (!rounded)
      return fail(ErrorKind::invalid, "value.range", "the formula's result is too large");
    number = *rounded;
  }
  return value_from_text(*map.field, number.to_string());
}

void Planner::reject(uint32_t row, Problems problems) {
  // A row stands once in the error file, with the place of its first problem and all of them told.
  Rejection r{row, problems[0].column, problems[0].value, problems[0].reason};
  for (size_t i = 1; i < problems.size(); ++i) {
    // The same cell may feed several fields.
    if (r.reason.find(problems[i].reason) != std::string::npos) continue;
    r.reason +=
        "; " + (problems[i].column.empty() ? "" : problems[i].column + ": ") + problems[i].reason;
  }
  plan_.rejections.push_back(std::move(r));
}

void Planner::check_repeat(const PlannedRecord& kept, const PlannedRecord& other,
                           std::vector<Repeat>& found) const {
  if (other.map->repeated == Repeated::first) return;
  auto tell = [&](const std::string& field, std::string a, std::string b) {
    found.push_back({kept.map->set, kept.key, field, plan_.rows[kept.row].number, 0, std::move(a),
                     std::move(b)});
  };
  // What one of them leaves empty does not contradict the other.
  for (const auto& b : other.cells) {
    for (const auto& a : kept.cells) {
      if (a.map != b.map || said(a) == said(b)) continue;
      tell(a.map->field->name, said(a), said(b));
      return;
    }
  }
}

void Planner::check_repeats(const std::vector<PlannedMutation>& made, std::vector<Repeat>& reported,
                            Problems& problems) const {
  auto judge = [&](const PlannedRecord& kept, const PlannedRecord& other) {
    size_t before = reported.size();
    check_repeat(kept, other, reported);
    if (reported.size() == before || other.map->repeated != Repeated::reject) return;
    Repeat r = reported.back();
    reported.pop_back();
    problems.push_back({mapping_.columns[other.map->key.text.columns()[0]], other.key,
                        "row " + std::to_string(r.kept_row) + " has the same key in " + r.set +
                            ", but another " + r.field + ": " + r.kept});
  };
  for (size_t step = 0; step < made.size(); ++step) {
    auto at = by_key_[step].find(identity(made[step].record));
    if (at == by_key_[step].end()) continue;
    const PlannedMutation& group = plan_.steps[step][at->second];
    judge(group.record, made[step].record);
    for (const auto& child : made[step].children) {
      const auto& held = child_by_key_[step][at->second];
      auto same = held.find(child_identity(child));
      if (same != held.end()) judge(group.children[same->second].record, child.record);
    }
  }
}

void Planner::merge(size_t step, PlannedMutation made) {
  auto [at, fresh] = by_key_[step].emplace(identity(made.record), plan_.steps[step].size());
  if (fresh) {
    PlannedMutation& m = plan_.steps[step].emplace_back();
    m.record = std::move(made.record);
    child_by_key_[step].emplace_back();
  }
  PlannedMutation& group = plan_.steps[step][at->second];
  group.rows.push_back(made.rows[0]);
  for (auto& child : made.children) {
    if (child_by_key_[step][at->second]
            .emplace(child_identity(child), group.children.size())
            .second) {
      group.children.push_back(std::move(child));
    }
  }
}

Plan Planner::finish() {
  by_key_.clear();
  child_by_key_.clear();
  return std::move(plan_);
}

}  // namespace branchline::import
