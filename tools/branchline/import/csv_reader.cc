#include "tools/branchline/import/csv_reader.h"

#include <algorithm>

namespace branchline::import {
namespace {

constexpr const char* kUnclosed = "a quote is opened here and not closed before the file ends";
constexpr const char* kTooLong = "the field is too long; is a quote not closed?";
constexpr const char* kBehindQuote =
    "text follows the closing quote; write a quote within a quoted field twice";
constexpr const char* kNul = "the field contains a NUL character";

bool is_line_end(char c) { return c == '\n' || c == '\r'; }

}  // namespace

CsvReader::CsvReader(std::string_view text, Options options) : text_(text), options_(options) {}

// Consumes a delimiter or one line end; a field ends nowhere else.
CsvReader::Stop CsvReader::stop_here() {
  if (at_ >= text_.size()) return Stop::end;
  if (text_[at_] == options_.delimiter) {
    ++at_;
    return Stop::delimiter;
  }
  bool crlf = text_[at_] == '\r' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n';
  at_ += crlf ? 2 : 1;
  ++line_;
  return Stop::line;
}

CsvReader::Field CsvReader::field() {
  if (at_ < text_.size() && text_[at_] == '"') return quoted_field();
  Field out;
  size_t begin = at_;
  while (at_ < text_.size() && text_[at_] != options_.delimiter && !is_line_end(text_[at_])) ++at_;
  std::string_view plain = text_.substr(begin, at_ - begin);
  if (plain.size() > options_.max_field_bytes) {
    out.problem = kTooLong;
  } else {
    out.text = plain;
    if (plain.find('\0') != plain.npos) out.problem = kNul;
  }
  out.stop = stop_here();
  return out;
}

CsvReader::Field CsvReader::quoted_field() {
  Field out;
  ++at_;
  for (;;) {
    size_t quote = text_.find('"', at_);
    size_t end = std::min(quote, text_.size());
    if (out.text.size() + (end - at_) > options_.max_field_bytes) {
      out.problem = kTooLong;
      return out;
    }
    out.text.append(text_.substr(at_, end - at_));
    count_line(at_);
    if (quote == text_.npos) {
      out.problem = kUnclosed;
      return out;
    }
    at_ = quote + 1;
    if (at_ >= text_.size() || text_[at_] != '"') break;
    out.text.push_back('"');
    ++at_;
  }
  if (at_ < text_.size() && text_[at_] != options_.delimiter && !is_line_end(text_[at_])) {
    out.problem = kBehindQuote;
    return out;
  }
  if (out.text.find('\0') != out.text.npos) out.problem = kNul;
  out.stop = stop_here();
  return out;
}

// Line ends within a quoted piece: from `from` to the next quote.
void CsvReader::count_line(size_t from) {
  size_t end = std::min(text_.find('"', from), text_.size());
  for (size_t i = from; i < end; ++i) {
    bool crlf = text_[i] == '\r' && i + 1 < text_.size() && text_[i + 1] == '\n';
    if (is_line_end(text_[i]) && !crlf) ++line_;
  }
}

CsvRow CsvReader::first_line_only(size_t begin, size_t line, const char* problem, size_t place) {
  CsvRow row;
  row.number = row_;
  row.line = line;
  row.problem = problem;
  row.problem_field = place;
  size_t end = begin;
  while (end < text_.size() && !is_line_end(text_[end])) ++end;
  // Quotes cannot be trusted in this line: its fields are what stands between the delimiters.
  std::string_view rest = text_.substr(begin, std::min(end - begin, options_.max_field_bytes));
  while (row.fields.size() < options_.max_fields) {
    size_t comma = rest.find(options_.delimiter);
    row.fields.emplace_back(rest.substr(0, comma));
    if (comma == rest.npos) break;
    rest.remove_prefix(comma + 1);
  }
  at_ = end;
  line_ = line;
  if (at_ < text_.size()) stop_here();
  return row;
}

std::optional<CsvRow> CsvReader::next() {
  while (at_ < text_.size()) {
    ++row_;
    if (is_line_end(text_[at_])) {
      stop_here();
      continue;
    }
    size_t begin = at_, line = line_;
    CsvRow row;
    row.number = row_;
    row.line = line;
    for (Stop stop = Stop::delimiter; stop == Stop::delimiter;) {
      Field f = field();
      if (f.problem == kUnclosed || f.problem == kTooLong || f.problem == kBehindQuote) {
        return first_line_only(begin, line, f.problem, row.fields.size() + 1);
      }
      row.fields.push_back(std::move(f.text));
      stop = f.stop;
      if (f.problem && row.problem.empty()) {
        row.problem = f.problem;
        row.problem_field = row.fields.size();
      }
      if (row.fields.size() > options_.max_fields) {
        return first_line_only(begin, line, "the row has too many fields; is --delimiter right?",
                               0);
      }
    }
    return row;
  }
  return std::nullopt;
}

std::string csv_line(const std::vector<std::string>& fields, char delimiter) {
  std::string out;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) out.push_back(delimiter);
    const std::string& f = fields[i];
    bool plain = f.find_first_of(std::string("\"\r\n") + delimiter) == f.npos;
    // A first field that is empty would make a blank line of a row of one field.
    if (plain && !(f.empty() && fields.size() == 1)) {
      out += f;
      continue;
    }
    out.push_back('"');
    for (char c : f) {
      if (c == '"') out.push_back('"');
      out.push_back(c);
    }
    out.push_back('"');
  }
  return out + "\r\n";
}

}  // namespace branchline::import
