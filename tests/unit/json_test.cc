#include <catch2/catch.hpp>

#include "common/json/json_writer.h"

namespace branchline {
namespace {

std::string wrong(std::string_view text, size_t depth = 16) {
  auto json = parse_json(text, depth);
  return json ? "accepted" : json.error().message;
}

TEST_CASE("json: numbers keep their text") {
  auto json = parse_json(
      R"({"a":12345678901234567890123456789.10,"b":-0.0,"c":1E+400,"d":18446744073709551616,"e":0})");
  REQUIRE(json);
  CHECK(json->member("a")->text == "12345678901234567890123456789.10");
  CHECK(json->member("b")->text == "-0.0");
  CHECK(json->member("c")->text == "1E+400");
  CHECK(json->member("d")->text == "18446744073709551616");
  CHECK(json->member("e")->kind == Json::Kind::number);
  CHECK(json->member("f") == nullptr);
}

TEST_CASE("json: the tree, in order") {
  auto json = parse_json("\t[null, true, \"a\\u00e9\\ud83d\\ude00\\n\", {\"z\":1,\"a\":[]}] \r\n");
  REQUIRE(json);
  REQUIRE(json->items.size() == 4);
  CHECK(json->items[0].kind == Json::Kind::null);
  CHECK(json->items[1].boolean);
  CHECK(json->items[2].text == "a\xc3\xa9\xf0\x9f\x98\x80\n");
  REQUIRE(json->items[3].members.size() == 2);
  CHECK(json->items[3].members[0].name == "z");
  CHECK(json->items[3].members[1].value.kind == Json::Kind::array);
}

TEST_CASE("json: what is malformed is refused with its place") {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[",
                           "[1,]",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{'a':1}",
                           "\"a",
                           "\"\\x\"",
                           "\"\\ud83d\"",
                           "\"\t\"",
                           "01",
                           "1.",
                           ".5",
                           "+1",
                           "-",
                           "1e",
                           "tru",
                           "nul",
                           "NaN",
                           "Infinity",
                           "[1] 2",
                           "{} {}",
                           "// c\n1",
                           "/* c */ 1",
                           "[1 2]",
                           "\xef\xbb\xbf{}",
                           "{\"a\" 1}",
                           "{\"a\":}",
                           "]"}) {
    INFO(text);
    CHECK(wrong(text).find("malformed JSON at offset ") == 0);
  }
  CHECK(wrong("[1] 2").find("offset 4") != std::string::npos);
  CHECK(wrong("{\"a\":1,\"b\":2,\"a\":3}").find("\"a\" stands twice") != std::string::npos);
  CHECK(wrong("[{\"x\":{\"b\":1,\"b\":1}}]").find("\"b\" stands twice") != std::string::npos);
  // The same key by another spelling.
  CHECK(wrong("{\"a\":1,\"\\u0061\":2}").find("stands twice") != std::string::npos);
}

TEST_CASE("json: text that is not UTF-8 is refused") {
  for (const char* bytes :
       {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80"}) {
    CHECK(wrong("\"" + std::string(bytes) + "\"") != "accepted");
    CHECK(wrong("{\"" + std::string(bytes) + "\":1}") != "accepted");
  }
}

TEST_CASE("json: nesting has a limit, and beyond it nothing crashes") {
  auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  CHECK(wrong(nested(16)) == "accepted");
  CHECK(wrong(nested(17)) != "accepted");
  CHECK(wrong(nested(3), 3) == "accepted");
  CHECK(wrong(nested(4), 3) != "accepted");
  CHECK(wrong(std::string(1'000'000, '[')) != "accepted");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK(wrong(objects) != "accepted");
}

TEST_CASE("json: every beginning of a document is refused") {
  std::string text = R"({"name":"M\u00fcller","list":[1,2.50,true,null],"x":{"y":"z"}})";
  REQUIRE(wrong(text) == "accepted");
  for (size_t n = 0; n < text.size(); ++n) {
    INFO(text.substr(0, n));
    CHECK(wrong(text.substr(0, n)) != "accepted");
  }
}

TEST_CASE("json: what is written reads back") {
  std::string awkward("quote \" back \\ line \n tag </script> nul \0 bell \x07 \xc3\xa9", 47);
  std::string out;
  JsonWriter w(out);
  w.begin_object()
      .member("a", awkward)
      .member("n", int64_t(-5))
      .member("u", ~uint64_t(0))
      .member("b", false);
  w.key("list")
      .begin_array()
      .raw("1.50")
      .text("")
      .begin_object()
      .end_object()
      .end_array()
      .end_object();
  auto json = parse_json(out);
  REQUIRE(json);
  CHECK(json->member("a")->text == awkward);
  CHECK(json->member("n")->text == "-5");
  CHECK(json->member("u")->text == "18446744073709551615");
  CHECK_FALSE(json->member("b")->boolean);
  CHECK(json->member("list")->items.size() == 3);
  CHECK(out.find('<') == std::string::npos);
}

}  // namespace
}  // namespace branchline
