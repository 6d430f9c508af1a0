#include "tools/benchmarks/data.h"

#include <cstdio>
#include <ctime>

namespace branchline::bench {
namespace {

constexpr std::string_view kFirst[] = {
    "Anna",   "Ben",   "Carla", "David",  "Elena", "Frank",  "Greta",  "Hugo",
    "Ines",   "Jonas", "Katja", "Louis",  "Maria", "Niklas", "Olga",   "Paul",
    "Quirin", "Rosa",  "Simon", "Tanja",  "Udo",   "Vera",   "Walter", "Xenia",
    "Yusuf",  "Zoe",   "Amir",  "Bianca", "Cem",   "Dora",   "Emil",   "Frida"};
constexpr std::string_view kLast[] = {
    "Adler",  "Baker",  "Costa",  "Dietrich", "Evans",  "Fischer", "Garcia", "Hansen",
    "Ibarra", "Jensen", "Keller", "Lang",     "Meyer",  "Novak",   "Olsen",  "Peters",
    "Quint",  "Rossi",  "Schmid", "Torres",   "Ulrich", "Vogel",   "Wagner", "Xander",
    "Young",  "Zimmer", "Abbott", "Brandt",   "Cohen",  "Duran",   "Engel",  "Falk"};
constexpr std::string_view kTitle[] = {"Buyer",         "Head of purchasing", "Managing director",
                                       "Engineer",      "Office manager",     "Head of sales",
                                       "Plant manager", "Accountant"};
constexpr std::string_view kStreet[] = {"Station Road",   "Mill Lane",    "High Street",
                                        "Harbour Street", "Church Lane",  "Park Avenue",
                                        "Garden Way",     "Castle Street"};
constexpr std::string_view kCity[] = {"Hamburg", "Leeds",  "Porto",   "Gdansk", "Lyon",  "Graz",
                                      "Malmo",   "Ghent",  "Bilbao",  "Brno",   "Turku", "Cork",
                                      "Padua",   "Aarhus", "Utrecht", "Split"};
constexpr std::string_view kState[] = {"North", "South", "East", "West"};
constexpr std::string_view kCountry[] = {"Germany", "United Kingdom", "Portugal", "Poland",
                                         "France",  "Austria",        "Sweden",   "Belgium"};
// Eight of these make a note: 5 bits each.
constexpr std::string_view kPhrase[] = {
    "called back,",     "wants a quote,",    "asks for Ms Lang,", "price too high,",
    "send catalogue,",  "will decide soon,", "met at the fair,",  "new address,",
    "prefers e-mail,",  "order to follow,",  "complained,",       "very content,",
    "needs delivery,",  "call on Monday,",   "away in August,",   "knows our rival,",
    "asks for terms,",  "paid late,",        "invite to lunch,",  "wrong number,",
    "sent a sample,",   "renewal in May,",   "two new plants,",   "budget is gone,",
    "boss must agree,", "likes the demo,",   "wait for tests,",   "second offer,",
    "no news yet,",     "visit in spring,",  "stock is low,",     "asks for a loan,"};

void member(std::string& out, std::string_view name, std::string_view text) {
  out += out.ends_with('{') ? "\"" : ",\"";
  out += name;
  out += "\":\"";
  out += text;
  out += "\"";
}

void member(std::string& out, std::string_view name, uint64_t number) {
  out += out.ends_with('{') ? "\"" : ",\"";
  out += name;
  out += "\":";
  out += std::to_string(number);
}

}  // namespace

uint64_t Dice::next() {
  state_ ^= state_ >> 12;
  state_ ^= state_ << 25;
  state_ ^= state_ >> 27;
  return state_ * 0x2545F4914F6CDD1Dull;
}

std::string phone_number(Dice& dice) {
  char text[24];
  std::snprintf(text, sizeof text, "+4940%07u", dice.below(10'000'000));
  return text;
}

std::string note(Dice& dice) {
  std::string text;
  for (int i = 0; i < 8; ++i) {
    text += dice.pick(kPhrase);
    text.push_back(' ');
  }
  text.resize(100, '.');
  return text;
}

std::string instant(int64_t unix_ms) {
  time_t seconds = unix_ms / 1000;
  tm parts;
  gmtime_r(&seconds, &parts);
  char text[40];
  size_t n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + n, sizeof text - n, ".%03dZ", static_cast<int>(unix_ms % 1000));
  return text;
}

void append_contact(std::string& out, Dice& dice) {
  std::string_view first = dice.pick(kFirst), last = dice.pick(kLast);
  std::string mail(first);
  mail += ".";
  mail += last;
  mail += std::to_string(dice.below(100'000)) + "@example.com";
  char date[16], postal[8];
  std::snprintf(date, sizeof date, "%04u-%02u-%02u", 1950 + dice.below(55), 1 + dice.below(12),
                1 + dice.below(28));
  std::snprintf(postal, sizeof postal, "%05u", dice.below(100'000));
  out += "{";
  member(out, "firstname", first);
  member(out, "lastname", last);
  member(out, "jobtitle", dice.pick(kTitle));
  member(out, "emailaddress1", mail);
  member(out, "telephone1", phone_number(dice));
  member(out, "mobilephone", phone_number(dice));
  member(out, "address1_line1",
         std::string(dice.pick(kStreet)) + " " + std::to_string(1 + dice.below(200)));
  member(out, "address1_city", dice.pick(kCity));
  member(out, "address1_stateorprovince", dice.pick(kState));
  member(out, "address1_postalcode", postal);
  member(out, "address1_country", dice.pick(kCountry));
  member(out, "birthdate", date);
  member(out, "description", note(dice));
  member(out, "statuscode", 1 + dice.below(4));
  member(out, "lastusedincampaign",
         instant(1'700'000'000'000 + dice.below(1'000'000) * int64_t{1000}));
  member(out, "numberofchildren", uint64_t{0});
  out += "}";
}

Change change(Dice& dice, int64_t now_ms, uint64_t number) {
  Change c;
  c.status = 1 + dice.below(4);
  c.text = note(dice);
  c.at_ms = now_ms;
  c.number = number;
  return c;
}

void append_change(std::string& out, const Change& c) {
  out += "{";
  member(out, "statuscode", c.status);
  member(out, "description", c.text);
  member(out, "lastusedincampaign", instant(c.at_ms));
  member(out, "numberofchildren", c.number);
  out += "}";
}

void append_phone_edit(std::string& out, Dice& dice) {
  out += "{";
  member(out, "telephone1", phone_number(dice));
  out += "}";
}

}  // namespace branchline::bench
