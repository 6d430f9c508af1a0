#include "replication/session/verification.h"

#include "common/base/bytes.h"
#include "common/base/limits.h"
#include "replication/proto/link.pb.h"

namespace branchline {
namespace {

constexpr size_t kKeyBytes = 18;

std::unexpected<Error> malformed(const char* what) {
  return fail(ErrorKind::invalid, "message.malformed", std::string("malformed message: ") + what);
}

void put_ranges(google::protobuf::RepeatedPtrField<proto::Verify::Range>* out,
                const std::vector<KeyRange>& ranges) {
  for (const auto& r : ranges) {
    auto* m = out->Add();
    m->set_begin(r.begin);
    m->set_end(r.end);
  }
}

Result<std::vector<KeyRange>> get_ranges(
    const google::protobuf::RepeatedPtrField<proto::Verify::Range>& in) {
  if (in.size() > int(limits::kMaxVerifyRanges)) return malformed("too many ranges");
  std::vector<KeyRange> out;
  for (const auto& m : in) {
    KeyRange r{m.begin(), m.end()};
    // Behind a key there is the key with a zero.
    bool fits = r.begin.size() <= kKeyBytes + 1 && r.end.size() <= kKeyBytes + 1;
    bool ascends = (r.end.empty() || r.begin < r.end) &&
                   (out.empty() || (!out.back().end.empty() && out.back().end <= r.begin));
    if (!fits || !ascends) return malformed("ranges of a verification");
    out.push_back(std::move(r));
  }
  return out;
}

template <typename M>
void put_error(M& m, const std::optional<Error>& error) {
  if (!error) return;
  m.set_code(error->code);
  m.set_message(error->message);
}
template <typename M>
std::optional<Error> get_error(const M& m) {
  if (m.code().empty()) return std::nullopt;
  return Error{ErrorKind::unavailable, m.code(), m.message()};
}

template <typename M>
bool parse(std::string_view bytes, M& m) {
  return m.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

}  // namespace

std::string range_key(const RecordKey& key) {
  std::string out;
  Writer w(out);
  w.fixed16(key.entity.value);
  w.id(key.id);
  return out;
}

KeyRange only(const RecordKey& key) {
  std::string at = range_key(key);
  return {at, at + '\0'};
}

std::string encode_verify_request(const VerifyRequest& request) {
  proto::Verify m;
  m.set_number(request.number);
  put_ranges(m.mutable_sums(), request.sums);
  put_ranges(m.mutable_rows(), request.rows);
  return m.SerializeAsString();
}

Result<VerifyRequest> decode_verify_request(std::string_view bytes) {
  proto::Verify m;
  if (!parse(bytes, m) || m.number() == 0) return malformed("verification");
  VerifyRequest out;
  out.number = m.number();
  BL_ASSIGN(out.sums, get_ranges(m.sums()));
  BL_ASSIGN(out.rows, get_ranges(m.rows()));
  return out;
}

std::string encode_verify_point(const VerifyPoint& point) {
  proto::VerifyPoint m;
  m.set_number(point.number);
  m.mutable_at()->set_line(point.at.line.value);
  m.mutable_at()->set_csn(point.at.csn.value);
  m.mutable_at()->set_chain(std::string(point.at.chain.view()));
  std::string totals;
  Writer w(totals);
  put_totals(w, Totals{point.totals, {}});
  m.set_totals(totals);
  m.set_rows(point.rows);
  put_error(m, point.error);
  return m.SerializeAsString();
}

Result<VerifyPoint> decode_verify_point(std::string_view bytes) {
  proto::VerifyPoint m;
  if (!parse(bytes, m)) return malformed("point of a verification");
  VerifyPoint out;
  out.number = m.number();
  auto chain = Digest::from(m.at().chain());
  Reader r(m.totals());
  out.totals = get_totals(r).sums;
  if (!chain || !r.done()) return malformed("point of a verification");
  out.at = {LineId(m.at().line()), Csn(m.at().csn()), *chain};
  out.rows = m.rows();
  out.error = get_error(m);
  return out;
}

std::string encode_verify_sums(const VerifySums& sums) {
  proto::VerifySums m;
  m.set_number(sums.number);
  std::string bytes;
  Writer w(bytes);
  for (const auto& s : sums.sums) {
    w.fixed64(s.high);
    w.fixed64(s.low);
  }
  m.set_sums(bytes);
  put_error(m, sums.error);
  return m.SerializeAsString();
}

Result<VerifySums> decode_verify_sums(std::string_view bytes) {
  proto::VerifySums m;
  if (!parse(bytes, m) || m.sums().size() % 16 != 0) return malformed("sums of a verification");
  VerifySums out;
  out.number = m.number();
  Reader r(m.sums());
  while (r.remaining() > 0) {
    Sum128 s;
    s.high = r.fixed64();
    s.low = r.fixed64();
    out.sums.push_back(s);
  }
  out.error = get_error(m);
  return out;
}

}  // namespace branchline
