#include "common/config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>

#include "common/base/limits.h"
#include "common/record/value.h"

namespace branchline {
namespace {

using Lines = std::vector<std::string_view>;

// What ends the text is the end of its last line, not one line more.
Lines split_lines(std::string_view text) {
  Lines lines;
  do {
    size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  } while (!text.empty());
  return lines;
}

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r") == text.npos; }

bool is_content(std::string_view line) {
  size_t first = line.find_first_not_of(" \t\r");
  return first != line.npos && line[first] != '#';
}

// yaml-cpp takes bytes as they come, and takes 0x04 for the end of the file: half a topology would
// pass for one.
bool check_text(const Lines& lines, Mistakes& mistakes) {
  for (size_t i = 0; i < lines.size(); ++i) {
    auto number = static_cast<int>(i + 1);
    if (!is_utf8(lines[i])) mistakes.add(number, "not UTF-8; save the file as UTF-8");
    for (char c : lines[i]) {
      if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) continue;
      if (c == '\t' || c == '\r') continue;
      mistakes.add(number, "control character " + quoted({&c, 1}) + "; remove it");
      break;
    }
  }
  return mistakes.none();
}

// Ends the parse from within an event; what was wrong is among the mistakes.
struct Stop {};

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const Lines& lines, Mistakes& mistakes) : lines_(lines), mistakes_(mistakes) {}
  std::optional<YamlNode> take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ == 1) return;
    mistakes_.add(line_of(mark),
                  "a second document begins here; keep one and remove the `---` between them");
    throw Stop{};
  }
  void OnDocumentEnd() override {}

  void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
    mistakes_.add(
        line_of(mark),
        "anchor " + quoted("&" + name) +
            "; anchors and aliases are not taken here, write the value out where it is needed");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    mistakes_.add(line_of(mark),
                  "an alias; anchors and aliases are not taken here, write the value out");
    place({YamlNode::Kind::refused, line_of(mark)});
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    place({YamlNode::Kind::empty, line_of_empty(mark)});
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    refuse_tag(mark, tag);
    place({YamlNode::Kind::scalar, line_of(mark), value});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::list, mark, tag);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::map, mark, tag);
  }
  void OnMapEnd() override { close(); }

  // Where a list or map that was not closed began may be far above the place where that is noticed.
  std::string within(int line) const {
    if (open_.empty() || open_.back().line == line || open_.size() == 1) return "";
    return ", within what begins in line " + std::to_string(open_.back().line);
  }

  // The parser also marks places behind the last line.
  int line_of(const YAML::Mark& mark) const {
    return std::clamp(mark.line + 1, 1, static_cast<int>(lines_.size()));
  }

 private:
  // An empty entry is marked where the next thing begins; its dash is on the last line with content
  // before that.
  int line_of_empty(const YAML::Mark& mark) const {
    int line = line_of(mark);
    auto column = static_cast<size_t>(std::max(mark.column, 0));
    bool first_on_line = is_blank(lines_[static_cast<size_t>(line - 1)].substr(0, column));
    if (!first_on_line) return line;
    for (int above = line - 1; above >= 1; --above) {
      if (is_content(lines_[static_cast<size_t>(above - 1)])) return above;
    }
    return line;
  }

  // "?" and "!" are what the parser itself gives to plain and to quoted values.
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    mistakes_.add(line_of(mark), "tag " + quoted(tag) + "; tags mean nothing here, remove it");
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag) {
    refuse_tag(mark, tag);
    if (open_.size() == limits::kMaxTopologyDepth) {
      mistakes_.add(line_of(mark), "lists and maps nest deeper than " +
                                       std::to_string(limits::kMaxTopologyDepth) +
                                       "; close the brackets before");
      throw Stop{};
    }
    open_.push_back({kind, line_of(mark)});
  }
  void close() {
    YamlNode node = std::move(open_.back());
    open_.pop_back();
    place(std::move(node));
  }

  void place(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    YamlNode& parent = open_.back();
    if (parent.kind == YamlNode::Kind::map && parent.keys.size() == parent.items.size()) {
      parent.keys.push_back(std::move(node));
      return;
    }
    if (parent.kind == YamlNode::Kind::map && node.kind == YamlNode::Kind::empty) {
      node.line = parent.keys.back().line;
    }
    parent.items.push_back(std::move(node));
  }

  const Lines& lines_;
  Mistakes& mistakes_;
  int documents_ = 0;
  std::vector<YamlNode> open_;
  std::optional<YamlNode> root_;
};

}  // namespace

std::optional<YamlNode> read_yaml(std::string_view text, Mistakes& mistakes) {
  if (text.size() > limits::kMaxTopologyBytes) {
    mistakes.add(1, "the file is larger than " + std::to_string(limits::kMaxTopologyBytes) +
                        " bytes; is it the right file? No topology needs that");
    return std::nullopt;
  }
  Lines lines = split_lines(text);
  if (!check_text(lines, mistakes)) return std::nullopt;
  TreeBuilder builder(lines, mistakes);
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Stop&) {
    return std::nullopt;
  } catch (const YAML::Exception& e) {
    int line = builder.line_of(e.mark);
    mistakes.add(line, "not YAML, " + one_line(e.msg) + builder.within(line) +
                           "; look at indentation, brackets and quotes");
    return std::nullopt;
  }
  auto root = builder.take();
  if (!root || root->kind == YamlNode::Kind::empty) {
    mistakes.add(1, "the file is empty; begin with `version: 1`");
    return std::nullopt;
  }
  return root;
}

}  // namespace branchline
