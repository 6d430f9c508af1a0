// What a body of POST /admin/tokens asks for. Each mistake is refused: one that were passed over
// would leave a token that may do more than was meant.
#include <algorithm>

#include "common/base/bytes.h"
#include "common/record/value.h"
#include "master/admin/token_plan.h"

namespace branchline {
namespace {

std::unexpected<Error> wrong(std::string_view key, std::string_view expected) {
  return fail(ErrorKind::invalid, "token." + std::string(key),
              std::string(key) + ": expected " + std::string(expected));
}

size_t code_points(std::string_view utf8) {
  return static_cast<size_t>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// C0, DEL, and C1 as UTF-8 has them (U+0080 to U+009F).
bool has_control(std::string_view utf8) {
  for (size_t i = 0; i < utf8.size(); ++i) {
    auto c = static_cast<unsigned char>(utf8[i]);
    if (c < 0x20 || c == 0x7f) return true;
    if (c == 0xc2 && i + 1 < utf8.size() && static_cast<unsigned char>(utf8[i + 1]) < 0xa0)
      return true;
  }
  return false;
}

// A name that fits `field`, which is where it goes. It is shown in tables and logs, line by line.
Result<std::string> read_name(const Json::Member& m, const Field& field) {
  if (m.value.kind != Json::Kind::string) return wrong(m.name, "a text");
  const std::string& text = m.value.text;
  if (!is_utf8(text)) return wrong(m.name, "valid UTF-8");
  if (has_control(text)) return wrong(m.name, "one line without control characters");
  if (size_t length = code_points(text); length > field.max_length) {
    return wrong(m.name, "at most " + std::to_string(field.max_length) + " characters, this has " +
                             std::to_string(length));
  }
  return text;
}

Result<std::vector<std::string>> read_territories(const Json& list) {
  static constexpr const char* kExpected = "a list of names, for example [\"east\"]";
  std::vector<std::string> out;
  if (list.kind != Json::Kind::array) return wrong("territories", kExpected);
  for (const auto& t : list.items) {
    if (t.kind != Json::Kind::string) return wrong("territories", kExpected);
    out.push_back(t.text);
  }
  return out;
}

}  // namespace

Result<TokenRequest> read_token_request(const Schema& schema, const Json& body) {
  if (body.kind != Json::Kind::object)
    return fail(ErrorKind::invalid, "token.body", "expected a JSON object with at least \"user\"");
  const Entity &users = *schema.entity(entity_id::kUser),
               &tokens = *schema.entity(entity_id::kApiToken);
  TokenRequest out;
  for (const auto& m : body.members) {
    const Json& v = m.value;
    if (m.name == "user") {
      BL_ASSIGN(out.user, read_name(m, *users.field("domainname")));
    } else if (m.name == "fullname") {
      BL_ASSIGN(out.full_name, read_name(m, *users.field("fullname")));
    } else if (m.name == "name") {
      BL_ASSIGN(out.token_name, read_name(m, *tokens.field("name")));
    } else if (m.name == "admin") {
      if (v.kind != Json::Kind::boolean) return wrong("admin", "true or false");
      out.admin = v.boolean;
    } else if (m.name == "access") {
      bool known = v.kind == Json::Kind::string && (v.text == "read" || v.text == "write");
      if (!known) return wrong("access", "\"read\" or \"write\"");
      out.write = v.text == "write";
    } else if (m.name == "expires") {
      auto ms = v.kind == Json::Kind::string ? parse_instant(v.text) : std::nullopt;
      if (!ms) return wrong("expires", "YYYY-MM-DDTHH:MM:SSZ");
      out.expires_ms = *ms;
    } else if (m.name == "territories") {
      BL_ASSIGN(out.territories, read_territories(v));
    } else {
      // As a text of JSON: the name is the caller's, and may hold anything.
      std::string quoted;
      append_json_string(quoted, m.name.substr(0, 60));
      return fail(ErrorKind::invalid, "token.key",
                  "there is no key " + quoted +
                      "; a token has user, fullname, name, admin, access, territories, expires");
    }
  }
  if (out.user.find_first_not_of(' ') == std::string::npos)
    return wrong("user", "the name of the user the token is for");
  return out;
}

}  // namespace branchline
