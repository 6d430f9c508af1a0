// Index keys sort as people of four countries expect, by ICU's root collation; numbers as numbers.
#include <unicode/coll.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>

#include "common/base/random.h"
#include "common/schema/index_key.h"
#include "tests/support/samples.h"

namespace branchline {
namespace {

std::string key_of(const Value& v) {
  std::string out;
  put_index_value(out, v);
  return out;
}
std::string text_key(std::string_view text) { return key_of({ValueType::text, text}); }
int sign(int v) { return v < 0 ? -1 : v > 0 ? 1 : 0; }

// Another way to the same answer: ICU's comparison instead of its sort keys.
int icu_compare(std::string_view a, std::string_view b) {
  static const std::unique_ptr<icu::Collator> collator = [] {
    UErrorCode status = U_ZERO_ERROR;
    std::unique_ptr<icu::Collator> c(icu::Collator::createInstance(icu::Locale::getRoot(), status));
    c->setStrength(icu::Collator::SECONDARY);
    return c;
  }();
  UErrorCode status = U_ZERO_ERROR;
  return collator->compareUTF8({a.data(), static_cast<int32_t>(a.size())},
                               {b.data(), static_cast<int32_t>(b.size())}, status);
}

const std::vector<std::string> kWords = {
    // German, French, Swedish, Turkish, and what else stands in a customer list.
    "Müller",
    "Muller",
    "Mueller",
    "müller",
    "Mülheim",
    "Straße",
    "Strasse",
    "Strauß",
    "Äpfel",
    "Apfel",
    "Öl",
    "Zebra",
    "cote",
    "côte",
    "coté",
    "côté",
    "Élodie",
    "Elodie",
    "élan",
    "œuvre",
    "oeuvre",
    "Noël",
    "ça",
    "Ångström",
    "Angstrom",
    "Åsa",
    "Öberg",
    "Örebro",
    "Ärlig",
    "Zorn",
    "Åkesson",
    "Istanbul",
    "İstanbul",
    "ışık",
    "isik",
    "Isparta",
    "İzmir",
    "Çelik",
    "Celik",
    "Şahin",
    "Sahin",
    "Ğ",
    "Gül",
    "Ünal",
    "Unal",
    "",
    " ",
    "a",
    "A",
    "aa",
    "ab",
    "A-1",
    "A1",
    "a 1",
    "10",
    "9",
    "100",
    "O'Neill",
    "ONeill",
    "Ω",
    "Яков",
    "李",
    "株式会社",
    "\xf0\x9f\x98\x80",
    "e\xcc\x81lan",
    "resume",
    "résumé"};

TEST_CASE("index keys: texts in the order of ICU, whatever the pair") {
  for (const auto& a : kWords) {
    for (const auto& b : kWords) {
      INFO(a << " / " << b);
      CHECK(sign(text_key(a).compare(text_key(b))) == sign(icu_compare(a, b)));
      CHECK((comparison_key({ValueType::text, a}) == comparison_key({ValueType::text, b})) ==
            (icu_compare(a, b) == 0));
    }
  }
}

TEST_CASE("index keys: lists as people write them") {
  auto sorted = [](std::vector<std::string> words) {
    std::sort(words.begin(), words.end(),
              [](const auto& a, const auto& b) { return text_key(a) < text_key(b); });
    return words;
  };
  using Words = std::vector<std::string>;
  CHECK(sorted({"Zebra", "Öl", "Apfel", "Äpfel", "apfel 2"}) ==
        Words{"Apfel", "Äpfel", "apfel 2", "Öl", "Zebra"});
  CHECK(sorted({"côté", "coté", "côte", "cote"}) == Words{"cote", "coté", "côte", "côté"});
  CHECK(sorted({"Zorn", "Öberg", "Ångström", "Andersson"}) ==
        Words{"Andersson", "Ångström", "Öberg", "Zorn"});
  CHECK(sorted({"Şahin", "Tan", "Sahin", "Çelik", "Celik"}) ==
        Words{"Celik", "Çelik", "Sahin", "Şahin", "Tan"});
}

TEST_CASE("index keys: case does not matter, accents do, composed or not is the same") {
  CHECK(text_key("MÜLLER") == text_key("müller"));
  CHECK(text_key("Muller") != text_key("Müller"));
  CHECK(text_key("élan") == text_key("e\xcc\x81lan"));
  CHECK(fold_case("MÜLLER Straße") == fold_case("müller STRASSE"));
  CHECK(fold_case("ABC-9") == "abc-9");
}

TEST_CASE("index keys: long texts are cut, whole keys are not") {
  std::string a(500, 'a'), b = a + "b";
  CHECK(text_key(a) == text_key(b));
  CHECK(text_key(a).size() == 1 + kMaxTextKeyBytes + 1);
  CHECK(comparison_key({ValueType::text, a}) != comparison_key({ValueType::text, b}));
  CHECK(collation_key(a) < collation_key(b));
}

TEST_CASE("index keys: numbers sort as numbers, and null first") {
  SeededRandom random(3);
  std::vector<int64_t> numbers = {0, 1, -1, 255, 256, -256, INT64_MAX, INT64_MIN};
  for (int i = 0; i < 200; ++i)
    numbers.push_back(static_cast<int64_t>(random.next()) >> random.below(64));
  for (int64_t a : numbers) {
    std::string pa = encode_integer(a);
    CHECK(key_of({}) < key_of({ValueType::integer, pa}));
    for (int64_t b : numbers) {
      std::string pb = encode_integer(b);
      CHECK(sign(key_of({ValueType::integer, pa}).compare(key_of({ValueType::integer, pb}))) ==
            (a < b   ? -1
             : a > b ? 1
                     : 0));
    }
  }
  std::vector<Decimal> decimals = {Decimal(),
                                   Decimal(1, 10),
                                   Decimal(-1, 10),
                                   Decimal(INT64_MAX, 0),
                                   Decimal(-INT64_MAX, 0),
                                   Decimal(INT64_MAX, 10),
                                   Decimal(125, 1),
                                   Decimal(13, 0)};
  for (const auto& a : decimals) {
    for (const auto& b : decimals) {
      std::string pa = encode_decimal(a), pb = encode_decimal(b);
      CHECK(sign(key_of({ValueType::decimal, pa}).compare(key_of({ValueType::decimal, pb}))) ==
            Decimal::compare(a, b));
    }
  }
}

TEST_CASE("index keys: no value's key is the beginning of another's") {
  std::vector<std::string> keys;
  for (const auto& word : kWords) keys.push_back(text_key(word));
  for (const auto& a : keys) {
    for (const auto& b : keys) {
      if (a != b) CHECK_FALSE(b.starts_with(a));
    }
  }
}

TEST_CASE("index keys: any bytes that a text may hold") {
  SeededRandom random(11);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = random.bytes(random.below(40));
    text_key(bytes);
    fold_case(bytes);
  }
  CHECK(text_key(std::string("a\0b", 3)) != text_key("b"));
}

}  // namespace
}  // namespace branchline
