#include <catch2/catch.hpp>

#include "tools/branchline/import/csv_reader.h"
#include "tools/branchline/import/text_encoding.h"

namespace branchline::import {
namespace {

using Fields = std::vector<std::string>;

std::vector<CsvRow> read(std::string_view text, CsvReader::Options options = {}) {
  CsvReader reader(text, options);
  std::vector<CsvRow> rows;
  while (auto row = reader.next()) rows.push_back(std::move(*row));
  return rows;
}

}  // namespace

TEST_CASE("rows end with LF, CRLF or CR, and the last one without any", "[import]") {
  for (const char* end : {"\n", "\r\n", "\r"}) {
    std::string text = std::string("a,b") + end + "1,2" + end + "3,4";
    for (const std::string& t : {text, text + end}) {
      auto rows = read(t);
      REQUIRE(rows.size() == 3);
      CHECK(rows[1].fields == Fields{"1", "2"});
      CHECK(rows[2].fields == Fields{"3", "4"});
      CHECK(rows[2].number == 3);
      CHECK(rows[2].line == 3);
    }
  }
}

TEST_CASE("quoted fields hold delimiters, quotes and line ends", "[import]") {
  auto rows = read("\"a, b\",\"say \"\"hi\"\"\",\"two\r\nlines\"\nnext,,\n");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].fields == Fields{"a, b", "say \"hi\"", "two\r\nlines"});
  CHECK(rows[1].fields == Fields{"next", "", ""});
  CHECK(rows[1].number == 2);
  CHECK(rows[1].line == 3);
}

TEST_CASE("a quote inside a plain field is a character", "[import]") {
  CHECK(read("19\" rack,x\n")[0].fields == Fields{"19\" rack", "x"});
}

TEST_CASE("blank lines are passed over, and count as a spreadsheet counts them", "[import]") {
  auto rows = read("a\n\n\nb\n");
  REQUIRE(rows.size() == 2);
  CHECK(rows[1].number == 4);
}

TEST_CASE("a quote that is never closed costs one row", "[import]") {
  auto rows = read("a,b\n1,\"oops\n3,4\n5,6\n");
  REQUIRE(rows.size() == 4);
  CHECK(rows[1].problem.find("not closed") != std::string::npos);
  CHECK(rows[1].problem_field == 2);
  CHECK(rows[1].number == 2);
  CHECK(rows[1].fields == Fields{"1", "\"oops"});
  CHECK(rows[2].fields == Fields{"3", "4"});
  CHECK(rows[3].fields == Fields{"5", "6"});
  CHECK(rows[3].line == 4);
}

TEST_CASE("text behind a closing quote costs one row", "[import]") {
  auto rows = read("\"a\"b,c\nd,e\n");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].problem.find("closing quote") != std::string::npos);
  CHECK(rows[1].problem.empty());
  CHECK(rows[1].fields == Fields{"d", "e"});
}

TEST_CASE("a field over the limit costs one row, quoted or not", "[import]") {
  std::string big(100, 'x');
  for (const std::string& field : {big, "\"" + big + "\""}) {
    auto rows = read("a,b\n1," + field + "\n3,4\n", {.max_field_bytes = 50});
    REQUIRE(rows.size() == 3);
    CHECK(rows[1].problem.find("too long") != std::string::npos);
    CHECK(rows[1].problem_field == 2);
    CHECK(rows[2].fields == Fields{"3", "4"});
  }
}

TEST_CASE("a row of too many fields is refused without being kept", "[import]") {
  auto rows = read("a\n1,2,3,4,5,6\nb\n", {.max_fields = 4});
  REQUIRE(rows.size() == 3);
  CHECK_FALSE(rows[1].problem.empty());
  CHECK(rows[1].fields.size() <= 4);
  CHECK(rows[2].fields == Fields{"b"});
}

TEST_CASE("NUL characters are named", "[import]") {
  auto rows = read(std::string_view("a,b\n1,x\0y\n2,z\n", 14));
  REQUIRE(rows.size() == 3);
  CHECK(rows[1].problem.find("NUL") != std::string::npos);
  CHECK(rows[1].problem_field == 2);
  CHECK(rows[2].problem.empty());
}

TEST_CASE("other delimiters", "[import]") {
  CHECK(read("a;b,c\n", {.delimiter = ';'})[0].fields == Fields{"a", "b,c"});
  CHECK(read("a\t\"b\tc\"\n", {.delimiter = '\t'})[0].fields == Fields{"a", "b\tc"});
}

TEST_CASE("what is written can be read", "[import]") {
  Fields fields{"plain", "with, comma", "with \"quotes\"", "two\nlines", "cr\rhere", ""};
  CHECK(read(csv_line(fields))[0].fields == fields);
  CHECK(read(csv_line({""}))[0].fields == Fields{""});
}

TEST_CASE("encodings are told apart", "[import]") {
  std::string_view marked = "\xEF\xBB\xBFname\n";
  CHECK(settle_encoding(marked, Encoding::detect) == Encoding::utf8);
  CHECK(marked == "name\n");
  std::string_view german =
      "Stra\xC3\x9F"
      "e\n";
  CHECK(settle_encoding(german, Encoding::detect) == Encoding::utf8);
  std::string_view latin =
      "Stra\xDF"
      "e\n";
  CHECK(settle_encoding(latin, Encoding::detect) == Encoding::latin1);
  CHECK(settle_encoding(latin, Encoding::utf8) == Encoding::utf8);
  // Spreadsheets mark their UTF-8, and so do we: no other encoding begins so.
  for (auto wanted : {Encoding::utf8, Encoding::latin1}) {
    std::string_view text = "\xEF\xBB\xBFname\n";
    CHECK(settle_encoding(text, wanted) == Encoding::utf8);
    CHECK(text == "name\n");
  }
  CHECK(settle_encoding(latin, Encoding::latin1) == Encoding::latin1);
  std::string_view utf16(
      "\xFF\xFE"
      "a\0",
      4);
  auto refused = settle_encoding(utf16, Encoding::detect);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("UTF-16") != std::string::npos);
}

TEST_CASE("Latin-1 is read as Windows writes it", "[import]") {
  CHECK(utf8_from_latin1("Caf\xE9 5 \x80 \x93x\x94") ==
        "Caf\xC3\xA9 5 \xE2\x82\xAC \xE2\x80\x9Cx\xE2\x80\x9D");
  CHECK(visible("a\xE9"
                "b\x01\xC3\xA9") ==
        "a\\xe9"
        "b\\x01\xC3\xA9");
}

}  // namespace branchline::import
