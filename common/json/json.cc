#include "common/json/json.h"

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/error.hpp>

#include <set>

namespace branchline {
namespace {

namespace json = boost::json;

// Boost.JSON does the lexing; this builds the tree and keeps the numbers' text.
class Handler {
 public:
  static constexpr size_t max_object_size = 100'000;
  static constexpr size_t max_array_size = 100'000;
  static constexpr size_t max_key_size = 1024;
  static constexpr size_t max_string_size = 16 * 1024 * 1024;

  Json root;
  std::string problem;

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) { return open(Json::Kind::object); }
  bool on_object_end(std::size_t, json::error_code& ec) {
    std::set<std::string_view> seen;
    for (const auto& [name, value] : stack_.back()->members) {
      if (!seen.insert(name).second) return refuse(ec, "the key \"" + name + "\" stands twice");
    }
    return close();
  }
  bool on_array_begin(json::error_code&) { return open(Json::Kind::array); }
  bool on_array_end(std::size_t, json::error_code&) { return close(); }
  bool on_key_part(json::string_view s, std::size_t, json::error_code&) {
    part_.append(s.data(), s.size());
    return true;
  }
  bool on_key(json::string_view s, std::size_t, json::error_code&) {
    part_.append(s.data(), s.size());
    stack_.back()->members.push_back({std::move(part_), Json{}});
    part_.clear();
    return true;
  }
  bool on_string_part(json::string_view s, std::size_t, json::error_code&) {
    part_.append(s.data(), s.size());
    return true;
  }
  bool on_string(json::string_view s, std::size_t, json::error_code&) {
    part_.append(s.data(), s.size());
    Json& v = value();
    v.kind = Json::Kind::string;
    v.text = std::move(part_);
    part_.clear();
    return true;
  }
  bool on_number_part(json::string_view s, json::error_code&) {
    part_.append(s.data(), s.size());
    return true;
  }
  bool on_int64(std::int64_t, json::string_view s, json::error_code&) { return number(s); }
  bool on_uint64(std::uint64_t, json::string_view s, json::error_code&) { return number(s); }
  bool on_double(double, json::string_view s, json::error_code&) { return number(s); }
  bool on_bool(bool b, json::error_code&) {
    Json& v = value();
    v.kind = Json::Kind::boolean;
    v.boolean = b;
    return true;
  }
  bool on_null(json::error_code&) {
    value();
    return true;
  }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  Json& value() {
    if (stack_.empty()) return root;
    Json& top = *stack_.back();
    if (top.kind == Json::Kind::object) return top.members.back().value;
    return top.items.emplace_back();
  }
  bool open(Json::Kind kind) {
    Json& v = value();
    v.kind = kind;
    stack_.push_back(&v);
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }
  bool number(json::string_view s) {
    part_.append(s.data(), s.size());
    Json& v = value();
    v.kind = Json::Kind::number;
    v.text = std::move(part_);
    part_.clear();
    return true;
  }
  bool refuse(json::error_code& ec, std::string why) {
    problem = std::move(why);
    ec = json::error::extra_data;
    return false;
  }
  // Open containers, outermost first. A container's address is stable: siblings are added only
  // after it closed.
  std::vector<Json*> stack_;
  std::string part_;
};

}  // namespace

Json::Json() = default;
Json::Json(const Json&) = default;
Json::Json(Json&&) noexcept = default;
Json& Json::operator=(const Json&) = default;
Json& Json::operator=(Json&&) noexcept = default;
Json::~Json() = default;

const Json* Json::member(std::string_view name) const {
  for (const auto& [key, value] : members) {
    if (key == name) return &value;
  }
  return nullptr;
}

Result<Json> parse_json(std::string_view text, size_t max_depth) {
  json::parse_options options;
  options.max_depth = max_depth;
  json::basic_parser<Handler> parser(options);
  json::error_code ec;
  size_t n = parser.write_some(false, text.data(), text.size(), ec);
  auto wrong = [&](const std::string& what) {
    return fail(ErrorKind::invalid, "json.malformed",
                "malformed JSON at offset " + std::to_string(n) + ": " + what);
  };
  if (ec) return wrong(parser.handler().problem.empty() ? ec.message() : parser.handler().problem);
  while (n < text.size() &&
         (text[n] == ' ' || text[n] == '\n' || text[n] == '\r' || text[n] == '\t'))
    ++n;
  if (n != text.size()) return wrong("something follows the end of the document");
  return std::move(parser.handler().root);
}

void append_json_string(std::string& out, std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  out.push_back('"');
  size_t start = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    // "<" too: an answer that a browser were made to read as HTML must not start a tag.
    if (c >= 0x20 && c != '"' && c != '\\' && c != '<') continue;
    out.append(text, start, i - start);
    start = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        out += "\\u00";
        out.push_back(digits[c >> 4]);
        out.push_back(digits[c & 15]);
    }
  }
  out.append(text, start, text.size() - start);
  out.push_back('"');
}

}  // namespace branchline
