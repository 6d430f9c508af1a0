// JSON written straight into a string, for answers of any size: keys, values and commas in the
// right places.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/json/json.h"

namespace branchline {

class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name) {
    comma();
    append_json_string(out_, name);
    out_.push_back(':');
    fresh_ = true;
    return *this;
  }
  JsonWriter& text(std::string_view v) {
    comma();
    append_json_string(out_, v);
    return *this;
  }
  JsonWriter& number(int64_t v) { return raw(std::to_string(v)); }
  JsonWriter& number(uint64_t v) { return raw(std::to_string(v)); }
  JsonWriter& boolean(bool v) { return raw(v ? "true" : "false"); }
  // A number or literal as it is.
  JsonWriter& raw(std::string_view v) {
    comma();
    out_.append(v);
    return *this;
  }
  JsonWriter& member(std::string_view name, std::string_view v) { return key(name).text(v); }
  JsonWriter& member(std::string_view name, const char* v) { return key(name).text(v); }
  JsonWriter& member(std::string_view name, int64_t v) { return key(name).number(v); }
  JsonWriter& member(std::string_view name, uint64_t v) { return key(name).number(v); }
  JsonWriter& member(std::string_view name, bool v) { return key(name).boolean(v); }

 private:
  void comma() {
    if (!fresh_) out_.push_back(',');
    fresh_ = false;
  }
  JsonWriter& open(char c) {
    comma();
    out_.push_back(c);
    fresh_ = true;
    return *this;
  }
  JsonWriter& close(char c) {
    out_.push_back(c);
    fresh_ = false;
    return *this;
  }
  std::string& out_;
  bool fresh_ = true;
};

}  // namespace branchline
