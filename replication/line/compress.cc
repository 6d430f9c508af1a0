#include "replication/line/compress.h"

#define ZSTD_STATIC_LINKING_ONLY  // magicless frames: four bytes less per block
#include <zstd.h>

#include <algorithm>

#include "common/base/bytes.h"
#include "common/base/check.h"

namespace branchline {
namespace {

constexpr uint8_t kStored = 0;
constexpr uint8_t kZstd = 1;
constexpr int kLevel = 3;
constexpr int kLinkLevel = 5;   // of a link's bytes: a microsecond per change, and 8 % less than 3
constexpr int kWindowLog = 17;  // 128 KiB: what a master holds per connected branch
constexpr size_t kWorthwhile = 48;
constexpr size_t kLargeColumn = 512;  // from here on an entropy table of its own is worth its bytes

struct Contexts {
  ZSTD_CCtx* compress = ZSTD_createCCtx();
  ZSTD_DCtx* decompress = ZSTD_createDCtx();
  Contexts() {
    ZSTD_CCtx_setParameter(compress, ZSTD_c_compressionLevel, kLevel);
    ZSTD_CCtx_setParameter(compress, ZSTD_c_contentSizeFlag, 0);
    ZSTD_CCtx_setParameter(compress, ZSTD_c_checksumFlag, 0);
    ZSTD_CCtx_setParameter(compress, ZSTD_c_format, ZSTD_f_zstd1_magicless);
    ZSTD_DCtx_setParameter(decompress, ZSTD_d_format, ZSTD_f_zstd1_magicless);
  }
  ~Contexts() {
    ZSTD_freeCCtx(compress);
    ZSTD_freeDCtx(decompress);
  }
};

Contexts& contexts() {
  thread_local Contexts c;
  return c;
}

Error corrupt(const char* what) {
  return {ErrorKind::corrupt, "block.compression", std::string("compressed block: ") + what};
}

}  // namespace

std::string compress(std::string_view raw) {
  std::string out;
  Writer w(out);
  if (raw.size() >= kWorthwhile) {
    w.u8(kZstd);
    w.varint(raw.size());
    size_t head = out.size();
    out.resize(head + ZSTD_compressBound(raw.size()));
    size_t n = ZSTD_compress2(contexts().compress, out.data() + head, out.size() - head, raw.data(),
                              raw.size());
    BL_CHECK(!ZSTD_isError(n));
    if (n < raw.size()) {
      out.resize(head + n);
      return out;
    }
    out.clear();
  }
  w.u8(kStored);
  w.bytes(raw);
  return out;
}

Result<std::string> decompress(std::string_view container, size_t limit) {
  Reader r(container);
  uint8_t codec = r.u8();
  if (!r.ok() || codec > kZstd) return std::unexpected(corrupt("unknown codec"));
  if (codec == kStored) {
    if (r.remaining() > limit) return std::unexpected(corrupt("longer than the limit"));
    return std::string(r.rest());
  }
  uint64_t size = r.varint_max(limit);
  if (!r.ok()) return std::unexpected(corrupt("longer than the limit"));
  std::string out(size, '\0');
  size_t n = ZSTD_decompressDCtx(contexts().decompress, out.data(), out.size(), r.rest().data(),
                                 r.rest().size());
  if (ZSTD_isError(n) || n != size) return std::unexpected(corrupt("damaged"));
  return out;
}

struct StreamCompressor::Impl {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ~Impl() { ZSTD_freeCCtx(context); }
};

StreamCompressor::StreamCompressor() : impl_(std::make_unique<Impl>()) {
  ZSTD_CCtx_setParameter(impl_->context, ZSTD_c_compressionLevel, kLinkLevel);
  ZSTD_CCtx_setParameter(impl_->context, ZSTD_c_windowLog, kWindowLog);
  ZSTD_CCtx_setParameter(impl_->context, ZSTD_c_checksumFlag, 0);
}
StreamCompressor::~StreamCompressor() = default;

std::string StreamCompressor::compress(std::string_view block) {
  // Each flush ends a zstd block, whose header is 3 bytes.
  std::string out(ZSTD_compressBound(block.size()) + 64 + block.size() / kLargeColumn * 8, '\0');
  ZSTD_outBuffer o{out.data(), out.size(), 0};
  ZSTD_inBuffer in{block.data(), 0, 0};
  auto flush_up_to = [&](size_t end) {
    in.size = end;
    size_t left = ZSTD_compressStream2(impl_->context, &o, &in, ZSTD_e_flush);
    BL_CHECK(left == 0 && in.pos == in.size);
  };
  Reader columns(block);
  while (columns.ok() && columns.remaining() > 0) {
    size_t size = columns.blob().size();
    if (!columns.ok() || size < kLargeColumn) continue;
    size_t end = block.size() - columns.remaining();
    flush_up_to(end - size);
    flush_up_to(end);
  }
  flush_up_to(block.size());
  out.resize(o.pos);
  return out;
}

struct StreamDecompressor::Impl {
  ZSTD_DCtx* context = ZSTD_createDCtx();
  ~Impl() { ZSTD_freeDCtx(context); }
};

StreamDecompressor::StreamDecompressor() : impl_(std::make_unique<Impl>()) {
  // A peer cannot ask for more memory than a window of ours.
  ZSTD_DCtx_setParameter(impl_->context, ZSTD_d_windowLogMax, kWindowLog);
}
StreamDecompressor::~StreamDecompressor() = default;

Result<std::string> StreamDecompressor::decompress(std::string_view bytes, size_t limit) {
  std::string out;
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  for (;;) {
    size_t at = out.size();
    size_t step = std::max<size_t>(at, 4096);
    out.resize(at + step);
    ZSTD_outBuffer o{out.data() + at, step, 0};
    size_t n = ZSTD_decompressStream(impl_->context, &o, &in);
    if (ZSTD_isError(n)) return std::unexpected(corrupt("damaged"));
    out.resize(at + o.pos);
    if (out.size() > limit) return std::unexpected(corrupt("longer than the limit"));
    if (in.pos == in.size && o.pos < step) return out;
  }
}

}  // namespace branchline
