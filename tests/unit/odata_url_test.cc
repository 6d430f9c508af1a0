#include "branch/api/odata_url.h"

#include <catch2/catch.hpp>

using namespace branchline;

namespace {

std::vector<std::pair<std::string, std::string>> keys_of(std::string_view segment) {
  auto r = parse_resource(segment);
  REQUIRE(r);
  return r->keys;
}

}  // namespace

TEST_CASE("a target is taken apart into segments and options", "[odata][url]") {
  auto url = parse_target(
      "/api/data/v9.2/accounts(a%2Fb)/"
      "name?$select=name,telephone1&$filter=name%20eq%20'x%26y'&$top=5");
  REQUIRE(url);
  CHECK(url->path == "/api/data/v9.2/accounts(a/b)/name");
  REQUIRE(url->segments.size() == 5);
  CHECK(url->segments[3] == "accounts(a/b)");
  CHECK(url->segments[4] == "name");
  REQUIRE(url->parameter("$filter"));
  CHECK(*url->parameter("$filter") == "name eq 'x&y'");
  CHECK(*url->parameter("$top") == "5");
  CHECK_FALSE(url->parameter("$skip"));
}

TEST_CASE("a plus is a space in options only, and empty options are nothing", "[odata][url]") {
  auto url = parse_target("/a+b?x=a+b&&y&z=%2B");
  REQUIRE(url);
  CHECK(url->path == "/a+b");
  CHECK(*url->parameter("x") == "a b");
  CHECK(url->parameter("y")->empty());
  CHECK(*url->parameter("z") == "+");
}

TEST_CASE("a proxy's client may name the whole URL", "[odata][url]") {
  auto url = parse_target("http://office.example:7410/healthz?a=1");
  REQUIRE(url);
  CHECK(url->path == "/healthz");
  CHECK(*url->parameter("a") == "1");
  CHECK(parse_target("https://office.example/x")->path == "/x");
  CHECK_FALSE(parse_target("http://office.example"));
  CHECK_FALSE(parse_target("http://office.example?x=/"));
}

TEST_CASE("targets that are none are refused", "[odata][url]") {
  for (const char* bad : {"", "*", "accounts", "/%", "/%4", "/%zz", "/%ff", "/%00", "/x?a=%g0",
                          "/x?a=%00", "/x?a=%c3%28", "/x?a=1&a=2"}) {
    INFO(bad);
    auto url = parse_target(bad);
    REQUIRE_FALSE(url);
    CHECK(url.error().kind == ErrorKind::invalid);
    CHECK(url.error().code == "url.malformed");
    CHECK_FALSE(url.error().message.empty());
  }
}

TEST_CASE("what is encoded comes back", "[odata][url]") {
  std::string text = "name eq 'Müller & Söhne' and city ne '100%/+?#'";
  auto url = parse_target("/x?" + percent_encode("$filter") + "=" + percent_encode(text));
  REQUIRE(url);
  CHECK(*url->parameter("$filter") == text);
}

TEST_CASE("a resource is a name, an id or keys", "[odata][url]") {
  CHECK_FALSE(parse_resource("accounts")->parentheses);
  CHECK(parse_resource("WhoAmI()")->parentheses);
  CHECK(parse_resource("accounts(0b5c)")->id == "0b5c");
  CHECK(parse_resource("accounts('0b5c')")->id == "0b5c");
  CHECK(keys_of("accounts(accountnumber='X1')") ==
        std::vector<std::pair<std::string, std::string>>{{"accountnumber", "X1"}});
  CHECK(keys_of("accounts(accountnumber='O''Brien, (Ltd)=x')")[0].second == "O'Brien, (Ltd)=x");
  CHECK(keys_of("accounts(a=1, b='2')") ==
        std::vector<std::pair<std::string, std::string>>{{"a", "1"}, {"b", "2"}});
  for (const char* bad :
       {"accounts(", "accounts(x", "accounts(a='x)", "accounts(a='x'b)", "accounts(a='x',b)"}) {
    INFO(bad);
    CHECK_FALSE(parse_resource(bad));
  }
}

TEST_CASE("a long wrong resource is not echoed whole", "[odata][url]") {
  auto r = parse_resource("accounts(" + std::string(20'000, 'x'));
  REQUIRE_FALSE(r);
  CHECK(r.error().message.size() < 300);
}

TEST_CASE("preferences have lower-case names, and values that may be quoted", "[odata][url]") {
  auto p = parse_prefer(
      "Return=representation, "
      "odata.maxpagesize=50;odata.include-annotations=\"a,b;*\",,respond-async");
  CHECK(p["return"] == "representation");
  CHECK(p["odata.maxpagesize"] == "50");
  CHECK(p["odata.include-annotations"] == "a,b;*");
  CHECK(p.count("respond-async") == 1);
  CHECK(parse_prefer("").empty());
}
