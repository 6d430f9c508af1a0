#include "branch/api/filter_parser.h"

#include <algorithm>

#include "branch/api/odata_names.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

using Kind = Expression::Kind;

struct Token {
  enum class Kind { word, text, number, open, close, comma, end } kind = Kind::end;
  std::string text;
  size_t at = 0;
};

class Parser {
 public:
  Parser(std::string_view text, const Entity& entity, const TerritoryNumber& territory,
         const FilterPlace& place)
      : text_(text), entity_(entity), territory_(territory), place_(place) {}

  Result<Expression> run() {
    BL_TRY(next());
    BL_ASSIGN(Expression e, disjunction());
    if (token_.kind != Token::Kind::end) return wrong("expected `and`, `or` or the end");
    e.finish();
    return e;
  }

 private:
  std::unexpected<Error> wrong(const std::string& what, std::optional<size_t> at = {}) const {
    size_t place = at.value_or(token_.at);
    std::string found =
        token_.kind == Token::Kind::end ? "the end" : "`" + shortened(token_.text) + "`";
    std::string message = std::string(place_.option) + ", position " +
                          std::to_string(place_.before + code_points(text_.substr(0, place)) + 1) +
                          ": " + what;
    if (!at) message += ", found " + found;
    return fail(ErrorKind::invalid, "filter.malformed", message);
  }

  Result<void> next() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n'))
      ++at_;
    token_ = {Token::Kind::end, "", at_};
    if (at_ == text_.size()) return {};
    char c = text_[at_];
    if (c == '(' || c == ')' || c == ',') {
      token_ = {c == '('   ? Token::Kind::open
                : c == ')' ? Token::Kind::close
                           : Token::Kind::comma,
                std::string(1, c), at_};
      ++at_;
      return {};
    }
    if (c == '\'') return quoted();
    auto plain = [](char x) {
      return std::isalnum(static_cast<unsigned char>(x)) || x == '_' || x == '-' || x == '.' ||
             x == ':' || x == '@' || x == '/' || x == '+';
    };
    if (!plain(c)) return wrong("unexpected character", at_);
    size_t start = at_;
    while (at_ < text_.size() && plain(text_[at_])) ++at_;
    token_.text = std::string(text_.substr(start, at_ - start));
    token_.at = start;
    bool numeric = std::isdigit(static_cast<unsigned char>(c)) ||
                   ((c == '-' || c == '+') && token_.text.size() > 1);
    token_.kind = numeric && Decimal::parse(token_.text) ? Token::Kind::number : Token::Kind::word;
    return {};
  }

  Result<void> quoted() {
    size_t start = at_++;
    std::string value;
    for (;; ++at_) {
      if (at_ == text_.size()) return wrong("a text lacks its closing quote", start);
      if (text_[at_] == '\'') {
        if (at_ + 1 < text_.size() && text_[at_ + 1] == '\'') {
          value.push_back('\'');
          ++at_;
          continue;
        }
        ++at_;
        break;
      }
      value.push_back(text_[at_]);
    }
    token_ = {Token::Kind::text, value, start};
    return {};
  }

  bool is_word(std::string_view word) const {
    return token_.kind == Token::Kind::word && token_.text == word;
  }

  Result<void> deeper() {
    if (++depth_ > limits::kMaxFilterDepth) {
      return wrong("nested deeper than " + std::to_string(limits::kMaxFilterDepth) + " levels",
                   token_.at);
    }
    return {};
  }
  Result<void> one_more() {
    if (++terms_ > limits::kMaxFilterTerms) {
      return wrong("more than " + std::to_string(limits::kMaxFilterTerms) + " conditions",
                   token_.at);
    }
    return {};
  }

  Result<Expression> disjunction() {
    return chain("or", Kind::any_of, [this] { return conjunction(); });
  }
  Result<Expression> conjunction() {
    return chain("and", Kind::all_of, [this] { return unary(); });
  }

  template <typename Sub>
  Result<Expression> chain(std::string_view word, Kind kind, Sub sub) {
    BL_ASSIGN(Expression first, sub());
    if (!is_word(word)) return first;
    Expression all;
    all.kind = kind;
    all.operands.push_back(std::move(first));
    while (is_word(word)) {
      BL_TRY(next());
      BL_ASSIGN(Expression more, sub());
      all.operands.push_back(std::move(more));
    }
    return all;
  }

  Result<Expression> unary() {
    if (is_word("not")) {
      BL_TRY(deeper());
      BL_TRY(next());
      BL_ASSIGN(Expression inner, unary());
      --depth_;
      Expression e;
      e.kind = Kind::negate;
      e.operands.push_back(std::move(inner));
      return e;
    }
    if (token_.kind == Token::Kind::open) {
      BL_TRY(deeper());
      BL_TRY(next());
      BL_ASSIGN(Expression inner, disjunction());
      if (token_.kind != Token::Kind::close) return wrong("expected `)`");
      BL_TRY(next());
      --depth_;
      return inner;
    }
    return condition();
  }

  Result<Expression> condition() {
    BL_TRY(one_more());
    if (token_.kind != Token::Kind::word) return wrong("expected a property or a function");
    for (auto [name, kind] :
         {std::pair{"contains", Kind::contains}, std::pair{"startswith", Kind::starts_with},
          std::pair{"endswith", Kind::ends_with}}) {
      if (is_word(name)) return function(kind);
    }
    for (std::string_view lambda : {"/any", "/all"}) {
      if (!token_.text.ends_with(lambda)) continue;
      Error e = wrong("`" + shortened(token_.text) +
                          "`: any() and all() are not built yet; ask for the records of the "
                          "collection by their own set",
                      token_.at)
                    .error();
      e.code = "feature.not_built";
      return std::unexpected(std::move(e));
    }
    Expression e;
    BL_ASSIGN(e.column, column());
    if (is_word("in")) {
      BL_TRY(next());
      e.kind = Kind::equal;
      if (token_.kind != Token::Kind::open) return wrong("expected `(` behind `in`");
      do {
        BL_TRY(one_more());
        BL_TRY(next());
        BL_ASSIGN(OwnedValue v, literal(e.column));
        e.values.push_back(std::move(v));
      } while (token_.kind == Token::Kind::comma);
      if (token_.kind != Token::Kind::close) return wrong("expected `,` or `)`");
      BL_TRY(next());
      return e;
    }
    size_t operator_at = token_.at;
    std::optional<Kind> op = comparison();
    if (!op) return wrong("expected eq, ne, gt, ge, lt, le or in");
    BL_TRY(next());
    // A bare word that is no literal is another property.
    size_t other_at = token_.at;
    bool number =
        !token_.text.empty() &&
        (std::isdigit(static_cast<unsigned char>(token_.text[0])) || token_.text[0] == '-');
    bool property = token_.kind == Token::Kind::word && !number && token_.text != "null" &&
                    token_.text != "true" && token_.text != "false" &&
                    !parse_record_id(token_.text) && !parse_instant(token_.text);
    if (property) {
      e.kind = Kind::columns_compare;
      e.op = *op;
      BL_ASSIGN(e.other, column());
      if (!comparable(e.column, e.other)) {
        return wrong(e.other.name + " is of another type than " + e.column.name +
                         " and cannot be compared with it",
                     other_at);
      }
      return e;
    }
    e.kind = *op;
    bool order = *op != Kind::equal && *op != Kind::not_equal;
    bool several = e.column.field && e.column.field->targets.size() > 1;
    bool territory =
        e.column.kind == Column::Kind::system && e.column.id == system_field::kTerritory;
    if (order && (several || territory))
      return wrong(e.column.name + " has no order; compare it with eq, ne or in", operator_at);
    BL_ASSIGN(OwnedValue v, literal(e.column));
    e.values.push_back(std::move(v));
    return e;
  }

  static bool comparable(const Column& a, const Column& b) {
    auto group = [](const Column& c) {
      if (c.kind == Column::Kind::system && c.id == system_field::kTerritory) return -1;
      switch (c.type) {
        case ValueType::text:
        case ValueType::phone:
        case ValueType::email:
        case ValueType::url:
        case ValueType::external_id:
          return 0;
        // Compared by their sort bytes, which have a width per type.
        case ValueType::decimal:
        case ValueType::money:
          return 1;
        default:
          return 2 + static_cast<int>(c.type);
      }
    };
    return group(a) == group(b);
  }

  std::optional<Kind> comparison() const {
    if (is_word("eq")) return Kind::equal;
    if (is_word("ne")) return Kind::not_equal;
    if (is_word("gt")) return Kind::greater;
    if (is_word("ge")) return Kind::greater_equal;
    if (is_word("lt")) return Kind::less;
    if (is_word("le")) return Kind::less_equal;
    return std::nullopt;
  }

  Result<Expression> function(Kind kind) {
    Expression e;
    e.kind = kind;
    std::string name = token_.text;
    BL_TRY(next());
    if (token_.kind != Token::Kind::open) return wrong("expected `(` behind " + name);
    BL_TRY(next());
    size_t at = token_.at;
    BL_ASSIGN(e.column, column());
    bool textual = e.column.type == ValueType::text || e.column.type == ValueType::phone ||
                   e.column.type == ValueType::email || e.column.type == ValueType::url;
    if (!textual || (e.column.field && e.column.field->is_collection())) {
      return wrong(name + " needs a text property, " + e.column.name + " is none", at);
    }
    if (token_.kind != Token::Kind::comma) return wrong("expected `,`");
    BL_TRY(next());
    if (token_.kind != Token::Kind::text) return wrong("expected a quoted text");
    e.values.push_back({ValueType::text, token_.text});
    BL_TRY(next());
    if (token_.kind != Token::Kind::close) return wrong("expected `)`");
    BL_TRY(next());
    return e;
  }

  Result<Column> column() {
    if (token_.kind != Token::Kind::word) return wrong("expected a property");
    auto c = column_named(entity_, token_.text);
    if (!c) return wrong(c.error().message, token_.at);
    if (c->field && c->field->is_collection())
      return wrong(c->name + " is a collection and cannot be compared", token_.at);
    BL_TRY(next());
    return c;
  }

  Result<OwnedValue> literal(const Column& column) {
    size_t at = token_.at;
    if (is_word("null")) {
      BL_TRY(next());
      return OwnedValue{};
    }
    if (token_.kind == Token::Kind::end || token_.kind == Token::Kind::open ||
        token_.kind == Token::Kind::close || token_.kind == Token::Kind::comma) {
      return wrong("expected a value");
    }
    std::string text = token_.text;
    bool quoted_text = token_.kind == Token::Kind::text;
    BL_TRY(next());
    if (column.kind == Column::Kind::id || column.type == ValueType::lookup ||
        column.id == system_field::kTerritory) {
      auto id = parse_record_id(text);
      if (!id)
        return wrong("`" + shortened(text) + "` is no id, which " + column.name + " needs", at);
      if (column.kind == Column::Kind::system && column.id == system_field::kTerritory) {
        return OwnedValue{ValueType::integer, encode_integer(territory_(*id))};
      }
      EntityId target = column.field && column.field->targets.size() == 1 ? column.field->targets[0]
                                                                          : EntityId(0);
      if (column.kind == Column::Kind::system && column.id != system_field::kDuplicateOf)
        target = entity_id::kUser;
      if (column.kind == Column::Kind::id) target = entity_.id;
      return OwnedValue{ValueType::lookup, encode_lookup({target, *id})};
    }
    Field system;
    system.name = column.name;
    system.type = column.type;
    const Field& field = column.field ? *column.field : system;
    bool textual = field.type == ValueType::text || field.type == ValueType::phone ||
                   field.type == ValueType::email || field.type == ValueType::url ||
                   field.type == ValueType::external_id;
    if (textual && !quoted_text)
      return wrong(column.name + " is a text: write '" + shortened(text) + "'", at);
    if (textual) return OwnedValue{field.type, text};
    if (field.type == ValueType::option) {  // any number: a retired option may still be stored
      auto number = Decimal::parse(text);
      if (!number || number->scale() != 0)
        return wrong(column.name + " is compared with a number", at);
      return OwnedValue{field.type, encode_integer(number->mantissa())};
    }
    auto value = value_from_text(field, text);
    if (!value) return wrong(value.error().message, at);
    return *value;
  }

  std::string_view text_;
  const Entity& entity_;
  const TerritoryNumber& territory_;
  FilterPlace place_;
  size_t at_ = 0;
  Token token_;
  size_t depth_ = 0;
  size_t terms_ = 0;
};

}  // namespace

Result<Expression> parse_filter(std::string_view text, const Entity& entity,
                                const TerritoryNumber& territory_number, const FilterPlace& place) {
  return Parser(text, entity, territory_number, place).run();
}

}  // namespace branchline
