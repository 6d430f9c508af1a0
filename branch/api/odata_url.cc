#include "branch/api/odata_url.h"

#include <algorithm>

#include "common/base/bytes.h"
#include "common/record/value.h"

namespace branchline {
namespace {

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorKind::invalid, "url.malformed", std::move(message));
}

std::optional<std::string> decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out.push_back(static_cast<char>(high << 4 | low));
      i += 2;
    } else if (text[i] == '+' && plus_is_space) {
      out.push_back(' ');
    } else {
      out.push_back(text[i]);
    }
  }
  if (!is_utf8(out) || out.find('\0') != std::string::npos) return std::nullopt;
  return out;
}

// Where the segment that begins at `at` ends: keys may hold a slash ('CG-12520/South'), and clients
// send it as it is, so a slash between quotes, which may be percent-encoded themselves, separates
// nothing.
size_t segment_end(std::string_view path, size_t at) {
  bool quoted = false;
  for (; at < path.size(); ++at) {
    if (path[at] == '\'' || path.substr(at, 3) == "%27") quoted = !quoted;
    if (path[at] == '/' && !quoted) break;
  }
  return at;
}

std::string trimmed(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return std::string(s);
}

}  // namespace

const std::string* UrlParts::parameter(std::string_view name) const {
  for (const auto& [key, value] : parameters) {
    if (key == name) return &value;
  }
  return nullptr;
}

Result<UrlParts> parse_target(std::string_view target) {
  UrlParts out;
  // A proxy's clients name the whole URL (RFC 9112 3.2.2): what stands before the path is Host's
  // business.
  for (std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    size_t path = target.find_first_of("/?", scheme.size());
    target = path == std::string_view::npos ? std::string_view() : target.substr(path);
    if (target.empty() || target[0] != '/') return invalid("the request target must name a path");
  }
  if (target.empty() || target[0] != '/') return invalid("the request target must begin with /");
  std::string_view query;
  if (size_t mark = target.find('?'); mark != std::string_view::npos) {
    query = target.substr(mark + 1);
    target = target.substr(0, mark);
  }
  auto path = decode(target, false);
  if (!path) return invalid("the path is not valid percent-encoded UTF-8");
  out.path = std::move(*path);
  for (size_t at = 1; at <= target.size();) {
    size_t slash = segment_end(target, at);
    if (slash > at)
      out.segments.push_back(decode(target.substr(at, slash - at), false).value_or(""));
    at = slash + 1;
  }
  while (!query.empty()) {
    size_t amp = std::min(query.find('&'), query.size());
    std::string_view one = query.substr(0, amp);
    query.remove_prefix(std::min(amp + 1, query.size()));
    if (one.empty()) continue;
    size_t eq = std::min(one.find('='), one.size());
    auto name = decode(one.substr(0, eq), true);
    auto value = decode(eq < one.size() ? one.substr(eq + 1) : std::string_view(), true);
    if (!name || !value) return invalid("a query option is not valid percent-encoded UTF-8");
    if (out.parameter(*name))
      return invalid("the query option " + name->substr(0, 60) + " stands twice");
    out.parameters.emplace_back(std::move(*name), std::move(*value));
  }
  return out;
}

Result<std::string> last_segment(std::string_view url) {
  std::string_view last;
  for (size_t at = 0; at <= url.size();) {
    size_t end = segment_end(url, at);
    last = url.substr(at, end - at);
    at = end + 1;
  }
  auto text = decode(last, false);
  if (!text) return invalid("the URL is not valid percent-encoded UTF-8");
  return std::move(*text);
}

std::string percent_encode(std::string_view text) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '_' || c == '.' || c == '~' || c == '$' || c == '(' || c == ')' ||
                 c == ',' || c == '\'' || c == '@';
    if (plain) {
      out.push_back(c);
      continue;
    }
    out.push_back('%');
    out.push_back(digits[static_cast<unsigned char>(c) >> 4]);
    out.push_back(digits[static_cast<unsigned char>(c) & 15]);
  }
  return out;
}

Result<ResourceSegment> parse_resource(std::string_view segment) {
  ResourceSegment out;
  size_t open = segment.find('(');
  out.name = std::string(segment.substr(0, open));
  if (open == std::string_view::npos) return out;
  if (segment.back() != ')')
    return invalid("`" + std::string(segment.substr(0, 60)) + "` lacks its closing parenthesis");
  out.parentheses = true;
  std::string_view inner = segment.substr(open + 1, segment.size() - open - 2);
  if (inner.empty()) return out;
  if (inner.find('=') == std::string_view::npos) {
    if (inner.size() >= 2 && inner.front() == '\'' && inner.back() == '\'')
      inner = inner.substr(1, inner.size() - 2);
    out.id = std::string(inner);
    return out;
  }
  while (!inner.empty()) {
    size_t eq = inner.find('=');
    if (eq == std::string_view::npos)
      return invalid("`" + std::string(inner.substr(0, 60)) + "` is no key: write name='value'");
    std::string name = trimmed(inner.substr(0, eq));
    inner.remove_prefix(eq + 1);
    std::string value;
    if (!inner.empty() && inner.front() == '\'') {
      size_t i = 1;
      for (; i < inner.size(); ++i) {
        if (inner[i] != '\'') {
          value.push_back(inner[i]);
        } else if (i + 1 < inner.size() && inner[i + 1] == '\'') {
          value.push_back('\'');
          ++i;
        } else {
          break;
        }
      }
      if (i >= inner.size()) return invalid("a quoted key value lacks its closing quote");
      inner.remove_prefix(i + 1);
    } else {
      size_t comma = std::min(inner.find(','), inner.size());
      value = trimmed(inner.substr(0, comma));
      inner.remove_prefix(comma);
    }
    out.keys.emplace_back(std::move(name), std::move(value));
    if (inner.empty()) break;
    if (inner.front() != ',') return invalid("keys are separated by commas");
    inner.remove_prefix(1);
  }
  return out;
}

std::map<std::string, std::string> parse_prefer(std::string_view header) {
  std::map<std::string, std::string> out;
  while (!header.empty()) {
    bool quoted = false;
    size_t end = 0;
    for (; end < header.size() && (quoted || (header[end] != ',' && header[end] != ';')); ++end) {
      if (header[end] == '"') quoted = !quoted;
    }
    std::string one = trimmed(header.substr(0, end));
    header.remove_prefix(std::min(end + 1, header.size()));
    size_t eq = one.find('=');
    std::string name = trimmed(std::string_view(one).substr(0, eq));
    std::string value =
        eq == std::string::npos ? "" : trimmed(std::string_view(one).substr(eq + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
      value = value.substr(1, value.size() - 2);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return char(std::tolower(c)); });
    if (!name.empty()) out.emplace(name, value);
  }
  return out;
}

}  // namespace branchline
